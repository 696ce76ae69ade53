"""One child: loads one run's function and runs its tasks; the only place that unpickles.

It serves one partition of one run and is never shared. It speaks to the agent over its own socket
and tells the template by a shared page what it is doing. Whatever it does costs this process alone.
"""

from __future__ import annotations

import faulthandler
import json
import os
import pickle
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import CoroutineType, FrameType
from typing import Any, NoReturn

import cloudpickle

from .arguments import Arguments
from .context import Cancellation, Context, Place, enter
from .dialing import receive
from .exceptions import describe, exit_code_of, print_exit_words
from .frames import FrameReader, pack_json, unpack_json
from .handover import Refused, Writer
from .heap import touch_heap
from .loading import NotLoadableError, declares_context, load_bundle, load_source
from .outbox import Outbox
from .page import LOADING, Page
from .params import Params, Staged, touched
from .returned import hand_over, rehearse_array
from .streams import flush_streams, stream_sizes, take_streams
from .variables import task_variables

MINOR = "{}.{}".format(*sys.version_info)
EXIT_BROKEN = 70
"""EX_SOFTWARE: the agent's side of the socket broke."""
RSS_UNIT = 1 if sys.platform == "darwin" else 1024
"""What `ru_maxrss` counts in."""


class TaskCancelled(KeyboardInterrupt):
    """Raised in a running function when its run is cancelled and it does not ask for that."""


