"""A coordinator's half of a ComputeEnvironment's status, and the whole of it as clients see it."""

from __future__ import annotations

import pytest
from geopod.api.environment_resource import (
    CoordinatorReport,
    coordinator_status,
    environment_state,
)
from geopod.api.environment_status import ComputeEnvironmentStatus
from geopod.api.messages import PROTOCOL
from geopod.api.plan import LayerPlan, Partition, Plan, RasterHeader, Totals, WorkGrid
from geopod.api.runs import EnvironmentState
from resource_builders import ENVIRONMENT_UID, NOW, SHA

LAYERS = ({"pathId": "dem", "timestampId": "latest"},)
TRANSFORM = (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def a_plan() -> Plan:
    raster = RasterHeader(
        crs="EPSG:32632", transform=TRANSFORM, shape=(8, 8), dtype="uint8", bands=("1",),
        band_indexes=(1,), block_shape=(8, 8),
    )  # fmt: skip  # one line less
    layer = LayerPlan(
        key="latest", path_id="dem", timestamp="2024", kind="raster", hrefs=("/dem.tif",),
        driver="GTiff", version={}, raster=raster,
    )  # fmt: skip  # one line less
    grid = WorkGrid(
        crs="EPSG:32632", transform=TRANSFORM, shape=(8, 8), unit=1, extent=(0, -8, 8, 0)
    )
    parts = (Partition(index=0, core=(0, -8, 8, 0)), Partition(index=1, core=None))
    totals = Totals(features_outside={"a": 2})
    return Plan(
        planner={}, nodes=2, options={}, work=grid, layers=(layer,), partitions=parts, totals=totals
    )


def a_state(**changes) -> EnvironmentState:
    fields = {
        "uid": ENVIRONMENT_UID, "name": "ndvi-env", "phase": "Ready", "epoch": 4, "nodes": 2,
        "connected": 2, "ready": 2, "busy": 1, "python": "3.12", "plan_sha256": SHA,
        "active_runs": 1, "queued_runs": 3, "last_activity": NOW,
    }  # fmt: skip  # pairs read better side by side
    return EnvironmentState(**{**fields, **changes})


def a_report(**changes) -> CoordinatorReport:
    fields = {
        "now": NOW, "generation": 7, "pod": "ndvi-env-coordinator-x", "started": NOW - 60,
        "plan": a_plan(), "layers": LAYERS,
    }  # fmt: skip  # pairs read better side by side
    return CoordinatorReport(**{**fields, **changes})


def an_environment(status=None, **metadata):
    given = {"uid": ENVIRONMENT_UID, "name": "ndvi-env", "generation": 7, **metadata}
    spec = {"nodes": 2, "interpreter": "python3.11", "layers": list(LAYERS)}
    return {"metadata": given, "spec": spec, "status": status or {}}


def operators(kind, status, reason="Some", *, generation=7):
    return {
        "type": kind, "status": status, "reason": reason, "message": f"{reason}.",
        "observedGeneration": generation, "lastTransitionTime": "2025-06-15T15:06:00Z",
    }  # fmt: skip  # pairs read better side by side


def test_status_is_what_the_schema_wants():
    status = coordinator_status(a_state(lost="1", busy=2), a_report(drained="0", outdated=1))
    ComputeEnvironmentStatus.model_validate(status)
    assert status["nodes"] == {"connected": 2, "ready": 2, "busy": 2, "idle": 0, "outdated": 1}
    assert status["partitioning"] == {
        "planSha256": SHA, "count": 2, "empty": 1, "featuresOutside": 2,
    }  # fmt: skip  # one line less
    assert status["layers"] == [{
        "pathId": "dem", "timestampId": "latest", "timestamp": "2024", "crs": "EPSG:32632",
        "state": "Resolved", "bbox": [0.0, -8.0, 8.0, 0.0],
    }]  # fmt: skip  # one line less


def test_planned_layers_are_resolved_for_the_generation_of_the_plan():
    (condition,) = coordinator_status(a_state(), a_report())["conditions"]
    assert condition["type"] == "LayersResolved"
    assert (condition["status"], condition["observedGeneration"]) == ("True", 7)
    assert condition["message"] == "1 layers are cut into 2 partitions."


def test_layers_are_being_read_while_there_is_no_plan():
    state = a_state(phase="Pending", reason="Reading", plan_sha256="")
    status = coordinator_status(state, a_report(plan=None))
    assert status["conditions"][0]["reason"] == "Reading"
    assert [layer["state"] for layer in status["layers"]] == ["Reading"]


def test_failed_plan_says_its_reason_in_condition_and_layer():
    state = a_state(phase="Failed", reason="MissingCRS", message="dem has no CRS.", plan_sha256="")
    status = coordinator_status(state, a_report(plan=None))
    condition = status["conditions"][0]
    assert (condition["status"], condition["reason"]) == ("False", "MissingCRS")
    assert status["layers"][0] | {"pathId": ""} == {
        "pathId": "", "timestampId": "latest", "state": "Failed", "reason": "dem has no CRS.",
    }  # fmt: skip  # one line less


def test_state_comes_back_from_the_status():
    status = coordinator_status(a_state(lost="1"), a_report())
    state = environment_state(an_environment(status))
    assert state.protocol == PROTOCOL
    for name in ("epoch", "connected", "ready", "busy", "lost", "plan_sha256", "last_activity"):
        assert getattr(state, name) == getattr(a_state(lost="1"), name)
    assert (state.python, state.nodes, state.queued_runs) == ("3.11", 2, 3)
    assert state.layers[0]["key"] == "latest"


@pytest.mark.parametrize(
    ("conditions", "phase", "reason"),
    [
        ([], "Pending", ""),
        ([operators("CoordinatorReady", "True"), operators("Ready", "False", "Scaling")],
         "Starting", "Scaling"),
        ([operators("Ready", "True", "Ready")], "Ready", ""),
        ([operators("Ready", "True", "Ready", generation=6)], "Pending", "Ready"),
        ([operators("Suspended", "True", "IdleTimeout"), operators("Ready", "False", "Suspended")],
         "Suspended", "Suspended"),
        ([operators("Stalled", "True", "MissingCRS"), operators("Ready", "False", "MissingCRS")],
         "Failed", "MissingCRS"),
    ],
)  # fmt: skip  # a table reads best in rows
def test_phase_follows_from_the_conditions(conditions, phase, reason):
    state = environment_state(an_environment({"conditions": conditions}))
    assert (state.phase, state.reason) == (phase, reason)


def test_terminated_environment_says_so_whatever_its_conditions():
    annotations = {"geopod.dev/terminated": "{}"}
    ready = {"conditions": [operators("Ready", "True", "Ready")]}
    assert environment_state(an_environment(ready, annotations=annotations)).phase == "Terminated"
