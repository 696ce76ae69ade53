"""Environments, plain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, Self, overload

from typing_extensions import override

from geopod.api.plan import Plan
from geopod.client import aio
from geopod.client.aio.check import CheckReport
from geopod.client.aio.explain import Explanation
from geopod.client.aio.run import Errors
from geopod.client.interrupt import leave_runs
from geopod.client.loop import LoopThread
from geopod.client.sync.forwarding import Forwarded, mirrors
from geopod.client.sync.run import Run, make_plain
from geopod.errors import RunFailedError


class Environment:
    """N warm nodes. `with` terminates an environment that this block created."""

    id = Forwarded()
    """The uid: another environment of the same name has another one."""
    name = Forwarded()
    """The name, as given or made: `env-<uuid>`."""
    phase = Forwarded()
    """`Pending`, `Starting`, `Ready`, `Suspended`, `Failed` or `Terminated`."""
    message = Forwarded()
    """What is said about the phase; empty when there is nothing to say."""
    layers = Forwarded()
    """Its layers, with the timestamps that `latest` was resolved to once they are read."""
    files = Forwarded()
    """Ids of its plain files."""
    nodes = Forwarded()
    """How many nodes it shall have."""
    nodes_ready = Forwarded()
    """How many of them are ready."""
    interpreter = Forwarded()
    """What its nodes run, `python3.12`."""
    python_version = Forwarded()
    """The minor version of it, `3.12`."""
    packages = Forwarded()
    """Where the nodes' packages come from, in words."""
    image_digest = Forwarded()
    """Digest of the runner's image; empty on this machine."""
    gpu = Forwarded()
    """`resourceName` and `count` of one node's GPUs; empty without any."""
    created = Forwarded()
    """When it was created, in seconds since 1970."""

    def __init__(self, environment: aio.Environment, loop: LoopThread) -> None:
        self._aio = environment
        self._loop = loop

    @override
    def __repr__(self) -> str:
        return repr(self._aio)

    def _repr_html_(self) -> str:
        """Return a card for notebooks, with its map if that can be had quickly."""
        from geopod.client.aio.showing import environment_html  # only in a notebook

        return self._loop.run(environment_html(self._aio))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.run(self._aio.__aexit__(*exception))

    @mirrors(aio.Environment.refresh_state)
    def refresh_state(self) -> Self:
        self._loop.run(self._aio.refresh_state())
        return self

    @mirrors(aio.Environment.wait_ready)
    def wait_ready(self, timeout: float | str = "10m", *, progress: bool | None = None) -> Self:
        self._loop.run(self._aio.wait_ready(timeout, progress=progress))
        return self

    @mirrors(aio.Environment.execute)
    def execute(
        self,
        function: Any,
        *,
        timeout: float | str | None = None,
        errors: Errors = "raise",
        allow_pickle: bool = False,
        progress: bool | None = None,
        **options: Any,
    ) -> list[Any]:
        work = self._aio.execute(
            function,
            timeout=timeout,
            errors=errors,
            allow_pickle=allow_pickle,
            progress=progress,
            **options,
        )
        with self._interruptible():
            return self._loop.run(work)

    def _interruptible(self) -> _Interruptible:
        return _Interruptible(self._aio, self._loop)

    @mirrors(aio.Environment.submit)
    def submit(self, function: Any, **options: Any) -> Run:
        return Run(self._loop.run(self._aio.submit(function, **options)), self._loop)

    @mirrors(aio.Environment.map)
    def map(self, function: Any, *iterables: Iterable[Any], **options: Any) -> Iterator[Any]:
        return self._read(self._aio.map(function, *iterables, **options))

    def _read(self, values: AsyncGenerator[Any, None]) -> Iterator[Any]:
        with self._interruptible():
            yield from self._loop.iterate(values)

    @mirrors(aio.Environment.submit_map)
    def submit_map(
        self, function: Any, args: Iterable[tuple[Any, ...]], kwargs: Any = None, **options: Any
    ) -> Run:
        work = self._aio.submit_map(function, args, kwargs, **options)
        return Run(self._loop.run(work), self._loop)

    @mirrors(aio.Environment.check)
    def check(self, function: Any, *, partitions: int = 1) -> CheckReport:
        return self._loop.run(self._aio.check(function, partitions=partitions))

    @mirrors(aio.Environment.explain)
    def explain(self) -> Explanation:
        return self._loop.run(self._aio.explain())

    @mirrors(aio.Environment.plan)
    def plan(self) -> Plan:
        return self._loop.run(self._aio.plan())

    @property
    def partitions(self) -> Any:
        """One row per node, a GeoDataFrame: its core in the work CRS, and what it holds."""
        return self._loop.run(self._aio.partitions())

    @mirrors(aio.Environment.draw)
    def draw(self, path: str | Path) -> Path:
        return self._loop.run(self._aio.draw(path))

    @overload
    def build_log(self) -> str: ...
    @overload
    def build_log(self, *, follow: Literal[False]) -> str: ...
    @overload
    def build_log(self, *, follow: Literal[True]) -> Iterator[str]: ...
    def build_log(self, *, follow: bool = False) -> str | Iterator[str]:
        """Return what installing the requirements printed.

        `follow`: its lines instead, one by one, until nothing is being installed. On this machine
        they come as uv writes them; a cluster's builder stores its log when it ends.
        """
        log = self._aio.build_log(follow=follow)
        return self._loop.iterate(aiter(log)) if follow else self._loop.run(log.text())

    @mirrors(aio.Environment.scale)
    def scale(self, nodes: int) -> None:
        self._loop.run(self._aio.scale(nodes))

    @mirrors(aio.Environment.refresh)
    def refresh(self) -> None:
        self._loop.run(self._aio.refresh())

    @mirrors(aio.Environment.add_requirements)
    def add_requirements(self, *requirements: str) -> None:
        self._loop.run(self._aio.add_requirements(*requirements))

    @mirrors(aio.Environment.suspend)
    def suspend(self) -> None:
        self._loop.run(self._aio.suspend())

    @mirrors(aio.Environment.resume)
    def resume(self) -> None:
        self._loop.run(self._aio.resume())

    @mirrors(aio.Environment.terminate)
    def terminate(self, *, wait: bool = True) -> None:
        self._loop.run(self._aio.terminate(wait=wait))

    @mirrors(aio.Environment.delete)
    def delete(self, *, results: bool = False) -> None:
        self._loop.run(self._aio.delete(results=results))


class _Interruptible:
    """On Ctrl-C says which runs go on, a second one cancels them; hands out failed runs plain.

    No generator: of a short call it would be a fiftieth.
    """

    def __init__(self, environment: aio.Environment, loop: LoopThread) -> None:
        self._environment = environment
        self._loop = loop

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, RunFailedError):
            make_plain(error, self._loop)
        elif isinstance(error, KeyboardInterrupt):
            left = self._environment.left
            leave_runs([run.name for run in left], lambda: self._cancel(left))

    def _cancel(self, runs: list[aio.Run]) -> None:
        for run in runs:
            self._loop.run(run.cancel())
