"""From a function and its options to a RunOrder: captured and encoded before anything is sent."""

from __future__ import annotations

import functools
import re
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal, get_args

import msgspec

from geopod import capture
from geopod.api import names
from geopod.api.bundles import ArgumentsRef, FunctionBundle, FunctionRef
from geopod.api.runs import RetryRule, RunOrder
from geopod.backends import EnvironmentRecord
from geopod.client import given
from geopod.client.layerlike import looks_like_file, read_layer
from geopod.client.quantities import seconds
from geopod.errors import InvalidInputError
from geopod.store import Store

INLINE_BYTES = 128 * 1024
"""A larger function travels through the store, once per content: resources stay small."""
ON_EMPTY = ("skip", "call", "error")
RETRY_WORDS: dict[str, Literal["Infra", "Timeout", "OOM", "Exception"]] = {
    "infra": "Infra",
    "timeout": "Timeout",
    "oom": "OOM",
    "exception": "Exception",
}


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a task may be tried again; each class named in `on` has its own budget.

    `infra`: lost node, eviction, failed commit. `timeout`, `oom`, `exception`: the function's own.
    """

    limit: int = 2
    on: tuple[str, ...] = ("infra",)

    def rule(self) -> RetryRule:
        """Return the rule as the run carries it; raises InvalidInputError for an unknown class."""
        unknown = [word for word in self.on if word not in RETRY_WORDS]
        is_count = isinstance(self.limit, int) and not isinstance(self.limit, bool)
        if unknown or not is_count or not 0 <= self.limit <= 10:  # noqa: PLR2004  # the resource's
            raise InvalidInputError(
                f"Retry(limit={self.limit}, on={self.on}) is not valid: limit is 0 to 10, on names "
                f"{', '.join(RETRY_WORDS)}.",
                fixes=("Retry(limit=2, on=('infra', 'timeout'))",),
            )
        return RetryRule(limit=self.limit, on=tuple(RETRY_WORDS[word] for word in self.on))


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """Options of one run, as `execute` and `submit` take them."""

    write_to: Any = None
    """A layer and timestamp that the results become, `("ndvi", "2024")`, or as a dictionary
    `{"pathId": …, "timestampId": …}`, with `"file": {"format": "gpkg"}` for another format and
    `"partial": True` for a layer that lacks what failed."""
    task_timeout: float | str = "30m"
    """How long one attempt of one task may take."""
    queue_timeout: float | str = "1h"
    """How long the run may wait for a ready environment."""
    run_timeout: float | str | None = None
    """How long the whole run may take; None: no limit."""
    retries: Retry | int = Retry()  # frozen
    """How often a task is tried again, and after what."""
    on_empty: Literal["skip", "call", "error"] = "skip"
    """What becomes of a partition that holds nothing: not called, called all the same, failed."""
    fail_fast: bool = False
    """The first failure cancels the other tasks."""
    partitions: Sequence[int] | None = None
    """Only these nodes; None: all."""
    tags: Sequence[str] = ()
    """Words to find the run by."""
    name: str | None = None
    """The run's name; None: one is made from the function's."""
    send: capture.Send = "auto"
    """`"auto"`, or one form alone: `"source"`, `"pickle"`."""
    batch: int = 0
    """Calls that a node takes at once; 0: geopod chooses."""
    rerun_of: str = ""
    """Set by `rerun()`."""


def run_options(call: str, options: Mapping[str, Any]) -> RunOptions:
    """Return the options of a call; raises TypeError for others, as Python words it."""
    try:
        return RunOptions(**options)
    except TypeError as error:
        raise TypeError(str(error).replace("RunOptions.__init__", call)) from None


_values = attrgetter(*(field.name for field in fields(RunOptions)))


def _types(options: RunOptions) -> tuple[type, ...]:
    """Return the types of all values; of retries, also that of the limit."""
    return tuple(map(type, (*_values(options), getattr(options.retries, "limit", None))))


def capture_for(function: Any, record: EnvironmentRecord, *, send: capture.Send) -> FunctionBundle:
    """Capture a function for an environment's interpreter."""
    if not callable(function):
        raise InvalidInputError.value(name="f", value=function, why="is no function")
    return capture.capture_function(
        function,
        node_python=record.interpreter,
        send=send,
        environment=record.name,
        include=getattr(function, "__geopod_include__", None),
    )


def function_ref(bundle: FunctionBundle) -> FunctionRef:
    """Return how a run names its function; small payloads ride along."""
    size = len(bundle.payload)
    return FunctionRef(
        format=bundle.format,
        name=bundle.name,
        python=bundle.python,
        sha256=bundle.sha256,
        size=size,
        inline=bundle.payload if size <= INLINE_BYTES else None,
    )


def make_order(
    function: FunctionRef,
    record: EnvironmentRecord,
    options: RunOptions,
    *,
    arguments: ArgumentsRef | None = None,
) -> RunOrder:
    """Return the order of one run; its name is made here, so a repeated submit is the same run."""
    large_result = bool(record.spec.get("largeResult", False))
    if options.name is not None:
        names.check_run_name(given.text(options.name, name="name", example="name='ndvi-1'"))
    whole = (function, record.uid, large_result, options, _types(options))
    try:
        known = _prepared(*whole)
    except TypeError:  # lists among the options may change: they are read anew
        known = _prepared.__wrapped__(*whole)
    uid = str(uuid.uuid4())
    name = options.name or run_name(function.name, uid)
    order = msgspec.structs.replace(known, uid=uid, name=name, created=time.time())
    if arguments is None:
        return order
    return msgspec.structs.replace(order, mode="Map", arguments=arguments, count=arguments.count)


