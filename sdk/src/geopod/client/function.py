"""`@geopod.function`: a function that knows how it wants to run."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, Literal, ParamSpec, TypeVar, overload

from typing_extensions import override

from geopod import capture
from geopod.client.aio.check import CheckReport
from geopod.client.aio.submission import Retry
from geopod.client.sync import Client, Environment, Run, Task, connect
from geopod.errors import InvalidInputError

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionOptions:
    """Where and how a function runs; keywords of an environment and of a run together."""

    name: str | None = None
    """What its runs are called after; default: its own name."""
    requirements: Sequence[str] = ()
    """What to install, as for pip."""
    interpreter: str | None = None
    """`python3.12`; default: as for an environment."""
    nodes: int = 1
    """How many nodes its environment has."""
    cpus: float | None = None
    """Cores of a node."""
    memory: int | str | None = None
    """Memory of a node, bytes or `"4Gi"`."""
    enable_gpu: bool = False
    """Give each node a GPU."""
    large_result: bool = False
    """Results may be larger than 2 MiB."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables."""
    secrets: Sequence[str] = ()
    """Secrets that it may read."""
    task_timeout: float | str = "30m"
    """How long one attempt of one task may take."""
    retries: Retry | int = Retry()  # noqa: RUF009  # frozen
    """How often a task is tried again, and after what."""
    send: Literal["auto", "source", "pickle"] = "auto"
    """`"auto"`, or one form alone: `"source"`, `"pickle"`."""
    include_modules: Sequence[str | ModuleType] = ()
    """Modules of your own that travel along as files."""
    include_data: Sequence[str | Path] = ()
    """Data files that travel along."""

    def environment(self) -> dict[str, Any]:
        """Return the keywords that describe the environment."""
        names = (
            "requirements", "interpreter", "nodes", "cpus", "memory", "enable_gpu",
            "large_result", "env", "secrets",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    @property
    def include(self) -> capture.Inclusion:
        """What travels along as files."""
        for name in ("include_modules", "include_data"):
            if isinstance(value := getattr(self, name), (str, Path)):
                raise InvalidInputError.value(
                    name=name, value=value, why="is no list", fix=f"{name}=[{str(value)!r}]"
                )
        return capture.Inclusion(tuple(self.include_modules), tuple(self.include_data))

    def run(self) -> dict[str, Any]:
        """Return the keywords that describe a run."""
        return {name: getattr(self, name) for name in ("task_timeout", "retries", "send")}


@contextmanager
def _refused_by(call: str) -> Iterator[None]:
    """Have a keyword that there is not be refused in the name of the call that was made."""
    try:
        yield
    except TypeError as error:
        raise TypeError(str(error).replace("FunctionOptions.__init__", call)) from None


class RemoteFunction(Generic[Parameters, Result]):
    """A function that runs here when called, and on nodes through `remote`, `submit` and `map`.

    Its environment is made at first use, on the default target, under a name that is a function of
    its options: two processes that use the same function share it.
    """

    def __init__(
        self,
        function: Callable[Parameters, Result],
        options: FunctionOptions,
        client: Client | None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.__geopod_function__ = function
        self.options = options
        self._client = client
        self._environment: Environment | None = None

    def __call__(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        """Run the function here."""
        return self.__geopod_function__(*args, **kwargs)

    @override
    def __repr__(self) -> str:
        return f"<RemoteFunction {self.name}>"

    @property
    def name(self) -> str:
        """The function's name, or the one given."""
        return self.options.name or self.__geopod_function__.__name__

    def with_options(
        self, *, client: Client | None = None, **options: Any
    ) -> RemoteFunction[Parameters, Result]:
        """Return the same function with other options, or on another client."""
        with _refused_by("with_options"):
            changed = replace(self.options, **options)
        return RemoteFunction(self.__geopod_function__, changed, client or self._client)

    @property
    def __geopod_include__(self) -> capture.Inclusion:
        """What travels along as files, for whoever captures it."""
        return self.options.include

    @property
    def environment(self) -> Environment:
        """The environment it runs in, made at first use."""
        if self._environment is None:
            if self._client is None:
                self._client = connect()
            keywords = self.options.environment()
            tag = sha256(repr(sorted(keywords.items())).encode()).hexdigest()[:10]
            self._environment = self._client.environment(f"fn-{tag}", **keywords)
        return self._environment

    def submit(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Task:
        """Start one task and return it at once."""
        run = self.environment.submit_map(self, [args], kwargs, **self.options.run())
        return run.tasks[0]

    def remote(self, *args: Parameters.args, **kwargs: Parameters.kwargs) -> Any:
        """Run one task and wait for its result."""
        return self.submit(*args, **kwargs).result()

    def map(self, *iterables: Iterable[Any], **options: Any) -> Iterator[Any]:
        """Yield the function's results over the zipped iterables; options as `Environment.map`."""
        return self.environment.map(self, *iterables, **self.options.run(), **options)

    def starmap(self, arguments: Iterable[tuple[Any, ...]], **options: Any) -> Iterator[Any]:
        """Yield the function's results over tuples of arguments."""
        return self.map(*(list(zip(*arguments, strict=True)) or [()]), **options)

    def submit_map(
        self,
        args: Iterable[tuple[Any, ...]],
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Run:
        """Start one task per tuple of arguments; return the run at once.

        `environments`: environment variables of each task; options as `Environment.submit_map`.
        """
        return self.environment.submit_map(self, args, kwargs, **self.options.run(), **options)

    def capture(self) -> capture.CaptureReport:
        """Say what would be sent: the format, its size and every captured name."""
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        python = (self.options.interpreter or own).removeprefix("python")
        bundle = capture.capture_function(
            self.__geopod_function__,
            node_python=python,
            send=self.options.send,
            include=self.options.include,
        )
        return capture.CaptureReport.of(bundle)

    def check(self) -> CheckReport:
        """Run it on one real partition and say what it would cost on all."""
        return self.environment.check(self)


@overload
def function(given: Callable[Parameters, Result], /) -> RemoteFunction[Parameters, Result]: ...
@overload
def function(
    **options: Any,
) -> Callable[[Callable[Parameters, Result]], RemoteFunction[Parameters, Result]]: ...
def function(given: Any = None, /, **options: Any) -> Any:
    """Make a function remote: `@geopod.function`, or `@geopod.function(nodes=4, memory="8Gi")`.

    Options: `FunctionOptions`.
    """
    with _refused_by("function"):
        settings = FunctionOptions(**options)
    if given is not None:
        return RemoteFunction(given, settings, None)
    return lambda decorated: RemoteFunction(decorated, settings, None)
