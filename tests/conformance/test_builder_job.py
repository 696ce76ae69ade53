"""The builder's Job, its three steps one after the other, as processes over a real gateway."""

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest
from cluster.testcluster.index import PASSWORD, USER
from geopod.api import deployment, names
from geopod.builder import bundle, prepare, upload
from geopod.builder.target import Target
from geopod.builder.upload import Built
from geopod.store.gateway import GatewayStore
from geopod_gateway.app import Gateway
from store_builders import HASTY, a_token, running, some_settings
from wheel_builders import a_wheel, an_index

KEY = "c" * 64
PREFIX = names.bundle_key("geo", KEY)
TOKEN = {"path": PREFIX, "key_id": "shared/geo", "may": ("get", "put")}
NOTHING_LISTENS = "http://127.0.0.1:9/simple/"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Return a folder of wheels: one that needs another."""
    folder = tmp_path_factory.mktemp("wheels")
    a_wheel(folder, "terrain", "1.0")
    a_wheel(folder, "terrain", "2.0", requires=("slope>=1",))
    a_wheel(folder, "slope", "1.5")
    return folder


@pytest.fixture
def job(tmp_path, wheels):
    """Return the pod of one Job, with an index in reach."""
    with an_index(wheels) as index:
        yield Job(tmp_path, index)


class Job:
    """One pod: its emptyDir, its Secrets, and what its containers say."""

    def __init__(self, folder: Path, index: str) -> None:
        self.folder = folder
        self.index = index
        self.build = folder / "build"
        self.build.mkdir()
        self.built = Built(
            self.build / "tree", self.build / "outcome.json", self.build / "build.log"
        )
        self.credentials = folder / "index"
        self.commands: list[str] = []

    def request(self, *requirements: str, **changed):
        """Return what install is asked, with the pod's folders for those of a cluster."""
        values = {"index_url": f"{self.index}/simple/", **changed}
        request = deployment.build_request(
            python=sys.executable, requirements=requirements, **values
        )
        text = json.dumps(request).replace(deployment.BUILD_DIR, str(self.build))
        return text.replace(deployment.BUILD_INDEX_DIR, str(self.credentials))

    def install(self, *requirements: str, **changed) -> subprocess.CompletedProcess[str]:
        """Run the middle step as its container would."""
        file = self.folder / deployment.BUILD_REQUEST_FILE
        file.write_text(self.request(*requirements, **changed), "utf-8")
        command = [
            word.replace(deployment.BUILD_DIR, str(self.build)).replace(
                deployment.BUILD_REQUEST_DIR, str(self.folder)
            )
            for word in deployment.install_command(sys.executable)
        ]
        environment = {
            name: value.replace(deployment.BUILD_DIR, str(self.build))
            for name, value in deployment.BUILD_ENVIRONMENT.items()
        }
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={"PATH": "/usr/bin:/bin", **environment},
        )
        assert done.returncode == 0, done.stderr
        return done

    def run(self, *requirements: str, **changed):
        """Run all three steps over one gateway; return the result."""

        async def steps():
            gateway = Gateway(some_settings(self.folder / "store"))
            async with (
                running(gateway) as url,
                GatewayStore(
                    url,
                    token=lambda: a_token(**TOKEN),
                    cache=self.folder / "cache",
                    patience=HASTY,
                ) as store,
            ):
                target = Target(store, PREFIX)
                await prepare.prepare(self.build / "tools", target)
                await asyncio.to_thread(self.install, *requirements, **changed)
                return await upload.upload(self.built, target)

        return asyncio.run(steps())

    def stored(self, name: str) -> Path:
        """Return where the gateway keeps one of the bundle's objects."""
        return self.folder / "store" / PREFIX / name


def unpacked(path: Path) -> dict[str, bytes]:
    """Return name and content of every file of a bundle."""
    found = {}
    with (
        pa.input_stream(str(path), compression="zstd") as stream,
        tarfile.open(fileobj=stream, mode="r|") as archive,
    ):
        for member in archive:
            if member.isfile():
                found[member.name] = archive.extractfile(member).read()
    return found


def test_requirements_become_a_bundle_with_lock_and_log(job):
    result = job.run("terrain")
    data = job.stored(deployment.BUNDLE_FILE).read_bytes()
    assert result["ok"]
    assert result["reused"] is False
    assert result["bundleSha256"] == hashlib.sha256(data).hexdigest()
    assert result["bundleBytes"] == len(data)
    lock = job.stored(deployment.LOCK_FILE).read_bytes()
    assert result["lockSha256"] == hashlib.sha256(lock).hexdigest()
    assert b"terrain==2.0" in lock
    assert b"--hash=sha256:" in lock
    assert "Installed 2 packages" in job.stored(deployment.LOG_FILE).read_text("utf-8")
    files = unpacked(job.stored(deployment.BUNDLE_FILE))
    assert files["site-packages/terrain/__init__.py"] == b"VERSION = '2.0'\n"
    assert "site-packages/slope/__init__.py" in files
    assert all(name.startswith("site-packages/") for name in files)


