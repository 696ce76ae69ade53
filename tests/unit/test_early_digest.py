"""A value's digest that begins while the value is written."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from geopod.agent.early import AT_ONCE_BYTES, EarlyDigests
from geopod.agent.ongoing import OngoingWork, TaskKey
from geopod.agent.runner_child import RunnerChild
from geopod.agent.runner_messages import ResultItem
from geopod.agent.tasks import take_value
from geopod.agent.work import HandedOver, Work
from geopod.api.bundles import FunctionRef
from geopod.runner.frames import pack

TASK = (0, 1)
SMALL, LARGE = b"s" * 1_000_000, b"l" * (AT_ONCE_BYTES + 1_000_000)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "task").mkdir()
    descriptor = os.open(tmp_path / "task", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def taken(folder: int, tmp_path: Path) -> HandedOver:
    item = ResultItem(index=0, attempt=1, kind="bytes", file="v")
    return take_value(item, b"", folder, tmp_path / "aside")


def followed(folder: int, tmp_path: Path, write: Callable[[BinaryIO], object]) -> str | None:
    """Return the digest of a file whose first half is there when its digest begins."""

    async def story() -> str | None:
        with (tmp_path / "task" / "v").open("wb", buffering=0) as file:
            file.write(LARGE[: len(LARGE) // 2])
            digests.begin(TASK, "v")
            write(file)
        value = taken(folder, tmp_path)
        digests.hand_on(value)
        assert value.early is not None
        found = await value.early.finish(value.size)
        value.close()
        return found

    digests = EarlyDigests(folder)
    return asyncio.run(story())


@pytest.mark.parametrize("rest", [b"", SMALL, LARGE], ids=["all of it", "more", "much more"])
def test_it_is_the_digest_of_all_bytes_whenever_they_came(
    folder: int, tmp_path: Path, rest: bytes
) -> None:
    found = followed(folder, tmp_path, lambda file: file.write(rest))
    assert found == hashlib.sha256(LARGE[: len(LARGE) // 2] + rest).hexdigest()


def test_of_a_file_that_was_cut_there_is_none(folder: int, tmp_path: Path) -> None:
    assert followed(folder, tmp_path, lambda file: file.truncate(len(SMALL))) is None


def test_another_file_of_the_same_name_does_not_get_it(folder: int, tmp_path: Path) -> None:
    written = tmp_path / "task" / "v"
    written.write_bytes(SMALL)
    digests = EarlyDigests(folder)
    digests.begin(TASK, "v")
    (tmp_path / "task" / "other").write_bytes(b"t" * len(SMALL))
    (tmp_path / "task" / "other").replace(written)
    value = taken(folder, tmp_path)
    digests.hand_on(value)
    assert value.early is None
    value.close()
    digests.close()


def test_a_task_begins_one_digest_and_no_link_or_pipe_is_followed(
    folder: int, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(SMALL)
    (tmp_path / "task" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "task" / "pipe")
    (tmp_path / "task" / "v").write_bytes(SMALL)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are counted
    digests = EarlyDigests(folder)
    for number, name in enumerate(("link", "pipe", "../secret", "absent", "")):
        digests.begin((number, 1), name)
        assert len(os.listdir("/proc/self/fd")) == before, name  # noqa: PTH208  # as above
    digests.begin((9, 1), "v")
    (tmp_path / "task" / "v").unlink()
    digests.begin((9, 1), "v")  # said again: the first one stays
    assert len(os.listdir("/proc/self/fd")) == before + 1  # noqa: PTH208  # as above
    digests.close()
    digests.close()
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208  # as above


def test_a_value_that_nobody_asks_for_ends_its_thread(folder: int, tmp_path: Path) -> None:
    async def story() -> HandedOver:
        (tmp_path / "task" / "v").write_bytes(LARGE)
        digests.begin(TASK, "v")
        value = taken(folder, tmp_path)
        digests.hand_on(value)
        return value

    digests = EarlyDigests(folder)
    value = asyncio.run(story())  # returns when its threads have ended
    value.close()


def test_values_that_wait_for_the_store_have_one_file_open_each(
    folder: int, tmp_path: Path
) -> None:
    async def story() -> int:
        digests = EarlyDigests(folder)
        values = []
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # names are counted
        for index in range(10):
            (tmp_path / "task" / "v").write_bytes(SMALL if index % 2 else LARGE)
            digests.begin((index, 1), "v")
            values.append(taken(folder, tmp_path))
            digests.hand_on(values[-1])
        found = [await value.early.finish(value.size) for value in values if value.early]
        await asyncio.sleep(0)  # callbacks
        open_now = len(os.listdir("/proc/self/fd")) - before  # noqa: PTH208  # as above
        assert found == [hashlib.sha256(data).hexdigest() for data in (LARGE, SMALL)] * 5
        for value in values:
            value.close()
        return open_now

    assert asyncio.run(story()) == 10


def test_children_that_never_end_a_value_leave_threads_to_others(
    folder: int, tmp_path: Path
) -> None:
    (tmp_path / "task" / "v").write_bytes(LARGE)

    async def story() -> str | None:
        many = [EarlyDigests(folder) for _ in range(8)]
        for digests in many:
            digests.begin(TASK, "v")
        value = taken(folder, tmp_path)
        many[-1].hand_on(value)
        assert value.early is not None
        found = await asyncio.wait_for(value.early.finish(value.size), timeout=60)
        assert await asyncio.wait_for(asyncio.to_thread(int), timeout=60) == 0
        value.close()
        for digests in many:
            digests.close()
        return found

    for _ in range(2):
        assert asyncio.run(story()) == hashlib.sha256(LARGE).hexdigest()
        (tmp_path / "task" / "v").write_bytes(LARGE)


def test_only_the_task_that_runs_begins_one(tmp_path: Path) -> None:
    """Told in turn of two tasks that wait, the agent would read the same file for ever."""

    async def story() -> list[TaskKey]:
        ours, theirs = socket.socketpair()
        streams = [os.open(tmp_path / name, os.O_CREAT | os.O_RDWR) for name in ("out", "err")]
        (tmp_path / "tasks").mkdir()
        child = RunnerChild(
            1, [ours.detach(), *streams], tmp_path / "tasks" / "1", end=lambda _: None
        )
        begun: list[TaskKey] = []

        def begin(task: TaskKey, name: str) -> None:
            assert name == "v"
            begun.append(task)

        child._early.begin = begin  # type: ignore[method-assign]  # what it is asked
        function = FunctionRef(
            format="source", name="f", python="3.12", sha256="0" * 64, size=0, inline=b""
        )
        work = Work(run="r", function=function, payload=b"", tasks=[TASK, (1, 1)])
        child.assign(OngoingWork(work, lambda *_: None))
        for index in (1, 0, 1, 2):
            said = {"t": "WRITING", "index": index, "attempt": 1, "file": "v"}
            theirs.sendall(pack(json.dumps(said).encode()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        child.discard()
        theirs.close()
        return begun

    assert asyncio.run(story()) == [TASK]
