"""Runs, plain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

from typing_extensions import override

from geopod.api.results import LogLine
from geopod.client import aio
from geopod.client.aio.explain import Explanation
from geopod.client.aio.run import Errors
from geopod.client.aio.showing import task_row
from geopod.client.aio.statistics import RunStats
from geopod.client.interrupt import leave_runs, leaving
from geopod.client.layerlike import LayerRef
from geopod.client.loop import LoopThread, shared_loop
from geopod.client.sync.forwarding import Forwarded, mirrors
from geopod.client.sync.task import Task, read_lines
from geopod.display.lists import Search
from geopod.errors import InvalidInputError, RunFailedError


class Run:
    """A submitted run; `results()` gathers one element per task, in task order."""

    id = Forwarded()
    """The uid."""
    name = Forwarded()
    """The name by which `client.get_run` finds it, from any process."""
    phase = Forwarded()
    """`Queued`, `Running`, `Succeeded`, `Failed` or `Cancelled`."""
    counts = Forwarded()
    """Tasks by state, and `total`."""
    created = Forwarded()
    """When it was submitted, in seconds since 1970."""
    started = Forwarded()
    """When its first task started; None before."""
    finished = Forwarded()
    """When it ended; None before."""
    tags = Forwarded()
    """The words it was submitted with."""
    environment = Forwarded()
    """The uid of its environment."""
    done = Forwarded()
    """Whether it has ended."""
    function_name = Forwarded()
    """The name of the function."""
    message = Forwarded()
    """Why it ended as it did, or what it waits for."""

    def __init__(self, run: aio.Run, loop: LoopThread) -> None:
        self._aio = run
        self._loop = loop

    @override
    def __repr__(self) -> str:
        return repr(self._aio)

    def _repr_html_(self) -> str:
        """Return a card for notebooks, with its map if that can be had quickly."""
        from geopod.client.aio.showing import run_html  # only in a notebook

        return self._loop.run(run_html(self._aio))

    @property
    def tasks(self) -> Search[Task]:
        """The run's tasks, by index; of a run that has ended, with all that is known of them."""
        if self.done:
            self._loop.run(self._aio.records())
        return Search((Task(task, self._loop) for task in self._aio.tasks), row=task_row)

    @property
    def failed(self) -> Search[Task]:
        """The tasks without a result."""
        wanted = frozenset(self._loop.run(self._aio.failed_indexes()))
        return Search((task for task in self.tasks if task.index in wanted), row=task_row)

    @mirrors(aio.Run.refresh)
    def refresh(self) -> Self:
        self._loop.run(self._aio.refresh())
        return self

    @mirrors(aio.Run.wait)
    def wait(self, timeout: float | str | None = None, *, progress: bool | None = None) -> Self:
        try:
            self._loop.run(self._aio.wait(timeout, progress=progress))
        except KeyboardInterrupt:
            leave_runs([self.name], self.cancel)
            raise
        return self

    @mirrors(aio.Run.results)
    def results(self, *, timeout: float | str | None = None, **options: Any) -> list[Any]:
        self.wait(timeout, progress=options.pop("progress", None))
        with plain_failures(self._loop):
            return self._loop.run(self._aio.results(**options))

    @mirrors(aio.Run.iter_results)
    def iter_results(self, **options: Any) -> Iterator[Any]:
        with leaving([self._aio], self.cancel):
            yield from self._loop.iterate(self._aio.iter_results(**options))

    @mirrors(aio.Run.as_completed)
    def as_completed(self, timeout: float | str | None = None) -> Iterator[Task]:
        with leaving([self._aio], self.cancel):
            for task in self._loop.iterate(self._aio.as_completed(timeout)):
                yield Task(task, self._loop)

    @mirrors(aio.Run.logs)
    def logs(self, **options: Any) -> Iterator[LogLine]:
        return read_lines(self._aio, self._aio.logs(**options), self._loop)

    @mirrors(aio.Run.why_no_logs)
    def why_no_logs(self, *, task: int | None = None) -> str:
        return self._loop.run(self._aio.why_no_logs(task=task))

    @mirrors(aio.Run.cancel)
    def cancel(self, *, tasks: list[int] | None = None) -> None:
        self._loop.run(self._aio.cancel(tasks=tasks))

    @mirrors(aio.Run.explain)
    def explain(self) -> Explanation:
        return self._loop.run(self._aio.explain())

    @mirrors(aio.Run.stats)
    def stats(self) -> RunStats:
        return self._loop.run(self._aio.stats())

    @mirrors(aio.Run.provenance)
    def provenance(self) -> dict[str, Any]:
        return self._loop.run(self._aio.provenance())

    @mirrors(aio.Run.rerun)
    def rerun(self, **options: Any) -> Run:
        return Run(self._loop.run(self._aio.rerun(**options)), self._loop)

    @mirrors(aio.Run.add_to_layer)
    def add_to_layer(self, layer: Any) -> LayerRef:
        return self._loop.run(self._aio.add_to_layer(layer))

    @mirrors(aio.Run.download)
    def download(self, folder: Any) -> list[Any]:
        return self._loop.run(self._aio.download(folder))

    @mirrors(aio.Run.delete)
    def delete(self, *, results: bool = False) -> None:
        self._loop.run(self._aio.delete(results=results))


@contextmanager
def plain_failures(loop: LoopThread) -> Iterator[None]:
    """Hand out the run of a RunFailedError as a plain one."""
    try:
        yield
    except RunFailedError as error:
        make_plain(error, loop)
        raise


def make_plain(error: RunFailedError, loop: LoopThread) -> None:
    """Give an error the plain run in place of the one with coroutines."""
    if isinstance(error.run, aio.Run):
        error.run = Run(error.run, loop)


@mirrors(aio.wait)
def wait(runs: Iterable[Run], timeout: float | str | None = None) -> list[Run]:
    loop = shared_loop()
    waiting = list(runs)
    behind = _behind(waiting)
    with _leaving(behind, loop):
        loop.run(aio.wait(behind, timeout))
    return waiting


@mirrors(aio.gather)
def gather(*runs: Run, errors: Errors = "raise") -> list[list[Any]]:
    loop = shared_loop()
    behind = _behind(runs)
    with plain_failures(loop), _leaving(behind, loop):
        return loop.run(aio.gather(*behind, errors=errors))


def _behind(runs: Iterable[Run]) -> list[aio.Run]:
    """Return the runs with coroutines; raises InvalidInputError for what is no run."""
    for run in runs:
        if not isinstance(run, Run):
            raise InvalidInputError.value(name="runs", value=run, why="is no run of this client")
    return [run._aio for run in runs]  # noqa: SLF001  # same module


@mirrors(aio.as_completed)
def as_completed(tasks: Iterable[Task], timeout: float | str | None = None) -> Iterator[Task]:
    loop = shared_loop()
    plain = {id(task._aio): task for task in tasks}  # noqa: SLF001  # same module
    behind = [task._aio for task in plain.values()]  # noqa: SLF001
    with _leaving([task.run for task in behind], loop):
        for ended in loop.iterate(aio.as_completed(behind, timeout)):
            yield plain[id(ended)]


def _leaving(runs: list[aio.Run], loop: LoopThread) -> AbstractContextManager[None]:
    async def cancel() -> None:
        for run in runs:
            if not run.done:
                await run.cancel()

    return leaving(runs, lambda: loop.run(cancel()))
