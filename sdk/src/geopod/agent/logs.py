"""What a task printed, as the store keeps it: one JSON object per line of output."""

from __future__ import annotations

import time

import msgspec

from geopod.agent.work import TaskLog
from geopod.api.results import LogLine


def encode_log(log: TaskLog, *, index: int, attempt: int, node: int) -> bytes:
    """Return the JSON lines of one attempt: its standard output, then its standard error."""
    now = time.time()
    lines = [
        LogLine(time=now, task=index, attempt=attempt, node=node, stream=stream, text=text)
        for stream, output in (("stdout", log.out), ("stderr", log.err))
        for text in output.decode(errors="replace").splitlines()
    ]
    return msgspec.json.Encoder().encode_lines(lines)
