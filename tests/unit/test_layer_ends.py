"""How runs end whose results were to become a layer: when they are published, what is told."""

import pytest
from dispatch_builders import an_order
from geopod.api.runs import RunState
from geopod.coordinator.layer_ends import becomes_layer, published, refused
from geopod.errors import InconsistentPartsError, LayerAccessError, NotAFileResultError

TARGET = {"pathId": "ndvi", "timestampId": "2024"}
PARTIAL = {**TARGET, "partial": "true"}


def a_state(**changes):
    usual = {"uid": "u", "name": "r", "environment": "e", "phase": "Failed", "reason": "TaskFailed"}
    return RunState(**{**usual, "message": "2 of 4 tasks failed.", "succeeded": 2, **changes})


@pytest.mark.parametrize(
    ("target", "changes", "expected"),
    [
        pytest.param(None, {"phase": "Succeeded"}, False, id="nothing asked"),
        pytest.param(TARGET, {"phase": "Succeeded"}, True, id="all there"),
        pytest.param(TARGET, {}, False, id="some failed"),
        pytest.param(PARTIAL, {}, True, id="partial"),
        pytest.param(PARTIAL, {"succeeded": 0}, False, id="partial of nothing"),
        pytest.param(PARTIAL, {"phase": "Cancelled"}, False, id="partial, cancelled"),
        pytest.param(PARTIAL, {"phase": "Running"}, False, id="not ended"),
    ],
)
def test_results_become_a_layer(target, changes, expected):
    assert becomes_layer(an_order(write_to=target), a_state(**changes)) is expected


def test_what_is_missing_is_told_beside_what_failed():
    ended = published(a_state(), TARGET, [1, 3])
    assert (ended.phase, ended.reason) == ("Failed", "TaskFailed")
    assert ended.message == (
        "2 of 4 tasks failed. Layer 'ndvi/2024' has the other results; tasks 1, 3 are missing "
        "there."
    )
    assert published(a_state(), TARGET, []) == a_state()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NotAFileResultError.returned(node=2, type_name="dict"), "NotAFileResult"),
        (InconsistentPartsError("1 of 2 parts differ."), "InconsistentParts"),
        (LayerAccessError("403.", details={"reason": "AuthFailed"}), "AuthFailed"),
        (LayerAccessError("no answer."), "LayerUnreachable"),
    ],
)
def test_run_that_becomes_no_layer_fails_for_the_errors_own_reason(error, reason):
    ended = refused(a_state(phase="Succeeded", reason="", message=""), error)
    assert (ended.phase, ended.reason, ended.message) == ("Failed", reason, error.fact)


def test_failed_run_that_becomes_no_layer_keeps_its_reason():
    ended = refused(a_state(), LayerAccessError("403."))
    assert (ended.reason, ended.message) == ("TaskFailed", "2 of 4 tasks failed. 403.")
