"""The stored states of an environment's runs: read, and ended where nobody else will end them."""

from __future__ import annotations

from pathlib import Path

import msgspec

from geopod.api import names
from geopod.api.runs import RunOrder, RunState
from geopod.backends.local.state import write_whole


def stored_state(store: Path, order: RunOrder) -> RunState:
    """Return the last state of a run that reached the store; Queued if none did."""
    try:
        data = (store / names.state_key(order.environment, order.uid)).read_bytes()
    except FileNotFoundError:
        return queued_state(order)
    return msgspec.json.decode(data, type=RunState)


def queued_state(order: RunOrder) -> RunState:
    """Return the state of a run that no coordinator has taken yet."""
    return RunState(
        uid=order.uid,
        name=order.name,
        environment=order.environment,
        phase="Queued",
        created=order.created,
        total=order.count,
        pending=order.count,
    )


def cancel_stored(store: Path, order: RunOrder, *, now: float, reason: str = "Cancelled") -> None:
    """End a run in the store; only while no coordinator of its environment lives."""
    state = stored_state(store, order)
    if state.finished is not None:
        return
    ended = msgspec.structs.replace(
        state,
        phase="Cancelled",
        reason=reason,
        finished=now,
        pending=0,
        running=0,
        cancelled=state.total - state.succeeded - state.failed,
    )
    path = store / names.state_key(order.environment, order.uid)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(ended))


def cancel_unfinished(store: Path, environment_uid: str, *, now: float) -> None:
    """End every run of an environment that was terminated; only while no coordinator lives."""
    for path in (store / names.order_prefix(environment_uid)).glob("*.json"):
        order = msgspec.json.decode(path.read_bytes(), type=RunOrder)
        cancel_stored(store, order, now=now)
