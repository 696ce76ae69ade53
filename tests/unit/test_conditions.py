"""Conditions: sentences for every reason, transition times, Ready copying the worst."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from geopod import errors
from geopod.api import reasons
from geopod.api.conditions import Condition, find, set_condition, summarize
from geopod.api.reasons import (
    ENVIRONMENT_REASONS,
    FATAL,
    RUN_REASONS,
    EnvironmentCondition,
    RunCondition,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HEALTHY = {
    EnvironmentCondition.ACCEPTED: "Accepted",
    EnvironmentCondition.DEPENDENCIES_READY: "Built",
    EnvironmentCondition.LAYERS_RESOLVED: "Planned",
    EnvironmentCondition.COORDINATOR_READY: "Available",
    EnvironmentCondition.NODES_READY: "AllReady",
    EnvironmentCondition.AVAILABLE: "MinimumReady",
}


def conditions_of(generation=1, **changes) -> tuple[Condition, ...]:
    """A healthy environment; a change is `Type=(status, reason, message)`."""
    states = {word.value: (True, reason, "") for word, reason in HEALTHY.items()} | changes
    result: tuple[Condition, ...] = ()
    for word, (status, reason, message) in states.items():
        result = set_condition(
            result,
            EnvironmentCondition(word),
            status=status,
            reason=reason,
            message=message,
            generation=generation,
            now=NOW,
        )
    return result


def summary(conditions, *, generation=1) -> tuple[tuple[str, str, str], tuple[str, str, str]]:
    result = summarize(conditions, generation=generation, now=NOW)
    ready, stalled = find(result, "Ready"), find(result, "Stalled")
    assert ready is not None
    assert stalled is not None
    return (ready.status, ready.reason, ready.message), (
        stalled.status,
        stalled.reason,
        stalled.message,
    )


def test_healthy_environment_is_ready():
    assert summary(conditions_of()) == (
        ("True", "Ready", "Runs can start."),
        ("False", "NotStalled", ""),
    )


def test_ready_copies_the_first_bad_condition_in_table_order():
    ready, stalled = summary(
        conditions_of(
            NodesReady=(False, "Scaling", "1 of 4 nodes are ready."),
            LayersResolved=(False, "MissingCRS", "dem has no CRS."),
            Available=(False, "BelowMinimum", "0 nodes are ready."),
        )
    )
    assert ready == ("False", "MissingCRS", "dem has no CRS.")
    assert stalled == ("True", "MissingCRS", "dem has no CRS.")


def test_what_heals_by_itself_does_not_stall():
    ready, stalled = summary(conditions_of(NodesReady=(False, "Scaling", "1 of 4.")))
    assert ready == ("False", "Scaling", "1 of 4.")
    assert stalled[0] == "False"


def test_refused_spec_stalls_whatever_its_reason():
    _, stalled = summary(conditions_of(Accepted=(False, "RuntimeNotFound", "no such.")))
    assert stalled == ("True", "RuntimeNotFound", "no such.")


def test_asleep_is_said_before_missing_nodes():
    ready, stalled = summary(
        conditions_of(
            NodesReady=(False, "Scaling", "0 of 4."),
            Suspended=(True, "IdleTimeout", "asleep; the next run wakes it."),
        )
    )
    assert ready == ("False", "Suspended", "asleep; the next run wakes it.")
    assert stalled[0] == "False"


def test_refused_spec_is_said_before_sleep():
    ready, _ = summary(
        conditions_of(
            Accepted=(False, "InvalidRequirement", "wrong."),
            Suspended=(True, "UserRequested", "asleep."),
        )
    )
    assert ready[1] == "InvalidRequirement"


def test_old_news_do_not_make_a_new_spec_ready():
    ready, _ = summary(conditions_of(generation=1), generation=2)
    assert ready[:2] == ("False", "Reconciling")


def test_roll_out_does_not_count():
    ready, _ = summary(conditions_of(Progressing=(True, "RollingOut", "1 of 4.")))
    assert ready[0] == "True"


def test_transition_time_moves_with_the_status_alone():
    later = NOW + timedelta(minutes=5)
    first = conditions_of()
    same = set_condition(
        first,
        EnvironmentCondition.NODES_READY,
        status=True,
        reason="AllReady",
        message="5 of 5 nodes are ready.",
        generation=2,
        now=later,
    )
    other = set_condition(
        same,
        EnvironmentCondition.NODES_READY,
        status=False,
        reason="Scaling",
        message="4 of 5 nodes are ready.",
        generation=2,
        now=later,
    )
    times = [find(it, "NodesReady").last_transition_time for it in (first, same, other)]
    assert times == [NOW, NOW, later]
    assert [it.type for it in other] == [it.type for it in first]


def test_summarizing_twice_changes_nothing():
    once = summarize(conditions_of(), generation=1, now=NOW)
    assert summarize(once, generation=1, now=NOW + timedelta(hours=1)) == once


EVERY_REASON = [
    pytest.param(condition, reason, id=f"{type(condition).__name__}-{condition}-{reason}")
    for table in (ENVIRONMENT_REASONS, RUN_REASONS)
    for condition, words in table.items()
    for reason in words
]


@pytest.mark.parametrize(("condition", "reason"), EVERY_REASON)
def test_every_reason_says_a_sentence(condition, reason):
    values = {name: f"<{name}>" for name in reasons.value_names(condition, reason)}
    text = reasons.sentence(condition, reason, **values)
    assert text
    assert all(value in text or repr(value) in text for value in values.values())


def test_a_missing_value_is_an_error_not_a_gap():
    with pytest.raises(KeyError):
        reasons.sentence(RunCondition.FAILED, "TaskFailed", count=1)


def test_fatal_reasons_exist():
    known = {word for words in ENVIRONMENT_REASONS.values() for word in words}
    assert known >= FATAL


def test_every_reason_with_a_class_exists():
    known = {
        word
        for table in (ENVIRONMENT_REASONS, RUN_REASONS)
        for words in table.values()
        for word in words
    }
    assert known >= set(errors.CONDITION_REASONS)
