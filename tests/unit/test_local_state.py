import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from geopod.api.runs import EnvironmentState
from geopod.backends.local.changes import needs_plan, needs_restart
from geopod.backends.local.fallback import remember, served
from geopod.backends.local.presence import socket_folder
from geopod.backends.local.rest import Rest
from geopod.backends.local.state import (
    Report,
    StateFolder,
    state_root,
    write_whole,
)
from geopod.errors import ConfigError, EnvironmentNotFoundError, RunNotFoundError
from local_builders import a_record, an_order


@pytest.fixture
def folder(tmp_path):
    return StateFolder(tmp_path / "home")


def test_root_is_geopod_home_when_it_is_set(monkeypatch, tmp_path):
    monkeypatch.setenv("GEOPOD_HOME", str(tmp_path))
    assert state_root() == tmp_path


def test_root_is_the_platforms_data_folder_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("GEOPOD_HOME", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert state_root() == tmp_path / "geopod"


def test_environment_is_found_by_name_and_by_uid(folder):
    record = a_record()
    folder.write_environment(record)
    assert folder.read_environment(record.name) == record
    assert folder.read_environment(record.uid) == record


@pytest.mark.parametrize("text", ["", "{", '{"name": 3}'])
def test_record_that_cannot_be_read_hides_no_other_and_is_replaced(folder, text):
    there, broken = a_record(), a_record("broken")
    for record in (there, broken):
        folder.write_environment(record)
    for name in ("environment", "status", "running"):
        (folder.environment("broken") / f"{name}.json").write_text(text)
    assert folder.environments() == [there]
    assert folder.read_report("broken") is None
    assert folder.read_running("broken") is None
    folder.write_environment(broken)
    assert folder.read_environment("broken") == broken


def test_missing_environment_names_those_that_exist(folder):
    folder.write_environment(a_record("ndvi-env"))
    folder.write_environment(a_record("ended-env", terminated=1.0))
    with pytest.raises(
        EnvironmentNotFoundError, match=r"No environment 'dem-env'.*Yours: ndvi-env\."
    ):
        folder.read_environment("dem-env")


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".", "..", ".hidden", "nul\0", "x" * 300])
def test_name_that_could_leave_the_folder_is_not_found(folder, name):
    with pytest.raises(EnvironmentNotFoundError):
        folder.read_environment(name)
    with pytest.raises(RunNotFoundError):
        folder.read_run(name)
    with pytest.raises(ConfigError):
        folder.write_environment(a_record(name))


def test_environments_are_listed_oldest_first(folder):
    for name, created in (("b", 1.0), ("a", 2.0), ("c", 0.5)):
        folder.write_environment(a_record(name, created=created))
    assert [record.name for record in folder.environments()] == ["c", "b", "a"]


def test_removed_environment_is_gone_with_its_files(folder):
    record = a_record()
    folder.write_environment(record)
    (folder.environment(record.name) / "logs").mkdir()
    folder.remove_environment(record, by="ttl")
    assert folder.environments() == []
    assert not folder.environment(record.name).exists()


def test_first_run_of_a_name_keeps_it(folder):
    first = an_order("e", name="ndvi-1")
    second = an_order("e", name="ndvi-1")
    assert folder.claim_run(first) == first
    assert folder.claim_run(second) == first
    assert folder.read_run("ndvi-1") == first
    assert folder.read_run(first.uid) == first


def test_forgotten_run_gives_its_name_back(folder):
    folder.claim_run(an_order("e", name="ndvi-1"))
    folder.remove_run("ndvi-1")
    again = an_order("e", name="ndvi-1")
    assert folder.claim_run(again) == again


def test_stored_report_comes_back(folder):
    folder.write_environment(a_record())
    report = Report(generation=3, state=EnvironmentState(uid="u", name="ndvi-env", phase="Ready"))
    folder.write_report("ndvi-env", report)
    assert folder.read_report("ndvi-env") == report


