"""The private event loop of the plain client: turned by whoever waits, else by one thread."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncGenerator, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any, TypeVar

from geopod.errors import GeopodError, InvalidInputError
from geopod.process.caller import ASKED_FROM

Value = TypeVar("Value")
_END = object()
UNWIND_S = 2.0
"""So long Ctrl-C waits for what it cancelled: only then it is known which runs were left."""
LISTEN_AFTER_S = 0.02
"""A shorter call does not set up how Ctrl-C is heard, which takes a twentieth of a quick one."""
IDLE_S = 0.5
"""After so long without a call the thread turns the loop: connections that end are noticed."""


class LoopThread:
    """Runs coroutines on one loop, so that plain calls work inside notebooks too.

    A caller turns the loop itself: no switch between threads, there and back, which would be a
    tenth of a short call. The thread turns it for callers whose own thread runs a loop already
    (a notebook), for several callers at once, and for what goes on between calls.
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._turning = threading.Lock()
        """Held by whoever turns the loop."""
        self._wanted = threading.Event()
        """The thread shall turn it."""
        self._asking = 0
        """Callers that wait while somebody else turns it."""
        self._counting = threading.Lock()
        self._called = time.monotonic()
        self._process = os.getpid()
        self.aside = ThreadPoolExecutor(1, thread_name_prefix="geopod-callbacks")
        """Runs what users want called: it may call us, and wait for the loop."""
        self._thread = threading.Thread(target=self._keep_turning, name="geopod", daemon=True)
        self._thread.start()

    @property
    def is_own(self) -> bool:
        """Whether this process made it; a fork has no thread that turns it."""
        return os.getpid() == self._process

    def run(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Return what the coroutine returns; Ctrl-C cancels it and is raised here.

        An error that is raised on purpose says all there is to know: its traceback begins here,
        so that people read their own line and the fix, not the way through our coroutines.
        """
        if not self.is_own:
            work.close()
            raise InvalidInputError(
                f"This client was opened by process {self._process}; this is its fork, process "
                f"{os.getpid()}, and would take the other's messages.",
                fixes=("geopod.connect(…) in the new process", "multiprocessing's spawn"),
            )
        self._called = time.monotonic()
        try:
            if asyncio._get_running_loop() is None and self._turning.acquire(blocking=False):  # noqa: SLF001  # get_running_loop raises: slower
                return self._turn(work)
            return self._ask(work)
        except GeopodError as error:
            raise error.with_traceback(None) from error.__cause__

    def iterate(self, values: AsyncGenerator[Value, None]) -> Iterator[Value]:
        """Yield an asynchronous generator's values one by one; close it when the caller stops."""

        async def following() -> Any:
            return await anext(values, _END)

        try:
            while (value := self.run(following())) is not _END:
                yield value
        except GeneratorExit:
            self.run(values.aclose())
            raise

    def _turn(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Turn the loop until the work is done; what else is under way goes on in the thread."""
        task = self._loop.create_task(work)
        ended: threading.Event | None = None
        try:
            with _Interrupting(task, self._loop):
                return self._loop.run_until_complete(task)
        finally:
            if not task.done():  # Ctrl-C came in the midst of a turn: the thread ends the work
                ended = threading.Event()
                task.add_done_callback(partial(_tell, ended))
                task.cancel()
            is_left = bool(asyncio.all_tasks(self._loop))
            self._called = time.monotonic()
            self._turning.release()
            if is_left:
                self._wanted.set()
            if ended is not None:
                ended.wait(UNWIND_S)

    def _ask(self, work: Coroutine[Any, Any, Value]) -> Value:
        """Have the work done while the thread, or another caller, turns the loop."""
        if asyncio._get_running_loop() is self._loop:  # noqa: SLF001  # as above
            work.close()
            raise InvalidInputError(
                "A plain call was made on geopod's own loop, which would wait for itself.",
                fixes=("await the same call of geopod.client.aio", "asyncio.to_thread(…)"),
            )
        ended = threading.Event()
        with self._counting:
            self._asking += 1
        token = ASKED_FROM.set(sys._getframe())  # noqa: SLF001  # the context goes to the other thread
        future = asyncio.run_coroutine_threadsafe(self._whole(work, ended), self._loop)
        ASKED_FROM.reset(token)
        future.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._leave))
        self._wanted.set()
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            ended.wait(UNWIND_S)
            raise

    async def _whole(self, work: Coroutine[Any, Any, Value], ended: threading.Event) -> Value:
        """Do the work; say when it has ended, be it by its cancellation."""
        try:
            return await work
        finally:
            ended.set()

    def _leave(self) -> None:
        """A caller has its answer. The thread leaves the loop to the next one if it is idle.

        A caller that turns the loop stops it itself, when its own work is done.
        """
        with self._counting:
            self._asking -= 1
            is_idle = not self._asking
        if is_idle and threading.current_thread() is self._thread:
            self._stop_if_idle()

    def _stop_if_idle(self) -> None:
        if not asyncio.all_tasks(self._loop):
            self._loop.stop()

    def _keep_turning(self) -> None:
        """Turn the loop where no caller does: the thread."""
        while True:
            is_asked = self._wanted.wait(IDLE_S)
            if not is_asked and time.monotonic() - self._called < IDLE_S:
                continue
            with self._turning:
                self._turn_until_stopped()
            self._called = time.monotonic()
            self._wanted.clear()
            if self._asking:  # since the loop stopped
                self._wanted.set()

    def _turn_until_stopped(self) -> None:
        """Work that raises SystemExit or KeyboardInterrupt ends a turn, not the loop.

        Its task has the exception; who asked hears of it in the next turn.
        """
        while True:
            try:
                return self._loop.run_forever()
            except (KeyboardInterrupt, SystemExit):
                continue


def _tell(ended: threading.Event, _: asyncio.Task[Any]) -> None:
    ended.set()


class _Interrupting:
    """On Ctrl-C cancels the task; KeyboardInterrupt is raised when it has ended.

    Raised in the midst of a turn, it would leave work of the loop half done. Nothing of it may
    refer to itself: the task has the result, which is gone when its caller lets it go.
    """

    def __init__(self, task: asyncio.Task[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._task = task
        self._loop = loop
        self._is_interrupted = False
        self._listening: asyncio.TimerHandle | None = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._listening = self._loop.call_later(LISTEN_AFTER_S, self._listen)

    def __exit__(self, *_: object) -> None:
        listening = self._listening
        if listening is None:
            return
        listening.cancel()
        may_listen = self._loop.time() >= listening.when()
        if may_listen and signal.getsignal(signal.SIGINT) == self._take_signal:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if self._is_interrupted:
            raise KeyboardInterrupt

    def _listen(self) -> None:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._take_signal)

    def _take_signal(self, number: int, frame: FrameType | None) -> None:
        if self._is_interrupted:
            signal.default_int_handler(number, frame)
        self._is_interrupted = True
        self._task.cancel()
        self._loop.call_soon_threadsafe(lambda: None)  # it may be waiting


_shared: LoopThread | None = None
_inherited: list[LoopThread] = []
"""Of the process that this one is a fork of. Their end would take its sockets out of the selector
that both have."""
_lock = threading.Lock()


def shared_loop() -> LoopThread:
    """Return the one loop thread of this process."""
    global _shared  # noqa: PLW0603  # one per process, made at first use
    with _lock:
        if _shared is not None and not _shared.is_own:
            _inherited.append(_shared)
            _shared = None
        if _shared is None:
            _shared = LoopThread()
        return _shared
