"""Arguments of a map on their way to a child: by a descriptor, shared parts once for all tasks."""

import asyncio
import pickle
import sys
from typing import Any

import cloudpickle
from geopod.agent.runner_link import Outcome, Work
from geopod.api.bundles import pack_arguments
from geopod.runner.frames import MAX_PART_BYTES
from runner_builders import a_map, a_runner, a_work, arguments_of, value_of

cloudpickle.register_pickle_by_value(sys.modules[__name__])


def outcomes_of(*works: Work) -> list[Outcome]:
    """Run works one after the other on one runner."""

    async def scenario() -> list[Outcome]:
        async with a_runner() as runner:
            return [outcome for work in works for outcome in await runner.run(work)]

    return asyncio.run(scenario())


def table_of(size: int) -> list[bytes | memoryview]:
    """Return `{"table": bytearray}` as shared segments: the bytes lie beside the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    table = {"table": pickle.PickleBuffer(bytearray(size))}
    encoded = pickle.dumps(table, 5, buffer_callback=buffers.append)
    return [encoded, *(buffer.raw() for buffer in buffers)]


def spoil(number: int, *, table: Any) -> int:
    before = sum(table[:10])
    table[:10] = bytes([number]) * 10
    return before


def test_every_task_finds_shared_bytes_as_they_were_sent() -> None:
    work = a_map(spoil, range(1, 5), shared=table_of(3 * MAX_PART_BYTES))
    assert [value_of(outcome) for outcome in outcomes_of(work)] == [0] * 4


def die_at_three(number: int, *, table: Any) -> int:
    import os

    return os._exit(1) if number == 3 else number + len(table)  # type: ignore[func-returns-value]  # never returns


def test_a_fresh_child_gets_the_arguments_too() -> None:
    work = a_map(die_at_three, range(6), shared=table_of(100))
    outcomes = outcomes_of(work)
    assert [outcome.index for outcome in outcomes if outcome.failure] == [3]
    assert [value_of(outcome) for outcome in outcomes if not outcome.failure] == [
        100 + number for number in (0, 1, 2, 4, 5)
    ]


def test_arguments_beyond_what_a_message_may_hold_reach_their_task() -> None:
    item = b"x" * (3 * MAX_PART_BYTES)
    [outcome] = outcomes_of(a_map(len, [item]))
    assert value_of(outcome) == len(item)


def test_json_written_by_hand_is_read() -> None:
    blobs = [b'[[1],{"exponent":2}]', b'[[3],{"exponent":2},{"TILE":"31UFU"}]']
    arguments = arguments_of(pack_arguments(blobs), "json")
    work = a_work(
        lambda base, exponent: (base + 1) ** exponent,
        tasks=[(0, 1), (1, 1)],
        arguments=arguments,
        spans=arguments.spans([0, 1]),
        total=2,
    )
    assert [value_of(outcome) for outcome in outcomes_of(work)] == [4, 16]


OPEN_FILES = """
import os
found = set()
for name in os.listdir("/proc/self/fd"):
    try:
        found.add(os.readlink("/proc/self/fd/" + name))
    except OSError:
        pass  # the folder's own, while it was listed
"""


def inherited(_item: Any) -> list[bool]:
    import subprocess

    here: dict[str, Any] = {}
    exec(OPEN_FILES, here)  # noqa: S102  # the same words here and there
    command = [sys.executable, "-c", f"{OPEN_FILES}\nprint(*found)"]
    there = subprocess.run(command, capture_output=True, text=True, check=True, close_fds=False)
    return ["(deleted)" in name for name in (" ".join(here["found"]), there.stdout)]


def test_descriptor_of_a_run_is_not_left_to_programs_that_its_function_starts() -> None:
    [outcome] = outcomes_of(a_map(inherited, [0]))
    assert value_of(outcome) == [True, False]  # the file has lost its name
