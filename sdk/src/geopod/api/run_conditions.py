"""Conditions of a ComputeRun from its state, and the words that they tell. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from geopod.api.compact import shorten
from geopod.api.raw_conditions import ConditionWriter, find_raw
from geopod.api.reasons import RUN_REASONS, RunCondition, sentence
from geopod.api.runs import RunState

MESSAGE_BYTES = 1024
WORDS_BYTES = 256
REFUSALS = frozenset(RUN_REASONS[RunCondition.ACCEPTED]) - {"Accepted"}
"""A run that ended for one of these was never accepted."""
TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled"})


def run_conditions(
    state: RunState, before: Iterable[Mapping[str, Any]], *, generation: int, now: float
) -> list[dict[str, Any]]:
    """Return the conditions of a run in this state; `before`: those it has."""
    write = ConditionWriter(before, generation=generation, now=now)
    message = shorten(state.message, MESSAGE_BYTES)
    if not state.phase:
        write.set(
            RunCondition.ACCEPTED, state.reason or "EnvironmentNotReady", message, status=False
        )
        return write.done()
    if state.started is not None or state.phase not in TERMINAL:
        write.say(RunCondition.ACCEPTED, "Accepted", status=True)
    elif state.reason in REFUSALS:
        write.set(RunCondition.ACCEPTED, state.reason, message, status=False)
    else:
        write.keep(RunCondition.ACCEPTED)
    if state.phase == "Queued":
        words = message or _waiting(state)
        write.set(RunCondition.DISPATCHED, state.reason or "Waiting", words, status=False)
    elif state.started is not None:
        if state.pending and not write.is_true(RunCondition.DISPATCHED):
            write.set(RunCondition.DISPATCHED, "Waiting", _waiting(state), status=False)
        else:
            write.say(RunCondition.DISPATCHED, "Dispatched", status=True)
    if state.phase == "Succeeded":
        write.say(RunCondition.COMPLETE, "Succeeded", status=True, total=state.total)
    elif state.phase in TERMINAL:
        reason = state.reason or ("Cancelled" if state.phase == "Cancelled" else "TaskFailed")
        write.set(RunCondition.FAILED, reason, message or _failed_words(state), status=True)
    if state.phase == "Succeeded" or (state.phase in TERMINAL and state.succeeded):
        write.say(RunCondition.RESULTS_AVAILABLE, "Stored", status=True, count=state.succeeded)
    return write.done()


def _waiting(state: RunState) -> str:
    return sentence(RunCondition.DISPATCHED, "Waiting", count=state.pending, total=state.total)


def _failed_words(state: RunState) -> str:
    if state.phase == "Cancelled":
        values = {"count": state.succeeded, "total": state.total}
        return sentence(RunCondition.FAILED, "Cancelled", **values)
    first = state.failures[0].failure if state.failures else None
    words = shorten(first.fact, WORDS_BYTES) if first else "no task said why"
    values = {"count": state.failed, "total": state.total}
    return sentence(RunCondition.FAILED, "TaskFailed", **values, words=words)


def told_words(conditions: Iterable[Mapping[str, Any]], phase: str) -> tuple[str, str]:
    """Return the reason and message that the conditions give a run of this phase."""
    told_by = {
        "": RunCondition.ACCEPTED,
        "Queued": RunCondition.DISPATCHED,
        "Failed": RunCondition.FAILED,
        "Cancelled": RunCondition.FAILED,
    }.get(phase)
    condition = find_raw(conditions, told_by) if told_by else None
    if condition is None:
        return "", ""
    reason = "" if condition["reason"] == "Waiting" else condition["reason"]
    return reason, condition.get("message", "")
