"""A child's standard streams: its own two files, and how much they hold."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import TextIO


def open_output(path: Path) -> tuple[int, int]:
    """Return descriptors to append to and to read from a file that no name leads to."""
    writing = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        reading = os.open(path, os.O_RDONLY)
    finally:
        path.unlink()
    return writing, reading


def take_streams(descriptors: tuple[int, int]) -> None:
    """Make two files this process's stdout and stderr, and nothing its stdin.

    Lines are written at once: what was printed before a crash is the best there is to tell why.
    """
    for number, descriptor in enumerate(descriptors, start=1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a name, no path of ours
        os.dup2(nothing.fileno(), 0)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(  # type: ignore[union-attr]  # text files: nothing has replaced them yet
            encoding="utf-8", errors="backslashreplace", line_buffering=True
        )


def flush_streams() -> None:
    """Write out what Python still holds of both streams."""
    _flush(sys.stdout)
    _flush(sys.stderr)


def stream_sizes() -> tuple[int, int]:
    """Return how much stdout and stderr hold, whoever wrote it; 0 where the user closed one."""
    try:
        return os.lseek(1, 0, os.SEEK_END), os.lseek(2, 0, os.SEEK_END)
    except OSError:
        return 0, 0


def _flush(stream: TextIO | None) -> None:
    # The user's code may have closed or replaced it: then nothing of ours is in it.
    with contextlib.suppress(AttributeError, OSError, ValueError):
        stream.flush()  # type: ignore[union-attr]  # None is suppressed like a closed one
