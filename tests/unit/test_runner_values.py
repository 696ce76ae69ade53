"""The agent takes values from a folder that someone hostile writes to: only plain files count."""

import asyncio
import contextlib
import fcntl
import math
import mmap
import os
import resource
import socket
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest
from geopod.agent.ongoing import OngoingWork
from geopod.agent.runner_child import RunnerChild
from geopod.agent.runner_messages import ResultItem
from geopod.agent.tasks import MAX_READ_BYTES, UntrustedValueError, open_beneath, take_value
from geopod.agent.unpack import pack_runner, write_runner
from geopod.agent.work import Outcome, Work
from geopod.api.bundles import FunctionRef
from geopod.api.results import TaskReason


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "task").mkdir()
    descriptor = os.open(tmp_path / "task", os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def aside(tmp_path: Path) -> Path:
    (tmp_path / "taken").mkdir()
    return tmp_path / "taken" / "v"


def an_item(**changes: object) -> ResultItem:
    return ResultItem(**({"index": 0, "attempt": 1, "kind": "bytes"} | changes))  # type: ignore[arg-type]  # a builder


def test_an_inline_value_is_its_slice_of_the_body(folder: int, aside: Path) -> None:
    value = take_value(an_item(kind="json", inline=(1, 3)), b"0123", folder, aside)
    assert (value.data, value.size) == (b"12", 2)


@pytest.mark.parametrize("span", [(-1, 2), (2, 1), (0, 5), (5, 9)])
def test_an_inline_value_beyond_the_body_is_refused(
    folder: int, aside: Path, span: tuple[int, int]
) -> None:
    with pytest.raises(UntrustedValueError, match=f"{span[0]} to {span[1]} of 4"):
        take_value(an_item(inline=span), b"0123", folder, aside)


def test_a_small_file_is_read_and_gone(folder: int, aside: Path, tmp_path: Path) -> None:
    (tmp_path / "task" / "v").write_bytes(b"value")
    assert take_value(an_item(file="v"), b"", folder, aside).data == b"value"
    assert not (tmp_path / "task" / "v").exists()
    assert not aside.exists()


def test_a_large_file_stays_the_one_that_was_checked(
    folder: int, aside: Path, tmp_path: Path
) -> None:
    (tmp_path / "task" / "v").write_bytes(b"x" * (MAX_READ_BYTES + 1))
    value = take_value(an_item(file="v"), b"", folder, aside)
    (tmp_path / "task" / "v").symlink_to("/etc/passwd")
    assert isinstance(value.data, Path)
    assert value.data.read_bytes() == b"x" * (MAX_READ_BYTES + 1)
    assert value.file == aside
    value.close()
    value.close()
    assert not aside.exists()


@pytest.mark.skipif(not hasattr(fcntl, "F_SETLEASE"), reason="leases are Linux's")
@pytest.mark.parametrize("hold", ["open to write", "another name", "mapped", "nothing"])
def test_a_file_is_settled_when_nobody_else_can_write_to_it(
    folder: int, aside: Path, tmp_path: Path, hold: str
) -> None:
    written = tmp_path / "task" / "v"
    written.write_bytes(b"x" * (MAX_READ_BYTES + 1))
    with contextlib.ExitStack() as stack:
        if hold == "open to write":
            stack.enter_context(written.open("r+b"))
        elif hold == "another name":
            os.link(written, tmp_path / "other")
        elif hold == "mapped":
            with written.open("r+b") as file:
                stack.enter_context(mmap.mmap(file.fileno(), 0))
        value = take_value(an_item(file="v"), b"", folder, aside)
        assert value.is_settled() is (hold == "nothing")
        value.close()


def link_to_file(task: Path) -> str:
    (task.parent / "secret").write_bytes(b"s")
    (task / "v").symlink_to(task.parent / "secret")
    return "v"


def link_to_folder(task: Path) -> str:
    (task.parent / "other").mkdir()
    (task.parent / "other" / "v").write_bytes(b"s")
    (task / "inner").symlink_to(task.parent / "other")
    return "inner/v"


def pipe(task: Path) -> str:
    os.mkfifo(task / "v")
    return "v"


def folder_as_file(task: Path) -> str:
    (task / "v").mkdir()
    return "v"


def sparse(task: Path) -> str:
    with (task / "v").open("wb") as file:
        file.truncate(1 << 40)
    return "v"


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(link_to_file, id="link"),
        pytest.param(link_to_folder, id="link-on-the-way"),
        pytest.param(pipe, id="pipe"),
        pytest.param(folder_as_file, id="folder"),
        pytest.param(sparse, id="sparse-terabyte"),
        pytest.param(lambda _task: "../secret", id="parent"),
        pytest.param(lambda _task: "/etc/passwd", id="absolute"),
        pytest.param(lambda _task: "", id="no-name"),
        pytest.param(lambda _task: "a\0b", id="nul"),
        pytest.param(lambda _task: "/".join("a" * 40), id="deep"),
        pytest.param(lambda _task: "absent", id="absent"),
    ],
)
def test_what_is_no_plain_file_beneath_the_folder_is_refused(
    prepare: Callable[[Path], str], folder: int, tmp_path: Path
) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(UntrustedValueError, match="handed over"):
        open_beneath(folder, prepare(tmp_path / "task"), aside=tmp_path / "taken")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@contextlib.contextmanager
