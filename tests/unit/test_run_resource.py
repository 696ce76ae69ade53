"""ComputeRun ↔ order ↔ status: nothing is lost on the way, and a status stays small."""

from __future__ import annotations

import json
from base64 import b64encode

import api_builders
import msgspec
import pytest
from geopod.api.compact import join_ranges, parse_ranges
from geopod.api.run import ComputeRun, ComputeRunSpec
from geopod.api.run_resource import (
    RunReport,
    cancelled_tasks,
    inline_arguments,
    order_from_resource,
    resource_from_order,
    run_state,
    status_from_state,
)
from geopod.api.run_status import ComputeRunStatus
from geopod.api.runs import RunState
from geopod.dispatch.progress import MAX_PROGRESS_BYTES
from geopod.errors import InvalidInputError
from hypothesis import given
from hypothesis import strategies as st
from resource_builders import (
    ENVIRONMENT_UID,
    NOW,
    UID,
    a_failure,
    a_record,
    a_state,
    orders,
    stored,
)

REPORT = RunReport(now=NOW)


def a_run(**spec):
    return stored(
        {
            "apiVersion": "geopod.dev/v1alpha1",
            "kind": "ComputeRun",
            "metadata": {"name": "ndvi-1", "namespace": "team"},
            "spec": api_builders.a_run_spec(**spec),
        }
    )


def read(manifest):
    return order_from_resource(manifest, environment_uid=ENVIRONMENT_UID)


def with_status(status, **metadata):
    return {**a_run(), "status": status} | (
        {"metadata": {**a_run()["metadata"], **metadata}} if metadata else {}
    )


def conditions_of(status):
    return {it["type"]: (it["status"], it["reason"], it["message"]) for it in status["conditions"]}


# ---- orders


@given(orders)
def test_order_comes_back_from_its_resource(order):
    manifest = resource_from_order(order, environment="ndvi-env", namespace="team")
    ComputeRun.model_validate(manifest)
    server = stored(manifest, creationTimestamp="2025-06-15T15:06:00Z")
    again = read(server)
    assert again == order


def test_resource_written_by_hand_has_the_defaults_of_the_schema():
    by_hand = read(a_run())
    filled_in = read(a_run(**ComputeRunSpec.model_validate(api_builders.a_run_spec()).to_wire()))
    assert by_hand == filled_in
    assert (by_hand.uid, by_hand.environment) == (UID, ENVIRONMENT_UID)


def test_large_function_is_named_by_its_hash():
    artifact = {"sha256": api_builders.SHA, "bytes": 700_000}
    function = api_builders.without(api_builders.a_function(artifact=artifact), "inline")
    order = read(a_run(function=function))
    assert (order.function.inline, order.function.size) == (None, 700_000)


def test_map_without_a_format_takes_json():
    artifact = {"sha256": api_builders.SHA, "bytes": 10}
    order = read(a_run(mode="Map", map={"artifact": artifact, "count": 7, "batch": 3}))
    assert order.arguments is not None
    assert (order.arguments.format, order.count, order.batch) == ("json", 7, 3)


def test_inline_arguments_are_found():
    data = b64encode(b"GPA1").decode()
    given_inline = {"format": "json", "sha256": api_builders.SHA, "inline": data}
    assert inline_arguments(a_run(arguments=given_inline)) == b"GPA1"
    assert inline_arguments(a_run()) is None


def test_arguments_of_a_run_per_node_are_refused():
    described = {"format": "json", "sha256": api_builders.SHA, "inline": "e30="}
    with pytest.raises(InvalidInputError, match=r"spec\.arguments"):
        read(a_run(arguments=described))


def test_publication_is_no_order():
    with pytest.raises(InvalidInputError, match="Publish"):
        read(a_run(mode="Publish"))


@pytest.mark.parametrize(
    ("text", "indexes"), [("0-3,9", [0, 1, 2, 3, 9]), ("", []), ("x", []), ("0-9999999", [])]
)
def test_annotation_cancels_the_tasks_that_it_names(text, indexes):
    manifest = stored(a_run(), annotations={"geopod.dev/cancel-tasks": text})
    assert cancelled_tasks(manifest) == indexes


@given(st.lists(st.integers(0, 5000), max_size=50))
def test_ranges_come_back_in_their_order(indexes):
    assert parse_ranges(join_ranges(indexes), limit=50) == indexes


