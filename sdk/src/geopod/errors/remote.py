"""The user's own exception, raised in a task and shown here: text first, class as best effort.

Nothing is unpickled: the class is imported by name, and only from a module that this client has.
"""

from __future__ import annotations

import builtins
import importlib
import linecache
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol
from weakref import WeakKeyDictionary

from geopod.errors.base import RetryWord
from geopod.errors.tasks import TaskError

FRAME_LINE = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+), in ')
"""A frame of a formatted traceback; its source line follows, if it could be read."""
ENDS_ITERATION = (StopIteration, StopAsyncIteration)
"""A coroutine cannot raise these: Python makes a RuntimeError of them."""

_MIXED: WeakKeyDictionary[type[Exception], type[RemoteFunctionError]] = WeakKeyDictionary()
"""One mixed class per class of the user, so that failures of one kind share their class."""


class RemoteExceptionLike(Protocol):
    """What `api.results.RemoteException` carries: an exception as text."""

    @property
    def type(self) -> str:
        """Class name, qualified inside its module."""
        ...

    @property
    def module(self) -> str:
        """Where the class lives."""
        ...

    @property
    def message(self) -> str:
        """`str()` of the exception."""
        ...

    @property
    def text(self) -> str:
        """The formatted traceback."""
        ...

    @property
    def args(self) -> Sequence[Any] | None:
        """Its arguments if all are JSON-able, else None."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What `add_note` added."""
        ...

    @property
    def frames(self) -> Sequence[tuple[str, int, str, str]]:
        """(file, line, function, source line), outermost first."""
        ...


class RemoteFunctionError(TaskError):
    """The function raised. Also an instance of the user's class where that can be built here."""

    code = "E307"
    retry: ClassVar[RetryWord | None] = "exception"

    remote: RemoteExceptionLike | None = None
    """The exception as it was sent: type, message, traceback text, frames, notes, cause."""

    @classmethod
    def raised(  # one value per number of the sentence
        cls,
        remote: RemoteExceptionLike,
        *,
        task: int,
        total: int,
        node: int,
        attempt: int,
        details: dict[str, Any] | None = None,
    ) -> RemoteFunctionError:
        """Return the error of `empty geometry (task 4 of 240, node 1, attempt 1)`.

        The remote traceback and its notes are notes of the error, printed below it.
        """
        said = remote.message or remote.type
        error = _build(remote)
        error.fact = f"{said} (task {task} of {total}, node {node}, attempt {attempt})"
        error.details.update(
            details or {}, type=remote.type, module=remote.module, replay="task.reproduce()"
        )
        error.task = task
        error.remote = remote
        for note in remote.notes:
            error.add_note(note)
        if remote.text:
            trace = with_source(remote.text.rstrip())
            error.add_note(f"Traceback of task {task} on node {node}:\n{trace}")
        return error


def with_source(trace: str) -> str:
    """Return a traceback with the source lines that its node could not read but this client can.

    A node has neither the user's files nor the cells of a notebook.
    """
    lines = trace.split("\n")
    shown = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        shown.append(line)
        frame = FRAME_LINE.match(line)
        if frame is not None and not below.startswith("    "):
            source = linecache.getline(frame["file"], int(frame["line"])).strip()
            shown += [f"    {source}"] if source else []
    return "\n".join(shown)


def _build(remote: RemoteExceptionLike) -> RemoteFunctionError:
    """Return an error of the user's class too, if that is importable and accepts its args."""
    user_class = _import_class(remote.module, remote.type)
    mixed = None if user_class is None else _mixed_with(user_class)
    if user_class is None or mixed is None or remote.args is None:
        return RemoteFunctionError(remote.message)
    try:
        error = mixed(*remote.args)
    except Exception as refused:  # noqa: BLE001  # a user's class may raise anything
        plain = RemoteFunctionError(remote.message)
        plain.details["classRefused"] = repr(refused)
        return plain
    error.describe(remote.message)
    return error


def _import_class(module: str, name: str) -> type[Exception] | None:
    """Return the exception class `module.name`, if this client can import it."""
    found: Any = builtins
    try:
        if module != "builtins":
            found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception:  # noqa: BLE001  # importing a user's module may raise anything: no class then
        return None
    is_usable = isinstance(found, type) and issubclass(found, Exception) and found is not Exception
    return found if is_usable and not issubclass(found, ENDS_ITERATION) else None


def _mixed_with(user_class: type[Exception]) -> type[RemoteFunctionError] | None:
    """Return the one class that is both; None where Python cannot lay out such a class."""
    if issubclass(user_class, RemoteFunctionError):
        return user_class
    if user_class not in _MIXED:
        namespace = {
            "__module__": user_class.__module__,
            "__doc__": RemoteFunctionError.__doc__,
            "__init__": user_class.__init__,
        }
        try:
            mixed = type(user_class.__name__, (RemoteFunctionError, user_class), namespace)
        except TypeError:
            return None
        _MIXED[user_class] = mixed
    return _MIXED[user_class]
