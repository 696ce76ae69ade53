"""How a child ended, in words and numbers."""

import json
from typing import Any

import pytest
from geopod.agent.runner_messages import ResultItem
from geopod.agent.verdict import (
    Death,
    Limits,
    judge_death,
    judge_item,
    raised,
    result_too_large,
)
from geopod.agent.work import TaskLog
from geopod.api.results import RemoteException
from geopod.runner.cgroup import find_memory_group, parse_stat
from geopod.runner.exceptions import cut_middle, describe
from hypothesis import given
from hypothesis import strategies as st

GIB = 1 << 30
LIMITS = Limits(timeout_s=1800.0, memory_bytes=4 * GIB, partition_bytes=812 << 20)
SEGFAULT = TaskLog(
    out=b"",
    err=b"Fatal Python error: Segmentation fault\n\n"
    b"Current thread 0x00007f (most recent call first):\n"
    b'  File "/usr/lib/python3.12/site-packages/rasterio/_io.py", line 3 in read\n'
    b'  File "/home/ana/f.py", line 9 in f\n',
)

DEATHS = [
    pytest.param(
        Death(
            signal=9, reason="timeout", ran_s=1800, peak_bytes=int(3.1 * GIB), cpu_percent=6.2,
            progress=(0.62, "band 4"), log=TaskLog(out=b"a\nreading B4\n\n", err=b""),
        ),
        "Timeout", "E302",
        'was stopped after 30m00s (task_timeout=30m). Last progress 62 % "band 4"; '
        "peak 3.1 of 4.0 GiB; cpu 6 %; last log line: reading B4",
        id="timeout",
    ),
    pytest.param(
        Death(signal=9, reason="memory"), "OutOfMemory", "E304",
        "was killed at its 4.0 GiB memory limit (exit 137); its partition holds 812 MiB.",
        id="memory",
    ),
    pytest.param(
        Death(signal=11, log=SEGFAULT), "Signal", "E305",
        "died with SIGSEGV in rasterio/_io (frames below).", id="segfault",
    ),
    pytest.param(
        Death(signal=9), "Signal", "E305", "died with SIGKILL.", id="killed-by-someone"
    ),
    pytest.param(
        Death(exit=0), "Signal", "E305", "called os._exit(0) without returning.", id="os._exit"
    ),
    pytest.param(
        Death(signal=9, reason="processes"), "Signal", "E305",
        "started more than 512 processes at once and was killed.", id="fork-bomb",
    ),
    pytest.param(
        Death(signal=9, reason="output"), "Signal", "E305",
        "printed more than 1 GiB and was killed.", id="endless-output",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("death", "reason", "code", "fact"), DEATHS)
def test_a_death_is_told_by_name(death: Death, reason: str, code: str, fact: str) -> None:
    failure = judge_death(death, LIMITS)
    assert (failure.reason, failure.code, failure.fact) == (reason, code, fact)


SHAPES = {"shape": [3, 4], "core": [6, 4], "padded": [10, 8]}
ITEMS = [
    pytest.param(
        {"reason": "Exit", "details": {"exit": 0}},
        "Signal", "called sys.exit(0) without returning.", id="sys.exit",
    ),
    pytest.param(
        {"reason": "NotSerializable", "details": {"type": "generator"}},
        "NotSerializable",
        "returned a generator; results are JSON, arrays, tables, rasters, bytes.", id="generator",
    ),
    pytest.param(
        {
            "reason": "NotSerializable", "details": {"type": "dict"},
            "exception": RemoteException(type="TypeError", message="cannot pickle 'lock' object"),
        },
        "NotSerializable",
        "returned a dict (cannot pickle 'lock' object); results are JSON, arrays, tables, "
        "rasters, bytes.", id="in-a-container",
    ),
    pytest.param(
        {"reason": "ShapeMismatch", "details": SHAPES},
        "ShapeMismatch", "node 2 returned (3, 4); core is (6, 4), padded (10, 8).", id="shape",
    ),
    pytest.param(
        {"reason": "NotAFileResult", "details": {"type": "dict"}},
        "NotAFileResult", "node 2 returned dict; writeToLayer/addLayer need files.", id="no-file",
    ),
    pytest.param({"reason": "Cancelled"}, "Cancelled", "was cancelled.", id="cancelled"),
    pytest.param({"reason": "Exception"}, "Exception", "raised Exception", id="forged-exception"),
    pytest.param(
        {"reason": "ShapeMismatch", "details": {"shape": "x", "core": [1.5]}},
        "ShapeMismatch", "node 2 returned (); core is (), padded ().", id="forged-details",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("item", "reason", "fact"), ITEMS)
def test_a_failure_that_the_child_reported_is_told_by_name(
    item: dict[str, Any], reason: str, fact: str
) -> None:
    failure = judge_item(ResultItem(index=0, attempt=1, **item), node=2)
    assert (failure.reason, failure.fact) == (reason, fact)


def test_a_large_result_is_told_with_both_numbers() -> None:
    assert result_too_large(7_759_113, "npy").fact == (
        "returned 7.4 MiB (7,759,113 bytes as npy); the limit with large_result=False is 2 MiB "
        "(2,097,152 bytes)."
    )


def test_a_function_that_cannot_be_loaded_says_so() -> None:
    failure = raised(RemoteException(type="ImportError", message="no dask"), while_loading=True)
    assert failure.reason == "FunctionNotLoadable"
    assert failure.fact == "could not be loaded: ImportError: no dask"


# ---- exceptions as text


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise OSError("no text today")


class SecretiveError(Exception):
    @property
    def args(self) -> Any:
        raise OSError("no arguments today")


class ExitingError(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


def caught(error: BaseException) -> dict[str, Any]:
    try:
        raise error  # noqa: TRY301  # to give it a traceback
    except BaseException as raised_error:  # noqa: BLE001  # whatever the table holds
        return describe(raised_error)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        pytest.param(ValueError("empty", 3), ["empty", 3], "('empty', 3)", id="plain"),
        pytest.param(KeyError("dem"), ["dem"], "'dem'", id="key"),
        pytest.param(ValueError(object), None, str(object), id="args-that-are-no-json"),
        pytest.param(ValueError(float("nan")), None, "nan", id="nan"),
        pytest.param(
            UnprintableError(),
            [],
            "<str() of this UnprintableError raised OSError>",
            id="unprintable",
        ),
        pytest.param(KeyboardInterrupt(), [], "", id="keyboard-interrupt"),
    ],
)
def test_an_exception_is_described_whatever_it_is(
    error: BaseException, arguments: list[Any] | None, message: str
) -> None:
    described = caught(error)
    assert described["args"] == arguments
    assert described["message"] == message
    assert described["frames"][-1][2] == "caught"


@pytest.mark.parametrize(
    ("error", "why"), [(SecretiveError(), "OSError"), (ExitingError(), "SystemExit")]
)
def test_an_exception_that_fights_back_is_told_by_type_and_place(
    error: Exception, why: str
) -> None:
    described = caught(error)
    assert described["type"] == type(error).__name__
    assert described["message"] == f"<{why} while this {type(error).__name__} was described>"
    assert described["frames"][0][3].startswith("raise error")
    json.dumps(described)


def test_notes_causes_and_a_loop_of_causes_are_told_once() -> None:
    first, second = ValueError("first"), TypeError("second")
    first.__cause__, second.__cause__ = second, first
    first.add_note("while reading B4")
    described = caught(first)
    assert described["notes"] == ["while reading B4"]
    assert described["cause"]["type"] == "TypeError"
    assert "cause" not in described["cause"]


@given(text=st.text(max_size=400), limit=st.integers(60, 300))
def test_a_cut_text_keeps_its_ends_and_its_limit(text: str, limit: int) -> None:
    short = cut_middle(text, limit)
    assert len(short.encode()) <= limit
    if len(text.encode()) <= limit:
        assert short == text
    else:
        assert "bytes left out" in short
        assert text.startswith(short[:1])


# ---- cgroups


@pytest.mark.parametrize(
    ("text", "used"),
    [
        pytest.param("anon 100\nfile 900\nshmem 20\n", 120, id="v2"),
        pytest.param("cache 5\nrss 7\nshmem 1\ntotal_rss 70\ntotal_shmem 2\n", 72, id="v1"),
        pytest.param("", 0, id="empty"),
    ],
)
def test_memory_that_cannot_be_dropped_is_counted(text: str, used: int) -> None:
    assert parse_stat(text) == used


@pytest.mark.parametrize(
    ("name", "limit", "ceiling"),
    [
        pytest.param("memory.max", "4294967296", 4294967296 - (128 << 20), id="v2"),
        pytest.param(
            "memory/memory.limit_in_bytes", "1073741824", (1 << 30) - (128 << 20), id="v1"
        ),
        pytest.param("memory.max", str(200 << 20), 100 << 20, id="small"),
        pytest.param("memory.max", "max", None, id="v2-unlimited"),
        pytest.param(
            "memory/memory.limit_in_bytes", "9223372036854771712", None, id="v1-unlimited"
        ),
    ],
)
def test_the_containers_limit_is_found(
    name: str, limit: str, ceiling: int | None, tmp_path: Any
) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(limit + "\n")
    group = find_memory_group(tmp_path)
    assert (group.ceiling_bytes if group else None) == ceiling
