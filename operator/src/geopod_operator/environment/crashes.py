"""When a container's last end still counts: while it is down, and for a while after it runs again.

Facts about kubelets that the rules rest on: the first restart comes at once, the later ones after
10 s, 20 s, 40 s … 5 min, and ten minutes of running are a new beginning; a container without a
readiness probe is ready as soon as it runs; one that could not be started began in 1970.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from geopod_operator.environment.observed import Raw

LOOP = 2
"""One restart may be chance: a machine that was switched off, a kill by hand."""
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=10), timedelta(minutes=5)
DOUBLINGS = 5
"""After so many the longest wait is reached."""
FORGIVEN = timedelta(minutes=10)
NEVER = "1970-"


def last_end(state: Raw, now: datetime) -> Raw | None:
    """Return how a container ended, if that is why it does not do its work; None: it is not."""
    current, restarts = state.get("state", {}), state.get("restartCount", 0)
    before = state.get("lastState", {}).get("terminated") if restarts else None
    ended: Raw | None = current.get("terminated") or before
    if not ended:
        return None
    has_failed = bool(ended.get("exitCode"))
    running = current.get("running")
    if running is not None:
        is_told = has_failed and restarts >= LOOP and _may_fail_again(ended, running, restarts, now)
    else:
        is_told = has_failed or bool(current.get("waiting"))
    return ended if is_told else None


def _may_fail_again(ended: Raw, running: Raw, restarts: int, now: datetime) -> bool:
    """Say whether it has not yet outlived its last start by as long as it would be held back."""
    started = _time(running, "startedAt")
    if started is None:
        return False
    wait = min(FIRST_WAIT * 2 ** min(restarts - 1, DOUBLINGS), LONGEST_WAIT)
    suspected: timedelta = min(_lifetime(ended) + wait, FORGIVEN)
    return now - started < suspected


def _lifetime(ended: Raw) -> timedelta:
    started, finished = _time(ended, "startedAt"), _time(ended, "finishedAt")
    return finished - started if started and finished else timedelta()


def _time(state: Raw, name: str) -> datetime | None:
    text = state.get(name)
    return datetime.fromisoformat(text) if text and not text.startswith(NEVER) else None
