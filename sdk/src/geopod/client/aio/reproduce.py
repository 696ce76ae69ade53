"""One task of a run, here: its function, its arguments or its partition, in this process.

The function and its arguments are opened in this process, because the caller asked for just that;
a partition is staged again from its sources, as a node stages it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from geopod.api import names
from geopod.api.bundles import ArgumentPlaces
from geopod.api.plan import decode_plan
from geopod.client.aio.bundled import Bundle
from geopod.client.installed import differing
from geopod.codecs import PickledResult
from geopod.codecs.plain import decode_json
from geopod.errors import MissingExtraError, PythonVersionMismatchError
from geopod.errors.wording import items_text
from geopod.runner.arguments import Arguments
from geopod.runner.context import Cancellation, Context, Place, enter
from geopod.runner.loading import declares_context, load_source
from geopod.runner.params import Staged
from geopod.runner.variables import task_variables

if TYPE_CHECKING:
    from geopod.client.aio.task import Task
    from geopod.layers.access import Access

Given = tuple[list[Any], dict[str, Any], dict[str, str]]
"""A task's positional and keyword arguments, and its environment variables."""
ReadGiven = Callable[[], Given]
"""Reads them anew: a call may change its own."""
OWN_MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"


class Reproduction:
    """A task that is ready to run in this process; call it as often as you like."""

    def __init__(
        self,
        function: Callable[..., Any] | Bundle,
        given: ReadGiven,
        context: Context,
        scratch: Path,
    ) -> None:
        """`scratch` is removed when nobody holds this any more."""
        self._bundle = function if isinstance(function, Bundle) else None
        self.function = function.load() if isinstance(function, Bundle) else function
        """What the user sent."""
        self._given = given
        self._context = context
        self._scratch = weakref.finalize(self, shutil.rmtree, scratch, ignore_errors=True)

    def __call__(self, *, debug: bool = False) -> Any:
        """Run the task and return what it returns, or raise what it raises.

        `debug`: step into it with pdb, from its first line; raises BdbQuit when the debugger is
        left. An `async def` gives a coroutine.
        """
        args, kwargs, variables = self._given()
        if declares_context(self.function):
            kwargs = {**kwargs, "ctx": self._context}
        with self._as_task(variables):
            run = _stepping(self.function) if debug else self.function
            value = run(*args, **kwargs)
        return self._awaited(value, variables) if asyncio.iscoroutine(value) else value

    async def _awaited(self, work: Coroutine[Any, Any, Any], variables: dict[str, str]) -> Any:
        with self._as_task(variables):
            return await work

    @contextmanager
    def _as_task(self, variables: dict[str, str]) -> Iterator[None]:
        """Make `current_context()`, environment variables and files those of the task."""
        enter(self._context)
        place = nullcontext() if self._bundle is None else self._bundle.entered()
        try:
            with task_variables(variables), place:
                yield
        finally:
            enter(None)


async def prepare(task: Task) -> Reproduction:
    """Fetch what a task ran on; raises what cannot be had again, by its public name.

    Raises PythonVersionMismatchError for bytecode of another minor, SourceChangedError when a
    source is not what it was, ResultExpiredError or KeyMissingError when the store forgot.
    """
    scratch = Path(tempfile.mkdtemp(prefix="geopod-"))
    try:
        return await _prepared(task, scratch)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


async def _prepared(task: Task, scratch: Path) -> Reproduction:
    run, order = task.run, task.run.order
    function = await _function(task, scratch)
    await _warn_of_packages(task)
    record = await run.record(task.index)
    if order.arguments is not None:
        staged = Staged(None, {})
        key = names.arguments_key(order.environment, order.arguments.sha256)
        given = _given(await run.store.fetch(key), task.index, order.arguments.format)
    else:
        staged = await _staged(task, scratch)
        given = partial(_params, staged)
    place = Place(run=order.uid, total=run.total, scratch=str(scratch), core=staged.core)
    context = Context(
        index=task.index,
        attempt=1 if record is None else record.attempt,
        place=place,
        cancellation=Cancellation(),
        report=_unheard,
    )
    return Reproduction(function, given, context, scratch)


