"""What cannot work is one sentence with the fix and an exit status; nothing is left behind."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.testcluster.network import conflict
from cluster.testcluster.places import Addresses, Places

TESTS = Path(__file__).parents[1]


def run_tool(*arguments, prefix=(), **environment):
    return subprocess.run(
        [*prefix, sys.executable, "-m", "cluster.testcluster", *arguments],
        env={**os.environ, "PYTHONPATH": str(TESTS), "GEOPOD_TEST_CLUSTER": "bad", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def path_without(tmp_path):
    """A PATH on which one command is missing."""

    def without(missing):
        for folder in os.environ["PATH"].split(":"):
            for command in Path(folder).glob("*"):
                link = tmp_path / command.name
                if command.name not in missing and not link.exists():
                    link.symlink_to(command)
        return str(tmp_path)

    return without


def one_sentence(done, *words):
    lines = done.stderr.strip().splitlines()
    assert done.returncode != 0
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0]
    assert not Places.of("bad").root.exists()


@pytest.mark.parametrize(
    ("arguments", "environment", "words"),
    [
        (["up", "--kubernetes", "1.12"], {}, ("1.12 is not pinned", "take one of 1.")),
        (["up", "--nodes", "9"], {}, ("9 real nodes", "--simulated")),
        (["up"], {"GEOPOD_TEST_CLUSTER": "Not Good"}, ("'Not Good'", "a-z")),
        (["up"], {"GEOPOD_TEST_KUBECONFIG": "/absent"}, ("/absent", "does not exist")),
        (["images"], {}, ("no registry runs", "cluster-up")),
        (["status"], {}, ("is not running", "cluster-up")),
    ],
    ids=["unpinned version", "too many nodes", "name", "kubeconfig", "images", "status"],
)
def test_wrong_wish_is_refused(arguments, environment, words):
    one_sentence(run_tool(*arguments, **environment), *words)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv (util-linux) gives up root")
def test_user_who_is_not_root_is_told_what_else_works(tmp_path):
    user = ["setpriv", "--reuid=65534", "--clear-groups"]
    done = run_tool("up", prefix=user, PYTHONDONTWRITEBYTECODE="1", HOME=str(tmp_path))
    if "Permission denied" in done.stderr or "No module named" in done.stderr:
        pytest.skip("another user cannot read this work tree")
    one_sentence(done, "user 65534", "Docker")


def test_machine_without_go_is_told_which_go(path_without):
    one_sentence(run_tool("up", PATH=path_without({"go"})), "Go is not on PATH", "1.26")


def test_go_that_is_too_old_is_told_which_is_needed(tmp_path):
    old = tmp_path / "go"
    old.write_text("#!/bin/sh\necho go1.20.1\n", "utf-8")
    old.chmod(0o755)
    done = run_tool("build", "etcd", PATH=f"{tmp_path}:{os.environ['PATH']}")
    one_sentence(done, "Go is 1.20.1", "needs 1.26")


def privately(mount):
    """Run with a mount that nobody else sees."""
    return ["unshare", "--mount", "sh", "-c", f'mount {mount} && exec "$@"', "sh"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_full_disk_is_refused_before_anything_is_built(tmp_path):
    small = privately(f"-t tmpfs -o size=16m tmpfs {tmp_path}")
    done = run_tool("build", "etcd", prefix=small, XDG_CACHE_HOME=str(tmp_path))
    one_sentence(done, "0.0 GiB free", "XDG_CACHE_HOME")


@pytest.mark.skipif(not Path("/usr/sbin/runc").exists(), reason="runc is not installed")
def test_missing_package_is_named():
    hidden = privately("--bind /dev/null /usr/sbin/runc")
    one_sentence(run_tool("up", prefix=hidden), "missing: runc", "cluster-packages")


@pytest.mark.parametrize(
    ("taken", "interface"),
    [
        ({}, None),
        ({"192.0.2.0/24": "eth0"}, None),
        ({"172.31.0.0/16": "office"}, "office"),
        ({"172.31.100.7/32": "tunnel"}, "tunnel"),
    ],
    ids=["nothing", "elsewhere", "around", "within"],
)
def test_taken_addresses_are_found(taken, interface):
    assert conflict(Addresses(0), taken) == interface
