"""A user's exception as text: type, message, frames, notes, causes; never the object itself.

Everything here calls code that users wrote (`__str__`, `args`, properties), so whatever that
raises is caught and said instead. Source of the fields: `api.results.RemoteException`.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import sysconfig
import traceback
from contextlib import suppress
from types import TracebackType

MAX_TEXT_BYTES = 32 * 1024
"""The formatted traceback; flyteorg/flyte#3337: large error messages break what carries them."""
MAX_MESSAGE_BYTES = 4 * 1024
MAX_NOTES = 16
MAX_FRAMES = 40
MAX_CAUSES = 8
OWN_FOLDER = os.path.dirname(__file__)  # noqa: PTH120  # inside a zipapp it is no path

_LIBRARY_FOLDERS = tuple(
    folder
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
    if (folder := sysconfig.get_paths().get(key))
)


def describe(exception: BaseException) -> dict[str, object]:
    """Return the exception as JSON-able text, whatever the class of it does when it is asked."""
    try:
        return _describe(exception)
    except BaseException as refused:  # noqa: BLE001  # properties, str's own kin, sys.exit; it is said
        return _hardly_described(exception, refused)


def _hardly_described(exception: BaseException, refused: BaseException) -> dict[str, object]:
    """Return the type and the place of an exception without a call of its own code."""
    name, why = type(exception).__name__, type(refused).__name__
    first = _skip_own_frames(BaseException.__dict__["__traceback__"].__get__(exception))
    message = f"<{why} while this {name} was described>"
    text = f"{''.join(traceback.format_tb(first))}{name}: {message}\n"
    return {
        "type": cut_middle(name, 256),
        "module": "",
        "message": message,
        "args": None,
        "notes": [],
        "frames": _user_frames(first),
        "text": cut_middle(text, MAX_TEXT_BYTES),
    }


def _describe(exception: BaseException) -> dict[str, object]:
    first = _skip_own_frames(exception.__traceback__)
    described = _describe_one(exception, first)
    described["text"] = cut_middle(_formatted(exception, first), MAX_TEXT_BYTES)
    inner = described
    seen = {id(exception)}
    cause = _cause_of(exception)
    while cause is not None and len(seen) <= MAX_CAUSES and id(cause) not in seen:
        seen.add(id(cause))
        inner["cause"] = described_cause = _describe_one(
            cause, _skip_own_frames(cause.__traceback__)
        )
        inner = described_cause
        cause = _cause_of(cause)
    return described


def exit_code_of(exit_called: SystemExit) -> int:
    """Return the exit code that a `sys.exit(…)` asks for, as the interpreter reads it."""
    if exit_called.code is None:
        return 0
    return exit_called.code if isinstance(exit_called.code, int) else 1


def print_exit_words(exit_called: SystemExit) -> None:
    """Print what the interpreter prints for `sys.exit("…")`, where stderr is still of use."""
    words = exit_called.code
    if words is not None and not isinstance(words, int):
        with suppress(Exception):
            print(_said(exit_called), file=sys.stderr)  # noqa: T201  # the task's log


def cut_middle(text: str, limit: int) -> str:
    """Return `text` in at most `limit` bytes of UTF-8: its head and its tail, and what is gone."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= limit:
        return encoded.decode("utf-8")
    note = f"\n… {len(encoded) - limit:,} bytes left out …\n"
    head = (limit - len(note.encode())) // 2
    tail = limit - len(note.encode()) - head
    return (
        encoded[:head].decode("utf-8", "ignore") + note + encoded[-tail:].decode("utf-8", "ignore")
    )


def _describe_one(exception: BaseException, first: TracebackType | None) -> dict[str, object]:
    kind = type(exception)
    return {
        "type": cut_middle(kind.__qualname__, 256),
        "module": cut_middle(str(kind.__module__), 256),
        "message": cut_middle(_said(exception), MAX_MESSAGE_BYTES),
        "args": _plain_args(exception),
        "notes": _notes(exception),
        "frames": _user_frames(first),
    }


def _said(exception: BaseException) -> str:
    try:
        return str(exception)
    except Exception as refused:  # noqa: BLE001  # a user's __str__ may raise anything; it is said
        return f"<str() of this {type(exception).__name__} raised {type(refused).__name__}>"


def _plain_args(exception: BaseException) -> list[object] | None:
    """Return the arguments if all of them are JSON-able and small, so the class can be rebuilt."""
    arguments = exception.args
    if not isinstance(arguments, tuple):
        return None
    try:
        text = json.dumps(list(arguments), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None
    if len(text) > MAX_MESSAGE_BYTES:
        return None
    plain: list[object] = json.loads(text)
    return plain if _fits(plain) else None


def _fits(value: object) -> bool:
    """Say whether a message can carry the whole numbers of a JSON value: up to 64 bits."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return all(_fits(each) for each in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _notes(exception: BaseException) -> list[str]:
    notes = getattr(exception, "__notes__", None)
    if not isinstance(notes, list):
        return []
    texts = [note for note in notes[:MAX_NOTES] if isinstance(note, str)]
    return [cut_middle(text, MAX_MESSAGE_BYTES // 4) for text in texts]


def _cause_of(exception: BaseException) -> BaseException | None:
    if exception.__cause__ is not None:
        return exception.__cause__
    return None if exception.__suppress_context__ else exception.__context__


def _skip_own_frames(first: TracebackType | None) -> TracebackType | None:
    """Return the traceback from its first frame outside the runner; the users' come first."""
    step = first
    while step is not None and step.tb_frame.f_code.co_filename.startswith(OWN_FOLDER):
        step = step.tb_next
    return step or first


def _user_frames(first: TracebackType | None) -> list[tuple[str, int, str, str]]:
    """Return the frames of the user's own code, outermost first; all of them if none is."""
    frames: list[tuple[str, int, str, str]] = []
    step = first
    while step is not None:
        code = step.tb_frame.f_code
        source = linecache.getline(code.co_filename, step.tb_lineno, step.tb_frame.f_globals)
        frames.append((code.co_filename, step.tb_lineno, code.co_name, source.strip()[:200]))
        step = step.tb_next
    own = [frame for frame in frames if _is_users(frame[0])] or frames
    half = MAX_FRAMES // 2
    return own if len(own) <= MAX_FRAMES else own[:half] + own[-half:]


def _is_users(filename: str) -> bool:
    return not filename.startswith(("<frozen", OWN_FOLDER, *_LIBRARY_FOLDERS))


def _formatted(exception: BaseException, first: TracebackType | None) -> str:
    try:
        shown = traceback.TracebackException(type(exception), exception, first, compact=True)
        return "".join(shown.format())
    except Exception as refused:  # noqa: BLE001  # the user's __str__, properties; it is said
        frames = "".join(traceback.format_tb(first))
        reason = f"{type(refused).__name__} while the exception was formatted"
        return f"{frames}{type(exception).__qualname__}: <{reason}>\n"


def prime_modules() -> None:
    """Load what a traceback needs while nothing runs: later there may be no descriptor left."""
    for name in ("unicodedata", "tokenize"):
        if name not in sys.modules:
            __import__(name)