def test_ranges_that_would_fill_the_memory_are_refused():
    with pytest.raises(ValueError, match="more than"):
        parse_ranges("0-999999999999", limit=1000)


# ---- status

words = st.text(max_size=400)
states = st.builds(
    lambda phase, reason, message, counts, ranges, failures: a_state(
        phase=phase,
        reason=reason,
        message=message,
        started=NOW - 5 if phase not in {"", "Queued"} else None,
        finished=NOW if phase in {"Succeeded", "Failed", "Cancelled"} else None,
        total=sum(counts),
        pending=counts[0],
        running=counts[1],
        succeeded=counts[2],
        failed=counts[3],
        completed_indexes=ranges[:4096].rstrip(","),
        failed_indexes=ranges[:4096].rstrip(","),
        indexes_truncated=True,
        progress=message[:MAX_PROGRESS_BYTES],
        plan_sha256="5e" * 32,
        failures=failures,
    ),
    st.sampled_from(["", "Queued", "Running", "Succeeded", "Failed", "Cancelled"]),
    st.sampled_from(["QueueFull", "TaskFailed", "Cancelled", "EnvironmentDeleted"]),
    words,
    st.lists(st.integers(0, 1_000_000), min_size=4, max_size=4),
    st.integers(0, 2000).map(lambda count: ",".join(str(1_000_000 + i) for i in range(count))),
    st.lists(st.builds(a_failure, st.integers(0, 10**6), st.text(max_size=500)), max_size=12),
)


@given(states)
def test_status_is_what_the_schema_wants_and_stays_under_16_kb(state):
    status = status_from_state(state, RunReport(now=NOW, token="t" * 600, accepted=NOW - 6))
    ComputeRunStatus.model_validate(status)
    assert len(json.dumps(status, ensure_ascii=False).encode()) < 16_000


@given(states)
def test_state_comes_back_from_its_status(state):
    again = run_state(with_status(status_from_state(state, REPORT)))
    if not state.phase:  # a run that is not accepted has no tasks yet
        assert (again.phase, again.reason) == ("", state.reason)
        return
    for name in ("phase", "total", "pending", "running", "succeeded", "failed", "finished"):
        assert getattr(again, name) == getattr(state, name)
    assert again.plan_sha256 == state.plan_sha256
    for name in ("completed_indexes", "failed_indexes", "indexes_truncated", "epoch", "started"):
        assert getattr(again, name) == getattr(state, name)
    assert [r.index for r in again.failures] == [r.index for r in state.failures[:10]]


def test_new_run_has_a_state_without_a_phase():
    state = run_state(a_run())
    assert (state.uid, state.phase, state.finished) == (UID, "", None)


def test_words_of_a_failed_run_come_back():
    times = "\N{MULTIPLICATION SIGN}"
    message = f"2 of 4 tasks failed: 2 {times} ValueError (tasks 0, 1). 2 results kept."
    state = a_state(
        phase="Failed",
        reason="TaskFailed",
        message=message,
        finished=NOW,
        running=0,
        succeeded=2,
        failed=2,
        failures=[a_failure(0), a_failure(1)],
    )
    again = run_state(with_status(status_from_state(state, REPORT)))
    assert (again.reason, again.message) == ("TaskFailed", message)
    failure = again.failures[0].failure
    assert failure is not None
    assert failure.exception is not None
    assert (failure.code, failure.exception.type) == ("E307", "ValueError")
    assert failure.exception.message == "no such band"


def test_copies_of_tiny_results_come_back_with_their_records():
    records = [a_record(0), a_record(1, entry=None, skipped=True)]
    state = a_state(
        phase="Succeeded",
        finished=NOW,
        total=2,
        running=0,
        succeeded=2,
        inline={0: b"42"},
        records=records,
    )
    status = status_from_state(state, REPORT)
    ComputeRunStatus.model_validate(status)
    again = run_state(with_status(status))
    assert (again.inline, again.records) == ({0: b"42"}, records)


@pytest.mark.parametrize("copies", [{0: b"x" * 4097}, dict.fromkeys(range(7), b"y" * 600)])
def test_more_than_4096_bytes_are_not_copied(copies):
    records = [a_record(index) for index in copies]
    state = a_state(phase="Succeeded", finished=NOW, inline=copies, records=records)
    assert "inline" not in status_from_state(state, REPORT)["results"]


