"""What Ctrl-C does to a run that is being waited for: the first leaves it, a second cancels it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

SECOND_CHANCE_S = 3.0


def leave_run(name: str, cancel: Callable[[], None]) -> None:
    """Say that the run goes on; on a terminal a second Ctrl-C within 3 s calls `cancel`."""
    if sys.stderr is None:  # closed: nobody reads what can be done now
        return
    terminal = sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    again = f"Ctrl-C again within {SECOND_CHANCE_S:.0f} s cancels it; " if terminal else ""
    line = f'run {name} goes on; {again}client.get_run("{name}") finds it\n'
    if not terminal:
        sys.stderr.write(line)
        return
    try:  # who reads the line may be quick
        sys.stderr.write(line)
        threading.Event().wait(SECOND_CHANCE_S)
    except KeyboardInterrupt:
        cancel()
        sys.stderr.write(f"run {name} is being cancelled\n")