async def _warn_of_packages(task: Task) -> None:
    """Say which packages of the task's environment differ here, if that is still known."""
    environment = await task.run.home()
    asked = () if environment is None else environment.record.spec.get("requirements", ())
    if packages := differing(asked):
        warnings.warn(
            f"{task.run.order.function.name!r} ran with {items_text(packages)}: it may behave "
            "otherwise here.",
            stacklevel=2,
        )


def _unheard(index: int, fraction: float | None, text: str) -> None:
    """Take a progress report that nobody waits for."""
    del index, fraction, text


def _stepping(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what calls a function under pdb; raises BdbQuit when its user leaves."""
    import bdb
    import pdb  # noqa: T100  # the caller asked for it

    class Debugger(pdb.Pdb):
        """Knows afterwards whether it was left before the function's end."""

        is_left = False

        @override
        def dispatch_call(self, frame: FrameType, arg: None) -> Any:
            """Begin in the function; what the garbage collector calls before is not meant."""
            if self.botframe is None and frame.f_code is not getattr(
                function, "__code__", frame.f_code
            ):
                return None
            return super().dispatch_call(frame, arg)

        @override
        def set_quit(self) -> None:
            self.is_left = True
            super().set_quit()

    def call(*args: Any, **kwargs: Any) -> Any:
        debugger = Debugger(nosigint=True)  # its `continue` would keep Ctrl-C after the function
        value = debugger.runcall(function, *args, **kwargs)
        if debugger.is_left:
            raise bdb.BdbQuit
        return value

    return call


async def _function(task: Task, scratch: Path) -> Callable[..., Any] | Bundle:
    reference, order = task.run.order.function, task.run.order
    if reference.format == "cloudpickle" and reference.python != OWN_MINOR:
        raise PythonVersionMismatchError.refused(made_on=reference.python, runs=OWN_MINOR)
    if reference.python != OWN_MINOR:
        warnings.warn(
            f"{reference.name!r} was written on Python {reference.python}, this is {OWN_MINOR}: "
            "it may behave otherwise here.",
            stacklevel=2,
        )
    payload = reference.inline
    if payload is None:
        payload = await task.run.store.get(names.function_key(order.environment, reference.sha256))
    if reference.format == "source":
        return load_source(payload)
    if reference.format == "bundle":
        return Bundle(payload, scratch / "bundle")
    return _unpickled(payload, reference.sha256)  # type: ignore[no-any-return]  # what the user sent


def _unpickled(payload: bytes, sha256: str = "", *, buffers: Iterable[memoryview] = ()) -> Any:
    """Open a pickle that the caller sent and now asks for."""
    return PickledResult("function", len(payload), sha256, payload).load(buffers)


def _params(staged: Staged) -> Given:
    return [staged.params()], {}, {}


def _given(path: Path, index: int, form: str) -> ReadGiven:
    """Return what reads a task's arguments, also when the file has lost its name."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as whole:
        places = ArgumentPlaces(whole)
        span = places.span(index)
        descriptor = os.dup(file.fileno())

    def read() -> Given:
        args, kwargs, *more = arguments.read(*span)
        return list(args), dict(kwargs), dict(*more)

    weakref.finalize(read, os.close, descriptor)
    decode = _unpickled if form == "pickle" else decode_json
    arguments = Arguments(descriptor, decode, places.shared)
    return read


async def _staged(task: Task, scratch: Path) -> Staged:
    """Stage the task's partition below `scratch`; without layers and files there is nothing."""
    sha256 = await task.run.plan_sha256()
    if not sha256:
        return Staged(None, {})
    try:
        from geopod.layers.stage import stage_partition, staged_folder  # loads GDAL
    except ImportError as error:
        raise MissingExtraError.needed(
            extra="geo", purpose="Staging a partition", module=error.name or "rasterio"
        ) from error
    plan = decode_plan(await task.run.store.get(names.plan_key(task.run.environment, sha256)))
    access = _access(task)
    await asyncio.to_thread(stage_partition, plan, sha256, task.index, scratch, access=access)
    return Staged(str(staged_folder(scratch, sha256, task.index)), {})


def _access(task: Task) -> Access:
    """Return the keys that this process has: of this machine's own layers, else none."""
    from geopod.layers.access import OWN_MACHINE

    if not task.run.is_local:
        return OWN_MACHINE
    from geopod.backends.local.secrets import own_keys
    from geopod.backends.local.state import StateFolder, state_root

    return own_keys(StateFolder(state_root()))
