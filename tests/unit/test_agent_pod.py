"""An agent in its pod: what it reads, the bundle that it trusts, the files for the probes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from geopod.agent import bundle as bundles
from geopod.agent.bundle import (
    MARKER,
    Bundle,
    BundleError,
    BundleLostError,
    bring_bundle,
    unpack_bundle,
)
from geopod.agent.pod import read_place
from geopod.agent.signs import FileSigns
from geopod.agent.template_link import TemplateLink
from geopod.agent.unpack import pack_runner, start_runner
from geopod.process.pod import Pod, PodVariableError
from geopod.store import KeyMissingError


def packed(tmp_path, *members: tarfile.TarInfo):
    """A bundle of these members, each with its own name as content."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for member in members:
            data = member.name.encode() if member.isreg() else b""
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    target = tmp_path / "bundle.tar.zst"
    with pa.CompressedOutputStream(str(target), "zstd") as stream:
        stream.write(raw.getvalue())
    return target, hashlib.sha256(target.read_bytes()).hexdigest()


def a_member(name: str, **changes) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    for key, value in changes.items():
        setattr(member, key, value)
    return member


GOOD = "site-packages/numpy/__init__.py"


def test_bundle_is_unpacked_for_agent_and_runner(tmp_path):
    path, sha256 = packed(
        tmp_path, a_member(GOOD, mode=0o600), a_member("site-packages/bin/tool", mode=0o700)
    )
    folder = tmp_path / "env"
    unpack_bundle(path, sha256, folder)
    module, tool = folder / GOOD, folder / "site-packages/bin/tool"
    assert module.read_text() == GOOD
    assert (module.stat().st_mode & 0o777, tool.stat().st_mode & 0o777) == (0o644, 0o755)
    assert (folder / MARKER).read_text() == sha256


class FetchingStore:
    """A store whose bundle is fetched into a folder."""

    def __init__(self, bundle: Path, cache: Path) -> None:
        self._bundle, self._cache = bundle, cache

    async def fetch(self, key: str) -> Path:
        if not self._bundle.exists():
            raise KeyMissingError(key)
        self._cache.mkdir(exist_ok=True)
        return Path(shutil.copy(self._bundle, self._cache / "fetched"))


@pytest.mark.parametrize("is_right", [True, False])
def test_fetched_bundle_takes_no_room_once_it_was_read(tmp_path, is_right):
    path, sha256 = packed(tmp_path, a_member(GOOD))
    bundle = Bundle(namespace="team", key="k", sha256=sha256 if is_right else "0" * 64)
    cache = tmp_path / "cache"
    bring = bring_bundle(FetchingStore(path, cache), bundle, tmp_path / "env", cache=cache)
    with contextlib.nullcontext() if is_right else pytest.raises(BundleLostError):
        asyncio.run(bring)
    assert list(cache.iterdir()) == []
    assert path.exists(), "a file of the store itself stays"


def test_bundle_that_is_not_in_the_store_is_a_lost_one(tmp_path):
    store = FetchingStore(tmp_path / "none", tmp_path / "cache")
    bundle = Bundle(namespace="team", key="k", sha256="0" * 64)
    with pytest.raises(BundleLostError, match="built anew"):
        asyncio.run(bring_bundle(store, bundle, tmp_path / "env", cache=tmp_path / "cache"))


def test_bundle_of_another_sha256_is_refused_before_it_is_opened(tmp_path):
    path, _ = packed(tmp_path, a_member(GOOD))
    with pytest.raises(BundleError, match="sha256"):
        unpack_bundle(path, "0" * 64, tmp_path / "env")
    assert not (tmp_path / "env").exists()


