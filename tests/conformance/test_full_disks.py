"""A disk without room, a real one: scratch of a node, and the store's. Kills: test_chaos."""

import asyncio
import errno
import os
import subprocess
import sys
from contextlib import contextmanager

import cloudpickle
import pytest
import runner_functions as functions
from geopod.errors import ConfigError, GatewayUnavailableError
from geopod.store.channel import Patience
from geopod_gateway.app import Gateway
from local_builders import left_of, ready, story
from runner_builders import a_runner, a_work, until, value_of
from store_builders import UID, a_store, running, some_settings

for module in (functions, sys.modules[__name__]):
    cloudpickle.register_pickle_by_value(module)

DISK_BYTES = 4 << 20
FULL = os.strerror(errno.ENOSPC)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")


@contextmanager
def small_disk(folder):
    """Mount a disk of 4 MiB there."""
    options = f"size={DISK_BYTES},mode=0777"
    mounting = ["/bin/mount", "-t", "tmpfs", "-o", options, "geopod-test", str(folder)]
    subprocess.run(mounting, check=True)
    try:
        yield
    finally:
        subprocess.run(["/bin/umount", "--lazy", str(folder)], check=True)


def free_bytes(folder):
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def three_mebibytes(_params):
    return b"v" * (3 << 20)


def fill_the_scratch(_params, ctx):
    (ctx.scratch / "large").write_bytes(bytes(8 << 20))


@pytest.mark.parametrize("fills_the_disk", [functions.large_value, fill_the_scratch])
def test_full_scratch_is_named_and_costs_nobody_else(tmp_path, fills_the_disk):
    async def scenario():
        async with a_runner(scratch=tmp_path) as runner:
            [full] = await runner.run(a_work(fills_the_disk, run="full"))
            [small] = await runner.run(a_work(functions.answer, run="small"))
            await runner.link.end_run("full")
            await until(lambda: free_bytes(tmp_path) > 3 << 20)
            large = await runner.call(three_mebibytes)
            size = large.value.data.stat().st_size
            large.value.close()
            return full, value_of(small), size

    with small_disk(tmp_path):
        full, small, size = asyncio.run(scenario())
    assert full.failure.reason == "Exception"
    assert FULL in full.failure.fact
    assert small
    assert size == 3 << 20


def test_full_store_refuses_by_name_keeps_what_it_has_and_takes_more_when_it_has_room(tmp_path):
    store_folder, data = tmp_path / "store", os.urandom(3 << 20)
    store_folder.mkdir()
    first, second = f"{UID}/runs/1/first", f"{UID}/runs/1/second"

    async def scenario():
        server = Gateway(some_settings(store_folder))
        async with running(server) as url, a_store(url, tmp_path / "cache") as store:
            await store.put(first, data)
            store._channel._patience = Patience(total_s=0.0)
            with pytest.raises(GatewayUnavailableError, match=r"DiskFull|DiskNearlyFull"):
                await store.put(second, data)
            assert await store.get(first) == data
            assert await store.names(f"{UID}/") == [first]
            await store.delete(first)
            await store.put(second, data)
            assert await store.get(second) == data

    with small_disk(store_folder):
        asyncio.run(scenario())
        assert [it.name for it in (store_folder / ".part").iterdir()] == []


def fill(folder):
    with (folder / "fill").open("wb") as file, pytest.raises(OSError, match=FULL):
        file.write(bytes(2 * DISK_BYTES))


def test_environment_is_ended_and_removed_though_its_record_cannot_be_written(tmp_path):
    async def act(backend):
        record = await ready(backend)
        fill(tmp_path)
        with pytest.raises(ConfigError, match=f"{FULL.lower()}. The nodes of 'env' have ended"):
            await backend.terminate_environment("env", wait=True)
        left = left_of(record.uid)
        found = {it.about: it for it in await backend.diagnose("env")}
        assert not found["disk"].ok
        with pytest.raises(ConfigError, match=FULL.lower()):
            await backend.apply_layer("dem", {"timestamps": []})
        await backend.delete_environment("env", results=True)
        return left, await backend.list_environments()

    with small_disk(tmp_path):
        try:
            assert story(tmp_path / "home", act) == ({}, [])
        finally:
            (tmp_path / "fill").unlink()


def test_what_was_staged_makes_room_for_the_word_that_an_environment_was_ended(tmp_path):
    async def act(backend):
        record = await ready(backend)
        staged = backend.folder.environment("env") / "scratch" / "staged"
        staged.write_bytes(bytes(1 << 20))
        fill(tmp_path)
        await backend.terminate_environment("env", wait=True)
        return (await backend.get_environment("env")).state.phase, left_of(record.uid)

    with small_disk(tmp_path):
        assert story(tmp_path / "home", act) == ("Terminated", {})
