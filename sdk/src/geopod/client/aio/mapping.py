"""One `map` as a stream of runs: one is sent while the one before it is read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from geopod.display.progress import Progress
from geopod.errors import InvalidInputError

if TYPE_CHECKING:
    from geopod.api.runs import RunState
    from geopod.client.aio.environment import Environment
    from geopod.client.aio.run import Errors, Run

CHUNK = 10_000
"""Arguments of one run: the results of one stream while the next one is sent."""


class NothingToMapError(InvalidInputError, TypeError):
    """A map without iterables; a TypeError as the built-in's."""


def calls_of(iterables: Sequence[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    """Return the arguments of each call; raises NothingToMapError if there is nothing to zip."""
    if not iterables:
        raise NothingToMapError(
            "map() was given no iterable: there is nothing to call the function with.",
            fixes=("env.map(f, [1, 2])", "env.execute(f) calls it once per node"),
        )
    return zip(*iterables, strict=False)


class MapStream:
    """The runs of one `map`, made as their results are asked for."""

    def __init__(
        self,
        environment: Environment,
        function: Any,
        calls: Iterator[tuple[Any, ...]],
        *,
        errors: Errors,
        options: Mapping[str, Any],
    ) -> None:
        """With `errors="raise"` the first failure of a run cancels its other tasks."""
        self._environment = environment
        self._function = function
        self._calls = calls
        self._sent: list[str] = []
        """Names of runs: to hold them would be to hold all results."""
        self._count = 0
        """Arguments that were sent."""
        self._ended: RunState | None = None
        """What the runs that were read came to, together."""
        self._errors: Errors = errors
        self._options = {**options, "fail_fast": errors == "raise"}

    async def values(
        self,
        order: Literal["input", "completed"],
        *,
        progress: bool | None,
        allow_pickle: bool,
    ) -> AsyncGenerator[Any, None]:
        """Yield the results; whoever stops early cancels what is left."""
        ahead: Run | None = None
        following: Run | None = None
        try:
            with Progress(progress) as line:
                while True:
                    following = None  # what `_next` raises must not cancel `ahead` twice
                    following = await self._next()
                    if ahead is not None:
                        seen: RunState | None = None
                        async for value in ahead.iter_results(
                            order=order, errors=self._errors, allow_pickle=allow_pickle
                        ):
                            if ahead.state is not seen:
                                seen = ahead.state
                                line.run(self._whole(seen))
                            yield value
                        self._ended = self._whole(ahead.state)
                        line.run(self._ended)
                    if following is None:
                        return
                    ahead = following
        except GeneratorExit:  # the caller has enough: nobody will read the rest
            for run in (ahead, following):
                if run is not None and not run.done:
                    await run.cancel()
            raise

    def _whole(self, state: RunState) -> RunState:
        """Return the state of all that was sent: the runs that have ended, and this one."""
        ended = self._ended
        if ended is None:
            return msgspec.structs.replace(state, total=self._count)
        return msgspec.structs.replace(
            state,
            total=self._count,
            succeeded=ended.succeeded + state.succeeded,
            failed=ended.failed + state.failed,
            cancelled=ended.cancelled + state.cancelled,
        )

    async def _next(self) -> Run | None:
        """Send the next chunk; None: there are no arguments left."""
        try:
            chunk = list(islice(self._calls, CHUNK))
        except Exception as error:
            vars(error)["runs"] = tuple(self._sent)  # they go on
            if self._sent:
                error.add_note(f"sent before: {', '.join(self._sent)}")
            raise
        if not chunk:
            return None
        run = await self._environment.submit_map(self._function, chunk, **self._options)
        self._sent.append(run.name)
        self._count += len(chunk)
        return run
