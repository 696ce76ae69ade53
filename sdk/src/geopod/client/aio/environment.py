"""N warm nodes, each next to its own partition of every layer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Literal, Self

from typing_extensions import override

from geopod import capture
from geopod.api import names
from geopod.api.runs import EnvironmentState
from geopod.backends import Backend, EnvironmentRecord
from geopod.client import given
from geopod.client.aio.check import CheckReport, check_function
from geopod.client.aio.explain import Explanation, explain_environment
from geopod.client.aio.mapping import MapStream, calls_of
from geopod.client.aio.run import Errors, Run, check_choice
from geopod.client.aio.state_errors import (
    check_protocol,
    failed_error,
    late_error,
    terminated_error,
)
from geopod.client.aio.stillness import Stillness
from geopod.client.aio.submission import (
    Retry,
    RunOptions,
    capture_for,
    function_ref,
    make_order,
    read_arguments,
    run_options,
    upload,
)
from geopod.client.aio.upkeep import Kept
from geopod.client.quantities import seconds
from geopod.display.progress import Progress


class Environment(Kept):
    """An environment: where functions run. `async with` terminates one that this block created."""

    def __init__(self, backend: Backend, record: EnvironmentRecord, *, created: bool) -> None:
        self._backend = backend
        self.record = record
        self.is_created = created
        self._runs: dict[str, Run] = {}
        """Runs that were started here and have not ended, as far as was heard."""

    id = property(lambda self: self.record.uid)
    phase = property(lambda self: self.record.state.phase)
    message = property(lambda self: self.record.state.message)
    nodes = property(lambda self: self.record.spec.get("nodes", 1))
    nodes_ready = property(lambda self: self.record.state.ready)
    interpreter = property(lambda self: f"python{self.record.interpreter}")
    python_version = property(lambda self: self.record.interpreter)
    packages = property(lambda self: self.record.packages)
    image_digest = property(lambda self: self.record.image.partition("@")[2])
    gpu = property(lambda self: self.record.spec.get("gpu") or {})
    created = property(lambda self: self.record.created)
    layers = property(lambda self: list(self.record.state.layers or self.record.spec["layers"]))
    files = property(lambda self: list(self.record.spec.get("files", ())))

    @override
    def __repr__(self) -> str:
        return f"<Environment {self.name} {self.phase} {self.nodes_ready}/{self.nodes} nodes>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Terminate what this block created, unless a run that somebody left goes on in it."""
        if not self.is_created:
            return
        for run in self.left:
            await run.refresh()
        if not self.left:
            await self.terminate()

    @property
    def left(self) -> list[Run]:
        """Unfinished runs that Ctrl-C or a timeout stopped waiting for."""
        return [run for run in self._runs.values() if run.is_left and not run.done]

    async def wait_ready(
        self, timeout: float | str = "10m", *, progress: bool | None = None
    ) -> Self:
        """Wait until the nodes are ready; a fatal reason ends the wait early with its error.

        After `timeout` raises EnvironmentStartTimeout, or the SchedulingError that says why.
        """
        limit = seconds(timeout, name="start_timeout")
        if not self.nodes:
            return self
        with Progress(progress) as line:
            try:
                async with asyncio.timeout(limit) as waiting:
                    await self._until_ready(line)
            except TimeoutError as error:
                if not waiting.expired():
                    raise
                raise late_error(self.record, limit) from error
        return self

    async def _until_ready(self, line: Progress) -> None:
        with Stillness(self.explain, line) as stillness:
            while not await self._is_ready(line, stillness.look):
                await self.refresh_state()  # raises when it was deleted

    async def _is_ready(self, line: Progress, look: Callable[[object], None]) -> bool:
        """Follow the environment until it is ready; False: there is nothing more to follow."""
        async with aclosing(self._backend.watch_environment(self.name)) as states:
            async for state in states:
                self._take(state)
                line.environment(state)
                look((state.phase, state.reason, state.connected, state.staged, state.ready))
                match state.phase:
                    case "Ready":
                        check_protocol(self.record)
                        return True
                    case "Failed":
                        raise failed_error(state)
                    case "Terminated":
                        raise terminated_error(self.name, state)
                    case "Pending" | "Starting" | "Suspended":
                        continue
        return False

    def _take(self, state: EnvironmentState) -> None:
        self.record = replace(self.record, state=state)

    async def submit(self, function: Any, **options: Any) -> Run:
        """Start `function` on every node and return at once; options as `execute`."""
        return await self._start(function, run_options("submit", options))

    async def _start(
        self,
        function: Any,
        options: RunOptions,
        *,
        arguments: Sequence[tuple[Any, ...]] | None = None,
        keywords: Mapping[str, Any] | None = None,
        variables: Sequence[Mapping[str, str]] | None = None,
    ) -> Run:
        if self.record.state.phase == "Terminated" or options.partitions is not None:
            await self.refresh_state()  # somebody else may have woken it, or scaled it
        if self.record.state.phase == "Terminated":
            raise terminated_error(self.name, self.record.state)
        check_protocol(self.record)
        if options.partitions is not None:
            whole = f"environment {self.name!r}"
            chosen = given.indexes(
                options.partitions, range(self.nodes), name="partitions", whole=whole
            )
            options = replace(options, partitions=tuple(chosen))
        bundle = capture_for(function, self.record, send=options.send)
        reference = function_ref(bundle)
        store = self._backend.store(self.record.uid)
        encoded = None
        if arguments is not None:
            encoded, payload = capture.encode_arguments(
                arguments, keywords, variables=variables, node_python=self.record.interpreter
            )
            await store.put(names.arguments_key(self.record.uid, encoded.sha256), payload)
        if reference.inline is None:
            await upload(store, self.record.uid, bundle.sha256, bundle.payload)
        order = make_order(reference, self.record, options, arguments=encoded)
        states = self._backend.submit(order)
        run = Run(self._backend, order, await anext(states), states)
        self._runs = {name: known for name, known in self._runs.items() if not known.done}
        self._runs[run.name] = run
        return run

    async def execute(  # noqa: PLR0913  # the documented keywords
        self,
        function: Any,
        *,
        write_to: Any = None,
        timeout: float | str | None = None,
        task_timeout: float | str = "30m",
        queue_timeout: float | str = "1h",
        retries: Retry | int = Retry(),  # noqa: B008  # frozen
        errors: Errors = "raise",
        on_empty: Literal["skip", "call", "error"] = "skip",
        allow_pickle: bool = False,
        tags: Sequence[str] = (),
        progress: bool | None = None,
    ) -> list[Any]:
        """Run `function(params)` on every node at once; return one element per node, node order.

        `None` stands for an empty partition. Raises CaptureError before anything is sent,
        RunFailedError (which keeps the other nodes' results) and WaitTimeoutError.
        """
        run = await self.submit(
            function,
            write_to=write_to,
            task_timeout=task_timeout,
            queue_timeout=queue_timeout,
            retries=retries,
            on_empty=on_empty,
            tags=tags,
        )
        await run.wait(timeout, progress=progress)
        return await run.results(errors=errors, allow_pickle=allow_pickle)

    async def submit_map(
        self,
        function: Any,
        args: Iterable[tuple[Any, ...]],
        kwargs: Mapping[str, Any] | None = None,
        *,
        environments: Iterable[Mapping[str, str] | None] | None = None,
        **options: Any,
    ) -> Run:
        """Start one task per element of `args` (a tuple of positional arguments each).

        `kwargs`: keyword arguments of every task, sent once. `environments`: environment variables,
        one dict per task, None for a task without; they are set while it runs.
        """
        several = given.listed(args, name="args", example="args=[(1,), (2,)]")
        calls = [read_arguments(arguments) for arguments in several]
        keywords = variables = None
        if kwargs:
            keywords = given.mapping(kwargs, name="kwargs", example="kwargs={'scale': 10}")
        if environments is not None:
            example = "environments=[{'TILE': '31UFU'}, None]"
            variables = given.variables(environments, name="environments", example=example)
        return await self._start(
            function,
            run_options("submit_map", options),
            arguments=calls,
            keywords=keywords,
            variables=variables,
        )

    def map(
        self,
        function: Any,
        *iterables: Iterable[Any],
        order: Literal["input", "completed"] = "input",
        errors: Errors = "raise",
        allow_pickle: bool = False,
        progress: bool | None = None,
        **options: Any,
    ) -> AsyncGenerator[Any, None]:
        """Yield `function(*arguments)` for the zipped iterables, as the built-in `map` does.

        Runs of 10,000 arguments; one is sent while the one before it is read. With
        `errors="raise"` the first failure is raised and cancels the rest. An exception of an input
        iterator propagates at once; its `.runs` names the runs that were sent. Without iterables
        there is nothing to call: an InvalidInputError that is a TypeError too.
        """
        check_choice("order", order, ("input", "completed"))
        check_choice("errors", errors, ("raise", "return", "skip"))
        run_options("map", options)
        stream = MapStream(self, function, calls_of(iterables), errors=errors, options=options)
        return stream.values(order, progress=progress, allow_pickle=allow_pickle)

    async def check(self, function: Any, *, partitions: int = 1) -> CheckReport:
        """Run the captured function on real partitions and say what it would cost on all."""
        return await check_function(self, function, partitions=partitions)

    async def explain(self) -> Explanation:
        """Say why the environment is as it is, what was looked at, and what mends it."""
        return await explain_environment(self)
