"""What the peers are asked to run: the same functions for all."""

from __future__ import annotations

import time


def nothing(_=None):
    """Return nothing: what is left is the system's own time."""
    return


def two_megabytes(_=None):
    """Return 2,000,000 bytes as an array."""
    import numpy as np

    return np.ones(250_000)


def large(_=None):
    """Return 200,000,000 bytes as an array."""
    import numpy as np

    return np.ones(25_000_000)


def short_work(_=None):
    """Take 50 ms, as a small tile does."""
    time.sleep(0.05)  # noqa: TID251  # the work of the task


def fatal_work(order):
    """Take half a second; the worker of the last task is killed once, so long after its start.

    Two files say when: `killed`, and `again` from the task's next start. Both hold seconds.
    """
    import os
    import signal
    from pathlib import Path

    index, last, folder, moment_s = order
    if index == last and moment_s:
        killed = Path(folder) / "killed"
        if not killed.exists():
            time.sleep(moment_s)  # noqa: TID251  # the seeded moment
            killed.write_text(str(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)
        (Path(folder) / "again").write_text(str(time.time()))
    time.sleep(0.5)  # noqa: TID251  # the work of the task
