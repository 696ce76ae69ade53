"""Ends a process whose event loop stands still, so that whoever keeps it starts another."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

STUCK_AFTER_S = 60.0
CHECK_EVERY_S = 5.0
EXIT_STUCK = 70
"""EX_SOFTWARE of sysexits.h."""


class Watchdog:
    """A thread that wants to hear from the event loop at least once in `STUCK_AFTER_S`."""

    def __init__(self) -> None:
        self._ticked = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def tick(self) -> None:
        """The loop is alive."""
        self._ticked = time.monotonic()

    def stop(self) -> None:
        """Stop watching: the loop ends in good order."""
        self._stopped.set()

    def _watch(self) -> None:
        while not self._stopped.wait(CHECK_EVERY_S):
            if time.monotonic() - self._ticked > STUCK_AFTER_S:
                sys.stderr.write(f"The event loop stood still for {STUCK_AFTER_S:.0f} s.\n")
                faulthandler.dump_traceback(file=sys.stderr)
                os._exit(EXIT_STUCK)
