"""A file without a name that stands by for the next object: made while nobody waits for it."""

from __future__ import annotations

import asyncio
import os

MAKE_AFTER_S = 0.003
"""Whoever waits for the object before has its answer by then."""
DESCRIPTORS = "/proc/self/fd"
"""Without it (a chroot) a file could never get its name."""


class SpareFile:
    """At most one open file in a folder; the kernel forgets it if no name is ever given to it.

    To make a file takes a third of a millisecond where others write to the same file system; to
    write a few bytes and give it a name takes a tenth. Source: open(2), O_TMPFILE.
    """

    def __init__(self, folder: str, mode: int) -> None:
        self._folder = folder
        self._mode = mode
        self._descriptor: int | None = None
        self._is_due = False

    def take(self) -> int | None:
        """Return the file, open to write, the caller's from now on; None: there is none."""
        descriptor, self._descriptor = self._descriptor, None
        return descriptor

    def make_soon(self) -> None:
        """Make another one in a moment, unless there is one; called in an event loop."""
        if self._descriptor is None and not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_later(MAKE_AFTER_S, self._make)

    def _make(self) -> None:
        self._is_due = False
        if not os.access(DESCRIPTORS, os.X_OK):
            return
        try:
            flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
            self._descriptor = os.open(self._folder, flags, self._mode)
        except (OSError, AttributeError):  # another system or file system, or it is full
            self._descriptor = None

    def __del__(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def name_file(descriptor: int, target: str) -> None:
    """Give a file without a name its only one; raises FileExistsError, FileNotFoundError."""
    # With a folder's descriptor (which no absolute path looks at) Python asks linkat(2), which
    # follows the link in /proc; link(2) does not.
    os.link(f"{DESCRIPTORS}/{descriptor}", target, dst_dir_fd=descriptor)
