"""What Ctrl-C does to runs that are being waited for: the first leaves them, a second cancels."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from geopod.errors.wording import items_text

if TYPE_CHECKING:
    from geopod.client.aio import Run

SECOND_CHANCE_S = 3.0


def leave_runs(names: Sequence[str], cancel: Callable[[], None] | None = None) -> None:
    """Say that the runs go on; on a terminal a second Ctrl-C within 3 s calls `cancel`."""
    if sys.stderr is None or not names:  # closed: nobody reads what can be done now
        return
    asks = (
        cancel is not None and sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
    )
    one = len(names) == 1
    which = f"run {names[0]} goes on" if one else f"runs {items_text(names)} go on"
    them = "it" if one else "them"
    again = f"Ctrl-C again within {SECOND_CHANCE_S:.0f} s cancels {them}; " if asks else ""
    name = f'"{names[0]}"' if one else "name"
    line = f"{which}; {again}client.get_run({name}) finds {'it' if one else 'each'}\n"
    if not asks or cancel is None:
        sys.stderr.write(line)
        return
    try:  # who reads the line may be quick
        sys.stderr.write(line)
        threading.Event().wait(SECOND_CHANCE_S)
    except KeyboardInterrupt:
        cancel()
        what = f"run {names[0]} is" if one else f"{len(names)} runs are"
        sys.stderr.write(f"{what} being cancelled\n")


@contextmanager
def leaving(runs: Sequence[Run], cancel: Callable[[], None] | None = None) -> Iterator[None]:
    """On Ctrl-C say which of the runs go on; their environment then does so too.

    Without `cancel` a second Ctrl-C is nothing special: who only looks on ends no run.
    """
    try:
        yield
    except KeyboardInterrupt:
        left = list({run.name: run for run in runs if not run.done}.values())
        for run in left:
            run.is_left = True
        leave_runs([run.name for run in left], cancel)
        raise
