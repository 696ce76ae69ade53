"""Conditions of the custom resources: the type, and how one follows from the last.

What each reason means and says: `reasons.py`. Pure: `now` is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from geopod.api.common import Model, Time
from geopod.api.reasons import ENVIRONMENT_ORDER, FATAL, EnvironmentCondition, RunCondition

Status = Literal["True", "False", "Unknown"]
READY = EnvironmentCondition.READY
ABNORMAL_WHEN_TRUE = frozenset({EnvironmentCondition.STALLED, EnvironmentCondition.SUSPENDED})
NOT_IN_READY = frozenset({EnvironmentCondition.PROGRESSING, *ABNORMAL_WHEN_TRUE, READY})
"""A roll-out does not make an environment less ready; sleep is told by itself."""


class Condition(Model):
    """One aspect of an object's state, as Kubernetes defines conditions."""

    type: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9.]*$", min_length=1, max_length=63)
    ]
    """Aspect."""
    status: Status
    """Whether it holds."""
    observed_generation: Annotated[int, Field(ge=0)] | None = None
    """Generation of the spec that this is about."""
    last_transition_time: Time
    """When status last changed."""
    reason: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z]([A-Za-z0-9_]*[A-Za-z0-9])?$", max_length=128)
    ]
    """One word for machines."""
    message: Annotated[str, StringConstraints(max_length=32_768)] = ""
    """A sentence for people: the fact, its numbers, the fix."""

    @property
    def is_true(self) -> bool:
        """Whether the aspect holds."""
        return self.status == "True"


def set_condition(
    conditions: Sequence[Condition],
    condition_type: EnvironmentCondition | RunCondition,
    *,
    status: bool | None,
    reason: str,
    message: str,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Return the conditions with one of them set; its transition time moves with status alone.

    `status` None is Unknown. The order of types is kept, a new one goes to the end.
    """
    word: Status = "Unknown" if status is None else "True" if status else "False"
    before = find(conditions, condition_type)
    changed = before is None or before.status != word
    condition = Condition(
        type=condition_type,
        status=word,
        observed_generation=generation,
        last_transition_time=now if before is None or changed else before.last_transition_time,
        reason=reason,
        message=message,
    )
    if before is None:
        return (*conditions, condition)
    return tuple(condition if it.type == condition_type else it for it in conditions)


def find(conditions: Sequence[Condition], condition_type: str) -> Condition | None:
    """Return the condition of a type, if there is one."""
    return next((it for it in conditions if it.type == condition_type), None)


def summarize(
    conditions: Sequence[Condition], *, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """Return an environment's conditions with Stalled and Ready set from the others.

    Ready copies reason and message of the worst condition: the first one, in the order of
    `ENVIRONMENT_ORDER`, that is missing, not True, or about an earlier generation. Asleep comes
    first of all but a spec that is not accepted. Stalled copies what needs a person.
    """
    by_type = {it.type: it for it in conditions}
    blocker = _needs_person(by_type)
    stalled = set_condition(
        conditions,
        EnvironmentCondition.STALLED,
        status=blocker is not None,
        reason=blocker.reason if blocker else "NotStalled",
        message=blocker.message if blocker else "",
        generation=generation,
        now=now,
    )
    is_ready, reason, message = _readiness(by_type, generation)
    return set_condition(
        stalled,
        READY,
        status=is_ready,
        reason=reason,
        message=message,
        generation=generation,
        now=now,
    )


def _needs_person(by_type: Mapping[str, Condition]) -> Condition | None:
    """Return the first condition, in table order, that will not heal by itself."""
    for condition_type in ENVIRONMENT_ORDER:
        found = by_type.get(condition_type)
        if found is None or found.status != "False":
            continue
        if condition_type == EnvironmentCondition.ACCEPTED or found.reason in FATAL:
            return found
    return None


def _readiness(by_type: Mapping[str, Condition], generation: int) -> tuple[bool, str, str]:
    accepted = by_type.get(EnvironmentCondition.ACCEPTED)
    asleep = by_type.get(EnvironmentCondition.SUSPENDED)
    if asleep is not None and asleep.is_true and (accepted is None or accepted.is_true):
        return False, "Suspended", asleep.message
    for condition_type in ENVIRONMENT_ORDER:
        if condition_type in NOT_IN_READY:
            continue
        found = by_type.get(condition_type)
        if found is None or (found.observed_generation or 0) < generation:
            return False, "Reconciling", f"{condition_type} is not known yet for this spec."
        if not found.is_true:
            return False, found.reason, found.message
    return True, "Ready", "Runs can start."