def test_claims_of_many_processes_agree_on_one_run(folder):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path\n"
        "from local_builders import an_order\n"
        "from geopod.backends.local.state import StateFolder\n"
        "folder = StateFolder(Path(sys.argv[2]))\n"
        "sys.stdin.readline()\n"
        "print(folder.claim_run(an_order('e', name='same')).uid)\n"
    )
    tests = str(Path(__file__).parents[1])
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, tests, str(folder.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    answers = {process.communicate("go\n")[0] for process in started}
    assert len(answers) == 1


def test_lock_is_held_against_another_holder(folder):
    probe = (
        "import fcntl, os, sys\n"
        "fd = os.open(sys.argv[1], os.O_RDWR)\n"
        "try: fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(9)\n"
    )
    command = [sys.executable, "-c", probe, str(folder.root / "locks" / "ndvi-env.lock")]
    with folder.locked("ndvi-env"):
        assert subprocess.run(command, check=False).returncode == 9
    assert subprocess.run(command, check=False).returncode == 0


def test_file_is_whole_and_private(tmp_path):
    target = tmp_path / "record.json"
    write_whole(target, b"one")
    write_whole(target, b"two")
    assert target.read_bytes() == b"two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.fixture
def full_disk():
    """No file can grow: as on a full disk, but for the words."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [lambda it: it.write_environment(a_record()), lambda it: it.claim_run(an_order("e"))],
    ids=["environment", "run"],
)
def test_full_disk_is_told_and_no_part_of_a_file_left(folder, full_disk, write):
    with pytest.raises(ConfigError) as caught:
        write(folder)
    assert str(caught.value).startswith(
        f"GP-E001 geopod's folder {folder.root} cannot be used: file too large."
    )
    assert not [*folder.root.rglob("*.part"), *folder.root.rglob("*.json")]


def test_sockets_lie_in_a_short_private_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("deep" * 20)))
    folder = socket_folder(tmp_path, "0123456789abcdef")
    assert len(os.fsencode(folder / "999" / "runner.sock")) < 108
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.rmdir()


def test_two_homes_never_share_sockets(tmp_path):
    one, two = (socket_folder(tmp_path / name, "0123456789abcdef") for name in ("a", "b"))
    assert one != two
    one.rmdir()
    two.rmdir()


SPEC = {"idle": {"afterSeconds": 60}, "ttlSeconds": 600}


class TestRest:
    @staticmethod
    def heard(rest, *, active=0, queued=0, last=1000.0, phase="Ready"):
        rest.heard(
            EnvironmentState(
                uid="u",
                name="e",
                phase=phase,
                active_runs=active,
                queued_runs=queued,
                last_activity=last,
            ),
            now=last,
        )
        return rest

    @pytest.mark.parametrize(
        ("spec", "now", "reason"),
        [
            pytest.param(SPEC, 1059.9, None, id="not idle for long enough"),
            pytest.param(SPEC, 1060.0, "IdleTimeout", id="idle"),
            pytest.param({}, 1e9, None, id="idling and ttl switched off"),
            pytest.param({"ttlSeconds": 600}, 1600.0, "Expired", id="past its ttl"),
            pytest.param({"suspend": True}, 1002.0, "UserRequested", id="suspended"),
            pytest.param({"suspend": True}, 1001.0, None, id="suspended and just asked for"),
        ],
    )
    def test_reason_follows_from_spec_and_time(self, spec, now, reason):
        rest = self.heard(Rest(spec, now=1000.0))
        assert rest.due(now) == reason

    @pytest.mark.parametrize("counts", [{"active": 1}, {"queued": 1}])
    def test_unfinished_run_keeps_everything_up(self, counts):
        rest = self.heard(Rest({**SPEC, "suspend": True}, now=0.0), **counts)
        assert rest.due(1e9) is None
        assert rest.wait(1e9) is None

    def test_nothing_is_due_before_the_coordinator_has_spoken(self):
        assert Rest(SPEC, now=0.0).due(1e9) is None

    def test_nodes_that_are_still_starting_are_given_more_time(self):
        rest = self.heard(Rest(SPEC, now=1000.0), phase="Starting")
        assert rest.due(1000.0 + 599.0) is None
        assert rest.due(1000.0 + 600.0) == "IdleTimeout"

    def test_idling_begins_when_the_nodes_are_ready(self):
        rest = self.heard(Rest(SPEC, now=1000.0), phase="Starting")
        self.heard(rest, last=1500.0)
        assert rest.due(1559.0) is None
        assert rest.due(1560.0) == "IdleTimeout"

    def test_waits_exactly_until_something_is_due(self):
        rest = self.heard(Rest(SPEC, now=1000.0))
        assert rest.wait(1010.0) == 50.0

    def test_only_the_delete_policy_removes_the_environment(self):
        deleting = Rest({"idle": {"afterSeconds": 60, "policy": "Delete"}}, now=0.0)
        assert deleting.deletes("IdleTimeout")
        assert not deleting.deletes("UserRequested")
        assert not Rest(SPEC, now=0.0).deletes("IdleTimeout")


def test_layers_are_read_anew_while_the_packages_of_a_refresh_are_built(folder):
    known = a_record(requirements_key="built")
    python = folder.packages / "built" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    for generation in (2, 3):
        asked = {"generation": generation, "refreshed": generation, "replanned": generation}
        record = msgspec.structs.replace(known, **asked, requirements_key=f"not yet {generation}")
        earlier, known = known, remember(folder, known, record)
        now, was = served(folder, known), served(folder, earlier)
        assert now.requirements_key == "built"
        assert needs_plan(was, now)
        assert not needs_restart(was, now)
