"""SIGTERM ends the runner: at once, or when its agent has handed back what it held.

The first process of a container takes no signal that it has no handler for: the pod would wait
for all of its grace.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import NoReturn

from . import processes

LAST_WORDS_S = 5
"""So long an agent may take over its last words: a child that died before would be a failure."""
GIVE_UP_S = LAST_WORDS_S + 1
"""A template that hears nothing (it imports a large library) is waited for no longer."""


def end_now(*_ignored: object) -> NoReturn:
    """End this process by SIGTERM; the first process of a container by the exit code of that."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)


def end_on_sigterm() -> None:
    """End at once from now on, also by a SIGTERM that whoever started us has held back."""
    signal.signal(signal.SIGTERM, end_now)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


class LastWords:
    """The end of a template: without an agent at once, else when that has hung up."""

    def __init__(self, has_agent: Callable[[], bool]) -> None:
        self.end_ns: int | None = None
        """When it ends, its agent gone or not (monotonic); None: nobody has asked it to."""
        self._has_agent = has_agent
        signal.signal(signal.SIGTERM, self._begin)

    def are_said(self) -> bool:
        """Whether the agent has had its time."""
        return self.end_ns is not None and time.monotonic_ns() >= self.end_ns

    def _begin(self, *_ignored: object) -> None:
        if not self._has_agent():
            end_now()
        if self.end_ns is None:
            self.end_ns = time.monotonic_ns() + LAST_WORDS_S * 10**9


class Ending:
    """The end of the process that keeps the templates: they end first."""

    def __init__(self, templates: Iterable[int]) -> None:
        """`templates`: pids of those that live, as they are at any time."""
        self.has_begun = False
        self._templates = templates
        signal.signal(signal.SIGTERM, self._begin)
        signal.signal(signal.SIGALRM, end_now)

    def pass_on(self, pid: int) -> None:
        """End a template that was forked too late to hear of it."""
        if self.has_begun:
            processes.signal_one(pid, signal.SIGTERM)

    def _begin(self, *_ignored: object) -> None:
        self.has_begun = True
        signal.alarm(GIVE_UP_S)
        for pid in list(self._templates):
            processes.signal_one(pid, signal.SIGTERM)