class Child:
    """The loop of one child: messages in, results out."""

    def __init__(self, control: socket.socket, page: Page) -> None:
        self._control = control
        self._page = page
        self._pid = os.getpid()
        self._cancellation = Cancellation()
        self._is_interruptible = False
        self._outbox = Outbox(control.sendall, _peak_bytes)
        self._function: Callable[..., Any] | None = None
        self._has_context = False
        self._begin: dict[str, Any] = {}
        self._descriptors: list[int] = []
        self._arguments: Arguments | None = None
        self._staged = Staged(None, {})
        self._place = Place(run="", total=1, scratch="", core=None)
        self._offsets = stream_sizes()

    def serve(self) -> NoReturn:
        """Serve until the agent hangs up or the run is cancelled; never returns."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        os.register_at_fork(after_in_child=self._control.close)
        self._rehearse()
        touch_heap(self._control)
        reader = FrameReader(joins_parts=True)
        while received := receive(self._control, self._descriptors):
            for header, body in reader.feed(received):
                self._obey(unpack_json(header), body)
        self._leave()

    def _obey(self, message: dict[str, Any], body: bytes) -> None:
        if message["t"] == "BEGIN":
            self._load(message, body)
        elif self._function is not None:
            self._run_batch(message["tasks"])

    def _rehearse(self) -> None:
        """Run a task that nobody hears of: the first one of a run would take 0.8 ms longer."""
        outbox, self._outbox = self._outbox, Outbox(len, _peak_bytes)
        for header, body in FrameReader(joins_parts=True).feed(REHEARSAL):
            self._obey(unpack_json(header), body)
        rehearse_array()
        self._outbox, self._function = outbox, None

    def _load(self, begin: dict[str, Any], payload: bytes) -> None:
        self._begin = begin
        self._page.begin(LOADING, time.monotonic_ns(), *self._offsets)
        try:
            self._staged = Staged(begin["staged"], begin["files"])
            self._place = Place(
                run=begin["run"],
                total=begin["total"],
                scratch=begin["scratch"],
                core=self._staged.core,
            )
            self._function = _load_function(begin, payload)
            self._has_context = declares_context(self._function)
            if given := begin["arguments"]:
                decode = DECODERS[given["format"]]
                self._arguments = Arguments(self._descriptors.pop(), decode, given["shared"])
        except BaseException as failed:  # noqa: BLE001  # recorded: it goes to the agent as text
            self._outbox.send({"t": "NOT_LOADABLE", "exception": describe(failed)})
        self._page.rest()

    def _run_batch(self, tasks: list[list[int]]) -> None:
        self._outbox.begin_batch(len(tasks))
        for index, attempt, *span in tasks:
            if self._cancellation.requested:
                self._leave()
            self._run_task(index, attempt, span)
        self._page.rest()
        enter(None)
        self._outbox.end_batch()
        if self._cancellation.requested:
            self._leave()

    def _run_task(self, index: int, attempt: int, span: list[int]) -> None:
        started_ns = time.monotonic_ns()
        self._page.begin(index, started_ns, *self._offsets)
        params = None
        item: dict[str, Any] = {"index": index, "attempt": attempt}
        inline: bytes | None = None
        try:
            context = self._context(index, attempt)
            if self._arguments is None:
                params = self._staged.params()
                given: Sequence[Any] = ((params,), {})
            else:
                given = self._arguments.read(*span)
            with task_variables(*given[2:]):
                value = self._call(given[0], given[1], context)
            if os.getpid() != self._pid:
                os._exit(0)  # the function forked and both came back; one of them answers
            inline = self._take(item, value)
        except BaseException as failed:  # noqa: BLE001  # recorded: it goes to the agent by name
            if os.getpid() != self._pid:
                os._exit(1)
            self._is_interruptible = False
            item.update(self._failure(failed))
        self._finish(item, inline, params, started_ns)

    def _call(self, positional: Any, named: dict[str, Any], context: Context) -> Any:
        function = self._function
        if function is None:
            raise NotLoadableError("no function was loaded")
        if self._has_context:
            named = {**named, "ctx": context}
        self._is_interruptible = True
        value = function(*positional, **named)
        if type(value) is CoroutineType:
            import asyncio  # 40 ms, needed for coroutine functions alone

            value = asyncio.run(value)
        self._is_interruptible = False
        return value

    def _context(self, index: int, attempt: int) -> Context:
        context = Context(
            index=index,
            attempt=attempt,
            place=self._place,
            cancellation=self._cancellation,
            report=self._report_progress,
        )
        enter(context)
        return context

    def _take(self, item: dict[str, Any], value: Any) -> bytes | None:
        """Hand the value over and say in `item` where it is; returns its bytes if inline."""
        write_to = self._begin["writeTo"]
        say = partial(self._outbox.say_writing, item["index"], item["attempt"])
        handed = hand_over(
            value,
            Writer(self._place.scratch, f"{item['index']}-{item['attempt']}", say),
            rasters=self._staged.rasters,
            write_to=write_to["kind"] if write_to else None,
            pickle=_dump,
        )
        item["kind"] = handed.kind
        if handed.meta:
            item["meta"] = handed.meta
        if handed.file is not None:
            item["file"] = handed.file
        return handed.inline

    def _failure(self, failed: BaseException) -> dict[str, Any]:
        if isinstance(failed, TaskCancelled):
            return {"reason": "Cancelled"}
        if isinstance(failed, Refused):
            described = describe(failed.__cause__) if failed.__cause__ is not None else None
            return {"reason": failed.reason, "details": failed.details, "exception": described}
        if isinstance(failed, SystemExit):
            print_exit_words(failed)
            return {"reason": "Exit", "details": {"exit": exit_code_of(failed)}}
        return {"reason": "Exception", "exception": describe(failed)}

    def _finish(
        self, item: dict[str, Any], inline: bytes | None, params: Params | None, started_ns: int
    ) -> None:
        flush_streams()
        before, self._offsets = self._offsets, stream_sizes()
        if self._offsets != before:
            item["log"] = [before[0], self._offsets[0], before[1], self._offsets[1]]
        if params is not None and touched(params):
            item["touched"] = touched(params)
        item["runtime"] = (time.monotonic_ns() - started_ns) / 1e9
        if "reason" in item:
            self._outbox.add_failure(item)
        else:
            self._outbox.add(item, inline)

    def _report_progress(self, index: int, fraction: float | None, text: str) -> None:
        self._outbox.send(
            {"t": "PROGRESS", "index": index, "fraction": fraction, "text": text[:1024]}
        )

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        """Tell the function that its run is cancelled; interrupt it unless it asks for that."""
        self._cancellation.requested = True
        if self._page.start_ns == 0:
            os._exit(0)
        if self._is_interruptible and not self._cancellation.is_polled:
            self._is_interruptible = False
            raise TaskCancelled("the run was cancelled")

    def _leave(self) -> NoReturn:
        """End the process without running what users left for its end; nothing would hear it."""
        self._page.rest()
        self._outbox.flush()
        os._exit(0)


REHEARSAL = pack_json(
    {
        "t": "BEGIN",
        "run": "",
        "format": "cloudpickle",
        "python": MINOR,
        "staged": None,
        "files": {},
        "scratch": "",
        "total": 1,
        "writeTo": None,
        "arguments": None,
    },
    cloudpickle.dumps(lambda params: params.get(0), protocol=5),
) + pack_json({"t": "RUN", "tasks": [[0, 1]]})


def serve_child(control: socket.socket, page: Page, streams: tuple[int, int]) -> NoReturn:
    """Become a child: its own output files as stdout and stderr, then serve; never returns."""
    take_streams(streams)
    faulthandler.enable(file=2)
    try:
        Child(control, page).serve()
    except (OSError, ValueError, KeyError) as broken:
        print(f"geopod: the agent's connection broke: {broken!r}", file=sys.stderr)  # noqa: T201  # the child's log
        os._exit(EXIT_BROKEN)


def _load_function(begin: dict[str, Any], payload: bytes) -> Callable[..., Any]:
    if begin["scratch"]:
        os.chdir(begin["scratch"])  # elsewhere a user's relative path cannot be written to
    if begin["format"] == "source":
        return load_source(payload)
    if begin["format"] == "bundle":
        return load_bundle(payload, Path(begin["scratch"]) / ".bundle")
    if begin["format"] != "cloudpickle":
        raise NotLoadableError(f"function format {begin['format']!r} is not known to this runner")
    if begin["python"] != MINOR:
        # Bytecode of another minor crashes the interpreter: cloudpipe/cloudpickle#505.
        raise NotLoadableError(f"pickled on Python {begin['python']}, this is {MINOR}")
    function = pickle.loads(payload)  # noqa: S301  # the one place that unpickles, in a sandbox
    if not callable(function):
        raise NotLoadableError(f"the pickle holds a {type(function).__name__}, no function")
    return function  # type: ignore[no-any-return]  # callable() was asked


DECODERS: dict[str, Callable[..., Any]] = {"pickle": pickle.loads, "json": json.loads}


def _dump(value: Any) -> bytes:
    return cloudpickle.dumps(value, protocol=5)  # type: ignore[no-any-return]  # untyped library


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT
