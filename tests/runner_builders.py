"""A real runner for tests: the zipapp started as a process, driven by a RunnerLink."""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cloudpickle
import msgspec
import pytest
from geopod.agent.arguments import Arguments
from geopod.agent.runner_link import HandedOver, Outcome, RunnerLink, Work
from geopod.agent.unpack import write_runner
from geopod.api.bundles import FunctionBundle, FunctionRef, pack_arguments
from geopod.backends.local.interpreters import find_interpreter
from geopod.errors import InterpreterNotFoundError

DEADLINE_S = 180.0
"""Of every wait in these tests: far more than any of them takes."""


@dataclass
class Runner:
    """A started runner and what its link reported."""

    link: RunnerLink
    process: subprocess.Popen[bytes]
    scratch: Path
    states: asyncio.Queue[tuple[bool, str]]
    outcomes: list[Outcome] = field(default_factory=list)
    progress: list[tuple[int, float | None, str]] = field(default_factory=list)
    reported: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, work: Work) -> list[Outcome]:
        """Run the work; return this call's outcomes in task order."""
        mine: list[Outcome] = []

        async def report(outcomes: list[Outcome]) -> None:
            mine.extend(outcomes)
            self.outcomes.extend(outcomes)
            async with self.reported:
                self.reported.notify_all()

        def said(index: int, fraction: float | None, text: str) -> None:
            self.progress.append((index, fraction, text))

        await asyncio.wait_for(self.link.run(work, report, said), DEADLINE_S)
        return sorted(mine, key=lambda outcome: outcome.index)

    async def call(self, function: Callable[..., Any], **options: Any) -> Outcome:
        """Run one task of a fresh run and end it."""
        work = a_work(function, run=f"run-{len(self.outcomes)}-{id(function)}", **options)
        [outcome] = await self.run(work)
        await self.link.end_run(work.run)
        return outcome

    async def until_state(self, *, ready: bool) -> str:
        """Wait until the link says that the runner is (not) ready; return its message."""
        while True:
            state, message = await asyncio.wait_for(self.states.get(), DEADLINE_S)
            if state is ready:
                return message

    def pids(self) -> dict[str, list[int]]:
        """Return the runner's processes: its templates, and their children."""
        templates = children_of(self.process.pid)
        return {
            "templates": templates,
            "children": [child for template in templates for child in children_of(template)],
        }


@asynccontextmanager
async def a_runner(
    *,
    python: str = sys.executable,
    memory_bytes: int | None = None,
    arguments: Sequence[str] = (),
    scratch: Path | None = None,
) -> AsyncIterator[Runner]:
    """Start a runner on `python` and wait until it is ready; `scratch`: a folder elsewhere."""
    with tempfile.TemporaryDirectory(prefix="geopod-") as name:
        folder = Path(name)
        write_runner(folder / "geopod.runner.pyz")
        socket = folder / "socket" / "runner.sock"
        scratch = scratch or folder / "scratch"
        link = RunnerLink(socket, scratch, memory_bytes=memory_bytes)
        states: asyncio.Queue[tuple[bool, str]] = asyncio.Queue()
        link.on_state = lambda ready, message: states.put_nowait((ready, message))
        await link.start()
        command = [python, str(folder / "geopod.runner.pyz"), "--socket", str(socket), *arguments]
        process = subprocess.Popen(command)  # noqa: ASYNC220  # returns at once
        runner = Runner(link, process, scratch, states)
        try:
            await runner.until_state(ready=True)
            yield runner
        finally:
            await link.close()
            process.kill()
            process.wait()


def a_work(function: Callable[..., Any] | str | FunctionBundle, **options: Any) -> Work:
    """Return work of one task; `function` is sent by value, or as source if it is text."""
    if isinstance(function, str):
        pieces = [{"filename": "/home/ana/analysis.py", "firstLine": 7, "text": function}]
        bundle = {"entry": "f", "constants": {}, "imports": [], "pieces": pieces}
        kind, payload = "source", msgspec.json.encode(bundle)
    elif isinstance(function, FunctionBundle):
        kind, payload = function.format, function.payload
    else:
        kind, payload = "cloudpickle", cloudpickle.dumps(function)
    reference = FunctionRef(
        format=kind, name="f", python="3.11", sha256="0" * 64, size=len(payload)
    )
    given: dict[str, Any] = {"run": "run-1", "tasks": [(0, 1)], "timeout_s": 90.0}
    return Work(function=reference, payload=payload, **(given | options))


def arguments_of(data: bytes, form: Literal["pickle", "json"] = "pickle") -> Arguments:
    """Return an arguments object as an agent holds it; its file has lost its name already."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return Arguments(Path(file.name), form)


def a_map(
    function: Callable[..., Any] | str,
    items: Sequence[Any],
    *,
    chosen: Sequence[int] | None = None,
    shared: Sequence[bytes | memoryview] = (),
    **options: Any,
) -> Work:
    """Return work of one task per item (or of those chosen), each called as `f(item)`."""
    blobs = [cloudpickle.dumps([[item], {}]) for item in items]
    arguments = arguments_of(pack_arguments(blobs, shared))
    indexes = range(len(items)) if chosen is None else chosen
    return a_work(
        function,
        tasks=[(index, 1) for index in indexes],
        arguments=arguments,
        spans=arguments.spans(indexes),
        total=len(items),
        **options,
    )


def value_of(outcome: Outcome) -> Any:
    """Return the JSON value of an outcome; its failure, if it has one, fails the test."""
    assert outcome.failure is None, outcome.failure
    assert isinstance(outcome.value, HandedOver)
    assert outcome.value.kind == "json"
    assert isinstance(outcome.value.data, bytes)
    return msgspec.json.decode(outcome.value.data)


def children_of(pid: int) -> list[int]:
    """Return a process's children, read from /proc."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found.extend(int(word) for word in (task / "children").read_text().split())
    return found


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


async def until(condition: Callable[[], bool]) -> None:
    """Look again and again until a condition of other processes holds; fails at the deadline."""
    end = asyncio.get_running_loop().time() + DEADLINE_S
    while not condition():
        assert asyncio.get_running_loop().time() < end, "the condition never came true"
        await asyncio.sleep(0.01)


def interpreter(minor: str) -> str:
    """Return a Python of this minor version, uv's, pyenv's or PATH's; without one: skip."""
    try:
        return find_interpreter(f"python{minor}").executable
    except InterpreterNotFoundError:
        pytest.skip(f"no Python {minor} here")