def test_bytecode_holds_whatever_time_its_source_has(job):
    job.run("slope")
    files = unpacked(job.stored(deployment.BUNDLE_FILE))
    [bytecode] = [data for name, data in files.items() if name.endswith(".pyc")]
    assert int.from_bytes(bytecode[4:8], "little") == 0b01  # hash-based, never checked: PEP 552


def test_packages_of_a_bundle_are_imported_from_where_they_are_unpacked(job, tmp_path):
    job.run("terrain<2")
    for name, data in unpacked(job.stored(deployment.BUNDLE_FILE)).items():
        path = tmp_path / "node" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    code = "import terrain; print(terrain.VERSION)"
    environment = {"PYTHONPATH": str(tmp_path / "node/site-packages")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "1.0\n"


def test_second_job_of_the_same_key_finds_the_bundle(job):
    first = job.run("slope")
    before = job.stored(deployment.BUNDLE_FILE).stat().st_mtime_ns
    job.built.outcome.unlink()
    second = job.run("slope")
    assert second["reused"] is True
    assert second["bundleSha256"] == first["bundleSha256"]
    assert second["lockSha256"] == first["lockSha256"]
    assert job.stored(deployment.BUNDLE_FILE).stat().st_mtime_ns == before
    assert not job.built.outcome.exists()


@pytest.mark.parametrize(
    ("requirements", "changed", "reason", "status", "says"),
    [
        pytest.param(["nonesuch"], {}, "ResolutionFailed", 3, "nonesuch", id="no such package"),
        pytest.param(["terrain>3"], {}, "ResolutionFailed", 3, "terrain>3", id="no such version"),
        pytest.param(["terrain", "slope<1"], {}, "ResolutionFailed", 3, "slope", id="conflict"),
        pytest.param(["terrain ="], {}, "ResolutionFailed", 3, "terrain =", id="bad syntax"),
        pytest.param(["--index-url=http://x"], {}, "ResolutionFailed", 3, "option", id="an option"),
        pytest.param(
            ["slope; python_version < '3'"], {}, "ResolutionFailed", 3, "no requirement applies",
            id="false marker",
        ),
        pytest.param(
            ["slope"], {"index_url": NOTHING_LISTENS}, "IndexUnreachable", 4, "127.0.0.1:9",
            id="index away",
        ),
    ],
)  # fmt: skip
def test_failed_build_is_told_by_class_and_leaves_its_log(
    job, requirements, changed, reason, status, says, monkeypatch
):
    monkeypatch.setitem(deployment.BUILD_ENVIRONMENT, "UV_HTTP_RETRIES", "0")
    result = job.run(*requirements, **changed)
    assert (result["ok"], result["reason"]) == (False, reason)
    assert upload.exit_code(result) == status
    assert says in "\n".join(result["lines"])
    assert result["logSha256"]
    assert job.stored(deployment.LOG_FILE).exists()
    assert not job.stored(deployment.BUNDLE_FILE).exists()


class TestPrivateIndex:
    def give(self, job, **files):
        job.credentials.mkdir()
        for name, text in files.items():
            (job.credentials / name).write_text(text, "utf-8")

    def private(self, job):
        return f"{job.index}/private/simple/"

    @pytest.mark.parametrize("kind", ["password", "netrc"])
    def test_credentials_of_the_secret_open_it(self, job, kind):
        if kind == "password":
            self.give(job, username=USER, password=f"{PASSWORD}\n")
        else:
            self.give(job, netrc=f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
        result = job.run("slope", index_url=self.private(job))
        assert result["ok"], result
        everything = [job.built.log.read_text("utf-8"), json.dumps(result)]
        everything.append(job.stored(deployment.LOCK_FILE).read_text("utf-8"))
        assert not [text for text in everything if PASSWORD in text]

    def test_extra_index_is_opened_too(self, job):
        self.give(job, username=USER, password=PASSWORD)
        result = job.run("slope", extra_urls=[self.private(job)])
        assert result["ok"], result

    def test_without_them_the_index_counts_as_unreachable(self, job):
        result = job.run("slope", index_url=self.private(job))
        assert (result["reason"], upload.exit_code(result)) == ("IndexUnreachable", 4)

    def test_no_command_line_names_a_secret(self, job, tmp_path):
        """Every process of the machine may read command lines."""
        self.give(job, username=USER, password=PASSWORD)
        spy = tmp_path / "spy"
        tools = job.build / "tools"
        prepare.write_zipapp(tools / "install.pyz")
        (tools / "uv").write_text(f'#!/bin/sh\necho "$0 $@" >> {spy}\nexit 2\n', "utf-8")
        (tools / "uv").chmod(0o755)
        job.install("slope", index_url=f"http://{USER}:{PASSWORD}@127.0.0.1/simple/")
        assert "compile" in spy.read_text("utf-8")
        assert PASSWORD not in spy.read_text("utf-8")


class TestHostileTree:
    """Code of packages ran as another user in the same emptyDir."""

    @pytest.fixture
    def secret(self, tmp_path):
        path = tmp_path / "token"
        path.write_text("the store's token", "utf-8")
        return path

    @pytest.fixture
    def tree(self, tmp_path):
        folder = tmp_path / "tree/site-packages/pkg"
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("", "utf-8")
        return tmp_path / "tree"

    @pytest.mark.parametrize("where", ["pkg/link.py", "link.py"])
    def test_link_is_refused(self, tmp_path, tree, secret, where):
        (tree / "site-packages" / where).symlink_to(secret)
        with pytest.raises(bundle.TreeError):
            bundle.pack_tree(tree, tmp_path / "packed")

    def test_linked_folder_is_refused(self, tmp_path, tree, secret):
        (tree / "site-packages/away").symlink_to(secret.parent)
        with pytest.raises(bundle.TreeError, match="away is a link"):
            bundle.pack_tree(tree, tmp_path / "packed")

    def test_tree_that_is_a_link_is_refused(self, tmp_path, tree):
        (tmp_path / "other").symlink_to(tree)
        with pytest.raises(bundle.TreeError):
            bundle.pack_tree(tmp_path / "other", tmp_path / "packed")

    def test_pipe_is_refused_and_not_waited_for(self, tmp_path, tree):
        os.mkfifo(tree / "site-packages/pipe")
        with pytest.raises(bundle.TreeError, match="no plain file"):
            bundle.pack_tree(tree, tmp_path / "packed")

    @pytest.mark.parametrize("name", ["outcome", "log"])
    def test_no_file_of_ours_is_read_through_a_link(self, tmp_path, job, secret, name):
        job.run("slope")
        link = getattr(job.built, name)
        link.unlink()
        link.symlink_to(secret)
        with pytest.raises(bundle.TreeError):
            bundle.read_plain(link, limit=100)

    @pytest.mark.parametrize(
        "text", ["", "[]", '{"ok": 1}', '{"ok": false}', '{"ok": false, "reason": [], "lines": 1}']
    )
    def test_outcome_that_makes_no_sense_is_a_failed_builder(self, tmp_path, text):
        path = tmp_path / "outcome.json"
        path.write_text(text, "utf-8")
        assert upload._outcome(path)["reason"] == "BuilderFailed"


def test_same_tree_gives_the_same_bytes(tmp_path):
    packed = []
    for number in range(2):
        folder = tmp_path / str(number) / "site-packages"
        order = ["b", "a", "é", "c" * 120]
        for name in order[:: 1 if number else -1]:
            (folder / name).mkdir(parents=True)
            (folder / name / "__init__.py").write_text(f"NAME = {name!r}\n", "utf-8")
        (folder / "run").write_text("#!/bin/sh\n", "utf-8")
        (folder / "run").chmod(0o700)
        packed.append(bundle.pack_tree(tmp_path / str(number), tmp_path / f"{number}.tar.zst"))
    assert packed[0].sha256 == packed[1].sha256
    assert packed[0].path.read_bytes() == packed[1].path.read_bytes()
    assert len(unpacked(packed[0].path)) == 5


def test_result_fits_a_termination_message():
    lines = ["é" * 1500, "x" * 3000, "last"]
    result = {**upload.failure("ResolutionFailed", lines), "logSha256": "a" * 64}
    data = upload.encode_result(result)
    assert len(data) <= 4096
    assert json.loads(data)["logSha256"] == "a" * 64
    assert json.loads(data)["lines"][0] == lines[0]


def test_steps_are_the_commands_that_the_operator_renders(tmp_path):
    into = tmp_path / "tools"
    command = [word.replace(deployment.BUILD_TOOLS, str(into)) for word in
               deployment.PREPARE_COMMAND]  # fmt: skip
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True, timeout=180)
    assert os.access(into / "uv", os.X_OK)
    done = subprocess.run(
        [sys.executable, "-I", str(into / "install.pyz"), "--help"], capture_output=True, check=True
    )
    assert b"outcome" in done.stdout
    assert deployment.UPLOAD_COMMAND[1:] == ("-m", "geopod.builder.upload")
