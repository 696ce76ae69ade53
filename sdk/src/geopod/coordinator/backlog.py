"""What waits for the store: bounded, because nodes get no new work while it is too much."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from geopod.api.results import TaskRecord

MOST_BYTES = 64 << 20
"""Some 150,000 results, more than a run of ten minutes has; what nodes hold already comes on top.
The nodes keep the same reports until they are written."""
GO_ON_BYTES = MOST_BYTES // 2
RECORD_BYTES = 400
"""Of a record that describes nothing, as an object."""

log = logging.getLogger(__name__)


class Backlog:
    """Bytes of all runs' records that are not in the store; says when they are too many."""

    def __init__(self, tell: Callable[[bool], None]) -> None:
        """`tell(is_behind)` is called when that changes."""
        self.bytes = 0
        self.words = ""
        """What an environment says while nodes get no new work; empty: they do."""
        self._tell = tell

    def change(self, by: int) -> None:
        """Count bytes that wait from now on or, negative, are written."""
        self.bytes += by
        if self.words and self.bytes <= GO_ON_BYTES:
            self.words = ""
            log.warning("The store has taken the reports: nodes get new work.")
            self._tell(False)  # noqa: FBT003  # the callback's only word
        elif not self.words and self.bytes > MOST_BYTES:
            waiting = f"{self.bytes / (1 << 20):.0f} MiB of reports wait for the store"
            self.words = f"{waiting}; nodes get no new work until they are written."
            log.warning("%s", self.words)
            self._tell(True)  # noqa: FBT003  # as above


def weigh(records: Sequence[TaskRecord]) -> int:
    """Return about how many bytes these records take until they are written."""
    return sum(map(_weigh, records))


def _weigh(record: TaskRecord) -> int:
    entry = record.entry
    if record.failure is None and (entry is None or not entry.meta):
        return RECORD_BYTES + (len(entry.data) if entry is not None and entry.data else 0)
    return RECORD_BYTES + len(msgspec.json.encode(record))
