"""What a task printed, read from its child's output files: head and tail, the middle named."""

from __future__ import annotations

import os

from geopod.agent.work import TaskLog

HEAD_BYTES = 4 << 20
TAIL_BYTES = 1 << 20
LAST_LINE_BYTES = 4096


def read_log(out: int, err: int, span: tuple[int, int, int, int]) -> TaskLog | None:
    """Return stdout and stderr of one task; None if it printed nothing.

    `span`: start and stop in stdout, then in stderr, as the child says; what is not there is
    not read.
    """
    out_start, out_stop, err_start, err_stop = span
    log = TaskLog(out=_kept(out, out_start, out_stop), err=_kept(err, err_start, err_stop))
    return log if log.size else None


def last_line(log: TaskLog | None) -> str:
    """Return the last line that says something, of stderr if it has one, else of stdout."""
    for stream in (log.err, log.out) if log else ():
        lines = stream[-LAST_LINE_BYTES:].decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        if said:
            return said[-1][:200]
    return ""


def _kept(stream: int, start: int, stop: int) -> bytes:
    stop = min(stop, os.fstat(stream).st_size)
    if not 0 <= start < stop:
        return b""
    if stop - start <= HEAD_BYTES + TAIL_BYTES:
        return os.pread(stream, stop - start, start)
    left_out = stop - start - HEAD_BYTES - TAIL_BYTES
    return b"".join(
        [
            os.pread(stream, HEAD_BYTES, start),
            f"\n… {left_out:,} bytes left out …\n".encode(),
            os.pread(stream, TAIL_BYTES, stop - TAIL_BYTES),
        ]
    )