def test_records_without_their_results_are_no_copies():
    state = a_state(phase="Succeeded", finished=NOW, inline={0: b"42"}, records=[a_record(1)])
    assert "inline" not in status_from_state(state, REPORT)["results"]


def test_conditions_of_a_run_that_went_well():
    state = a_state(phase="Succeeded", finished=NOW, running=0, succeeded=4)
    assert conditions_of(status_from_state(state, REPORT)) == {
        "Accepted": ("True", "Accepted", "the run is queued."),
        "Dispatched": ("True", "Dispatched", "all tasks were handed to nodes at least once."),
        "Complete": ("True", "Succeeded", "all 4 tasks succeeded."),
        "ResultsAvailable": ("True", "Stored", "4 results are in the store."),
    }


def test_conditions_of_a_run_that_waits():
    waits = a_state(
        phase="Queued", started=None, running=0, pending=4, reason="EnvironmentNotReady",
        message="Waits for ready nodes, 3 s of 3600 s (queueTimeoutSeconds): 0 of 4 are ready.",
    )  # fmt: skip  # one line less
    conditions = conditions_of(status_from_state(waits, REPORT))
    assert conditions["Accepted"][0] == "True"
    assert conditions["Dispatched"] == ("False", "EnvironmentNotReady", waits.message)


def test_run_that_is_not_accepted_has_no_phase():
    refused = a_state(phase="", reason="QueueFull", message="The queue is full: 3 runs.")
    status = status_from_state(refused, REPORT)
    assert "phase" not in status
    assert conditions_of(status) == {
        "Accepted": ("False", "QueueFull", "The queue is full: 3 runs.")
    }


def test_dispatched_stays_true_when_a_task_waits_again():
    before = status_from_state(a_state(), REPORT)
    again = a_state(running=3, pending=1)
    status = status_from_state(again, RunReport(now=NOW + 1, before=before))
    assert conditions_of(status)["Dispatched"][0] == "True"


def test_transition_time_moves_with_the_status_alone():
    before = status_from_state(a_state(), REPORT)
    later = RunReport(now=NOW + 60, before=before)
    status = status_from_state(a_state(phase="Succeeded", finished=NOW + 60, succeeded=4), later)
    times = {it["type"]: it["lastTransitionTime"] for it in status["conditions"]}
    assert times["Accepted"] == before["conditions"][0]["lastTransitionTime"]
    assert times["Complete"] > times["Accepted"]


def test_words_of_progress_are_told_while_the_run_goes_on():
    running = a_state(progress="62 % band 4")
    status = status_from_state(running, REPORT)
    ComputeRunStatus.model_validate(status)
    assert run_state(with_status(status)).progress == "62 % band 4"
    ended = msgspec.structs.replace(running, phase="Failed", finished=NOW)
    assert "progress" not in status_from_state(ended, REPORT)


def test_progress_never_goes_backwards():
    before = {"progressPercentage": 50}
    state = a_state(total=10, running=6, succeeded=4)
    report = RunReport(now=NOW, before=before)
    assert status_from_state(state, report)["progressPercentage"] == 50


def test_remaining_time_is_estimated_from_what_has_ended():
    state = a_state(total=10, running=5, succeeded=5, started=NOW - 20)
    assert status_from_state(state, REPORT)["estimatedRemainingSeconds"] == 20


def test_timings_are_told_in_milliseconds():
    report = RunReport(now=NOW, accepted=NOW - 9, p50_s=0.0123, p99_s=1.5)
    status = status_from_state(a_state(), report)
    assert status["timings"] == {"queueMs": 1000, "dispatchMs": 4000, "p50Ms": 12, "p99Ms": 1500}


def test_operators_word_on_a_run_without_environment_is_read():
    status = {
        "phase": "Failed",
        "conditions": [{
            "type": "Failed", "status": "True", "reason": "EnvironmentDeleted",
            "lastTransitionTime": "2025-06-15T15:06:00Z", "message": "it was deleted.",
        }],
    }  # fmt: skip  # one line less
    state = run_state(with_status(status))
    assert isinstance(state, RunState)
    assert (state.phase, state.reason, state.message) == (
        "Failed", "EnvironmentDeleted", "it was deleted.",
    )  # fmt: skip  # one line less