@functools.lru_cache(maxsize=16)
def _prepared(
    function: FunctionRef,
    environment: str,
    large_result: bool,  # noqa: FBT001  # a key of the cache
    options: RunOptions,
    _types: tuple[type, ...],
) -> RunOrder:
    """Return the order of a run that has no name yet, checked: of equal calls it is the same.

    `_types`: of the options' values, for True and 1.0 equal 1.
    """
    given.one_of(options.on_empty, ON_EMPTY, name="on_empty")
    given.one_of(options.send, get_args(capture.Send), name="send")
    tags = given.texts(options.tags, name="tags", example="tags=['survey']")
    timeout_s = seconds(options.task_timeout, name="task_timeout")
    if not timeout_s:
        raise InvalidInputError.value(
            name="task_timeout",
            value=options.task_timeout,
            why="leaves a task no time",
            fix="task_timeout='30m'",
        )
    run_timeout, target = options.run_timeout, options.write_to
    return checked(
        RunOrder(
            uid="",
            name=options.name or "",
            environment=environment,
            created=0.0,
            function=function,
            partitions=None if options.partitions is None else list(options.partitions),
            batch=options.batch,
            timeout_s=timeout_s,
            queue_timeout_s=seconds(options.queue_timeout, name="queue_timeout"),
            run_timeout_s=None if run_timeout is None else seconds(run_timeout, name="run_timeout"),
            retries=read_retries(options.retries),
            failure_policy="FailFast" if options.fail_fast else "Continue",
            on_empty=options.on_empty,
            large_result=large_result,
            write_to=None if target is None else read_target(target, name="write_to"),
            tags=tags,
            rerun_of=options.rerun_of,
        )
    )


def checked(order: RunOrder) -> RunOrder:
    """Return the order as a coordinator will read it; raises InvalidInputError if it could not."""
    try:
        return msgspec.msgpack.decode(msgspec.msgpack.encode(order), type=RunOrder)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInputError(f"The run is not valid: {error}.") from error


def read_arguments(arguments: Any) -> tuple[Any, ...]:
    """Return one task's positional arguments; raises InvalidInputError if they are no sequence."""
    if isinstance(arguments, (str, bytes)) or not isinstance(arguments, Iterable):
        raise InvalidInputError.value(
            name="args",
            value=arguments,
            why="holds something that is no tuple of arguments",
            fix="args=[(1,), (2,)]",
        )
    return tuple(arguments)


def read_retries(retries: Retry | int) -> RetryRule:
    """Return a run's retries as it carries them; an int n means n of each class."""
    rule = Retry(retries, tuple(RETRY_WORDS)) if isinstance(retries, int) else retries
    if not isinstance(rule, Retry):
        raise InvalidInputError.value(
            name="retries", value=rule, why="is neither a number nor a Retry", fix="retries=2"
        )
    return rule.rule()


def run_name(function: str, uid: str) -> str:
    """Return a new name for a run of this function: `ndvi-7f3a9c`; `uid`: the run's own."""
    return _plain_name(function) + names.own_suffix(uid)


@functools.lru_cache(maxsize=64)
def _plain_name(function: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", function.lower()).strip("-")[:40].strip("-") or "run"
    return plain if plain[0].isalpha() else f"f-{plain}"


def read_target(target: Any, *, name: str) -> dict[str, str]:
    """Return where results are written as the run carries it; `name`: of the argument.

    Of the documented form, `file: {format}` and `partial` may be left out. A text is the name of
    a layer unless it looks like a path: a folder of that name does not count.
    """
    is_name = isinstance(target, str) and target and not looks_like_file(target)
    choice = read_layer(target, known=(target.partition("/")[0],) if is_name else None)
    if choice.file is not None:
        raise InvalidInputError(
            f"{name}={target!r} is a path; results are written to a layer.",
            fixes=("client.add_layer('ndvi', write_to=folder)", f"{name}=('ndvi', '2024')"),
        )
    file, partial = choice.extra.get("file") or {}, choice.extra.get("partial", False)
    strange = sorted(choice.extra.keys() - {"file", "partial"})
    if strange or not isinstance(file, Mapping) or not isinstance(partial, bool):
        raise InvalidInputError(
            f"{name}={target!r} is not understood; beside pathId and timestampId it takes "
            "file and partial.",
            fixes=(f"{name}={{'pathId': 'ndvi', 'timestampId': '2024', 'partial': True}}",),
        )
    found = {"pathId": choice.path_id, "timestampId": choice.timestamp_id}
    found |= {"format": str(file["format"])} if "format" in file else {}
    return found | ({"partial": "true"} if partial else {})


async def upload(store: Store, environment_uid: str, sha256: str, payload: bytes) -> None:
    """Bring a large function to the store, once per content."""
    key = names.function_key(environment_uid, sha256)
    if not await store.exists(key):
        await store.put(key, payload)
