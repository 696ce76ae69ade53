"""The words in which an agent reports tasks: DONE and FAILED of one lease."""

from __future__ import annotations

from geopod.api.messages import MAX_MESSAGE_BYTES, Assign, Done, Failed, encode
from geopod.api.results import TaskRecord


def done(assign: Assign, records: list[TaskRecord]) -> list[Done]:
    """Return the report of these tasks' results, in messages of at most 1 MiB each."""
    whole = Done(lease=assign.lease, epoch=assign.epoch, run=assign.run, records=records)
    if len(records) == 1 or len(encode(whole)) <= MAX_MESSAGE_BYTES:
        return [whole]
    middle = len(records) // 2
    return [*done(assign, records[:middle]), *done(assign, records[middle:])]


def failed(assign: Assign, record: TaskRecord) -> Failed:
    """Return the report of one failed attempt; `record.failure` is set."""
    return Failed(lease=assign.lease, epoch=assign.epoch, run=assign.run, record=record)