@pytest.mark.parametrize(
    "member",
    [
        a_member("/etc/passwd"),
        a_member("site-packages/../../outside"),
        a_member("site-packages/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        a_member("site-packages/hard", type=tarfile.LNKTYPE, linkname=GOOD),
        a_member("site-packages/pipe", type=tarfile.FIFOTYPE),
    ],
    ids=lambda member: member.name,
)
def test_member_that_leaves_the_folder_spoils_the_whole_bundle(tmp_path, member):
    path, sha256 = packed(tmp_path, a_member(GOOD), member)
    with pytest.raises(BundleError):
        unpack_bundle(path, sha256, tmp_path / "env")
    assert not (tmp_path / "env" / "site-packages").exists()


def test_bundle_without_packages_is_refused(tmp_path):
    path, sha256 = packed(tmp_path, a_member("other/file"))
    with pytest.raises(BundleError, match="site-packages"):
        unpack_bundle(path, sha256, tmp_path / "env")


def test_bundle_that_is_too_large_is_refused(tmp_path, monkeypatch):
    path, sha256 = packed(tmp_path, a_member(GOOD), a_member("site-packages/more"))
    monkeypatch.setattr(bundles, "MAX_FILES", 1)
    with pytest.raises(BundleError, match="too large"):
        unpack_bundle(path, sha256, tmp_path / "env")


def test_bytes_that_are_no_bundle_are_refused(tmp_path):
    path = tmp_path / "bundle"
    path.write_bytes(b"no archive")
    with pytest.raises(BundleError, match="cannot be unpacked"):
        unpack_bundle(path, hashlib.sha256(b"no archive").hexdigest(), tmp_path / "env")


def test_probes_see_no_file_of_an_earlier_life(tmp_path):
    started, ready = tmp_path / "started", tmp_path / "ready"
    started.touch()
    ready.touch()
    signs = FileSigns(started, ready)
    assert (started.exists(), ready.exists()) == (False, False)
    signs.started()
    signs.ready(ready=True)
    assert (started.exists(), ready.exists()) == (True, True)
    signs.ready(ready=False)
    signs.ready(ready=False)
    assert (started.exists(), ready.exists()) == (True, False)


def variables(tmp_path, **changes) -> dict[str, str]:
    folder = tmp_path / "geopod" / "link"
    folder.mkdir(parents=True)
    (folder / "link-key").write_text("cd" * 32)
    return {
        "GEOPOD_ROOT": str(tmp_path), "GEOPOD_NAMESPACE": "team", "GEOPOD_ENVIRONMENT_UID": "u",
        "GEOPOD_STORE": "http://gateway:8080", "GEOPOD_POD_UID": "pod-1", "GEOPOD_NODE": "3",
        "GEOPOD_COORDINATOR": "ws://c:7420/v1", "GEOPOD_TEMPLATE_HASH": "abc", **changes,
    }  # fmt: skip  # pairs read better side by side


def test_place_of_a_node_is_read_from_its_pod(tmp_path):
    place = read_place(Pod(variables(tmp_path)))
    settings = place.settings
    assert (settings.node, settings.template_hash, settings.runner_uid) == (3, "abc", 10002)
    assert settings.scratch_dir == tmp_path / "scratch"
    assert settings.runner_socket == tmp_path / "geopod/socket/runner.sock"
    assert place.runner_file == tmp_path / "geopod/bin/geopod.runner.pyz"
    assert place.bundle is None


def test_restarted_container_is_another_instance_of_its_pod(tmp_path):
    pod = Pod(variables(tmp_path))
    first, second = read_place(pod).settings.instance, read_place(pod).settings.instance
    assert first.startswith("pod-1-")
    assert first != second


def test_bundle_needs_the_sha256_that_its_builder_said(tmp_path):
    with pytest.raises(PodVariableError, match="GEOPOD_BUNDLE_SHA256"):
        read_place(Pod(variables(tmp_path, GEOPOD_BUNDLE_KEY="k" * 64)))


def test_runner_starts_at_once_where_the_image_has_every_package(tmp_path):
    start_runner(Pod(variables(tmp_path)))
    assert (tmp_path / "geopod/bin/geopod.runner.pyz").read_bytes() == pack_runner()


def test_runner_waits_for_the_packages_of_its_bundle(tmp_path):
    start_runner(Pod(variables(tmp_path, GEOPOD_BUNDLE_KEY="k" * 64)))
    assert not (tmp_path / "geopod/bin").exists()


def test_agent_dials_before_it_loads_what_only_work_needs():
    code = "import sys, geopod.agent.pod, geopod.agent.websocket; print(*sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    heavy = {"aiohttp", "geopod.dispatch", "http.client", "numpy", "pydantic", "rasterio"}
    assert not heavy & set(answer.stdout.split())


class Events:
    """Hears nothing that these tests look at."""

    def __getattr__(self, name: str):
        return lambda *_: None


@pytest.mark.parametrize(("of", "is_heard"), [(0, True), (1, False)], ids=["own", "another"])
def test_socket_listens_to_the_runners_user_alone(of, is_heard):
    async def story():
        with tempfile.TemporaryDirectory(prefix="gp-") as folder:
            path = Path(folder) / "r.sock"
            link = TemplateLink(path, Events(), runner_uid=os.geteuid() + of)
            link.listen()
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                async with asyncio.timeout(0.2 if is_heard else 60):
                    assert await reader.read() == b""  # hung up on
                    assert not is_heard
            except TimeoutError:
                assert link.is_connected
            writer.close()
            link.close()

    asyncio.run(story())
