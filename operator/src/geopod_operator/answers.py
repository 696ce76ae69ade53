"""Answers to the operator's own writes, which may also tell what somebody else did just before.

Pure. A change of somebody else is worked on because the watch tells of it, in an event that is
older than such an answer. Were the answer kept, the event would be no news to the store, and
nobody would look at the object before the next resync.
"""

from __future__ import annotations

from typing import Any

from geopod_operator.stores import Raw, kept


def status_tells_of_others(held: Raw | None, answer: Raw, wrote: Raw) -> bool:
    """Whether the answer to a status write differs from what was held by more than `wrote`."""
    return held is not None and _of_others(held, wrote) != _of_others(kept(answer), wrote)


def child_tells_of_others(held: Raw | None, answer: Raw) -> bool:
    """Whether the answer to an apply shows another status than was held: only controllers write it.

    Children that have none are not watched either.
    """
    return held is not None and held.get("status") != answer.get("status")


def _of_others(found: Raw, wrote: Raw) -> tuple[Any, ...]:
    metadata, status = found["metadata"], found.get("status") or {}
    own = {condition["type"] for condition in wrote.get("conditions", ())}
    return (
        found.get("spec"),
        [metadata.get(part) for part in ("labels", "annotations", "deletionTimestamp")],
        {part: it for part, it in status.items() if part not in wrote},
        [it for it in status.get("conditions", ()) if it["type"] not in own],
    )