def one_descriptor_left() -> Iterator[None]:
    """Let this process open one file more: enough to begin, not to end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as full:
        full.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        last = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (last + 4, hard))
        held: list[int] = []
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
                full.callback(os.close, held[-1])
        os.close(held[-1])
        try:
            yield
        finally:
            os.dup2(0, held[-1])


def test_node_without_descriptors_blames_no_child(folder: int, aside: Path, tmp_path: Path) -> None:
    (tmp_path / "task" / "v").write_bytes(b"value")
    with one_descriptor_left(), pytest.raises(OSError, match="Too many open files"):
        open_beneath(folder, "v", aside=aside)
    assert take_value(an_item(file="v"), b"", folder, aside).data == b"value"


def test_value_that_the_node_cannot_take_is_the_nodes_failure_and_its_child_goes_on(
    tmp_path: Path,
) -> None:
    async def story() -> list[Outcome]:
        ours, theirs = socket.socketpair()
        streams = [os.open(tmp_path / name, os.O_CREAT | os.O_RDWR) for name in ("out", "err")]
        (tmp_path / "tasks").mkdir()
        ended: list[RunnerChild] = []
        place = tmp_path / "tasks" / "1"
        child = RunnerChild(1, [ours.detach(), *streams], place, end=ended.append)
        function = FunctionRef(
            format="source", name="f", python="3.12", sha256="0" * 64, size=0, inline=b""
        )
        work = Work(run="r", function=function, payload=b"", tasks=[(0, 1), (1, 1)])
        ongoing = OngoingWork(work, lambda *_: None)
        child.assign(ongoing)
        (place / "v").write_bytes(b"value")
        with one_descriptor_left():
            child._take(an_item(file="v"), b"", 0)
        child._take(an_item(index=1, file="v"), b"", 0)
        found: list[Outcome] = []

        async def report(outcomes: list[Outcome]) -> None:
            found.extend(outcomes)

        await ongoing.deliver(report)
        child.discard()
        theirs.close()
        assert ended == []
        return found

    spoilt, whole = asyncio.run(story())
    assert spoilt.failure is not None
    assert spoilt.failure.reason == TaskReason.NODE_LOST
    assert "Too many open files" in spoilt.failure.fact
    assert whole.value is not None
    assert whole.value.data == b"value"


def test_nodata_that_json_cannot_say_comes_back_as_a_number(folder: int) -> None:
    item = an_item(kind="raster", inline=(0, 0), meta={"nodata": "nan"})
    assert math.isnan(take_value(item, b"", folder, Path("unused")).meta["nodata"])


def test_the_zipapp_is_the_same_every_time_and_holds_no_more_than_it_needs(tmp_path: Path) -> None:
    digest = write_runner(tmp_path / "bin" / "geopod.runner.pyz")
    assert write_runner(tmp_path / "again.pyz") == digest
    names = zipfile.ZipFile(BytesIO(pack_runner())).namelist()
    assert {name.split("/")[0] for name in names} == {
        "__main__.py",
        "_geopod_runner",
        "cloudpickle",
    }
