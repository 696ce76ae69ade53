"""The planning process: a request on stdin, a plan or a named error on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from geopod.api.plan import decode_plan, plan_sha256
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.errors import DuplicateKeyError, InvalidInputError, NoOverlapError, PartitionError
from layer_builders import (
    raster_spec,
    scene_polygons,
    shifted_spec,
    write_raster,
    write_vector_formats,
)
from staging_builders import layer_source


def ask(request: bytes, seed: str = "0") -> bytes:
    answer = subprocess.run(  # our own interpreter
        [sys.executable, "-m", "geopod.coordinator.planning"],
        input=request,
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": seed},
    )
    return answer.stdout


def a_request(tmp_path, **changes):
    raster = write_raster(tmp_path / "dem.tif", raster_spec(nodata=7))
    formats = write_vector_formats(tmp_path, scene_polygons(100, shifted_spec(300.0, 0.0)))
    sources = [layer_source(raster), *(layer_source(path, key=k) for k, path in formats.items())]
    return PlanRequest(**{"layers": tuple(sources), "nodes": 4, **changes})


def test_plan_bytes_are_the_same_in_any_process(tmp_path):
    request = a_request(tmp_path)
    plan, data = plan_layers(request)

    answers = [ask(msgspec.json.encode(request), seed) for seed in ("1", "2")]

    assert answers[0] == answers[1] == b'{"plan":' + data + b"}"
    assert decode_plan(data) == plan
    assert plan_sha256(data) == plan_sha256(plan_layers(request)[1])


def test_request_is_camel_case_json(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    source = {"key": "dem", "pathId": "dem", "timestamp": "2024", "hrefs": [str(path)]}
    request = {"layers": [source], "nodes": 2, "options": {}, "memoryBytes": 4 << 30}

    plan = json.loads(ask(json.dumps(request).encode()))["plan"]

    assert plan["nodes"] == 2
    assert plan["layers"][0]["pathId"] == "dem"
    assert set(plan["planner"]) == {"geopod", "gdal", "geos", "proj"}


@pytest.mark.parametrize(
    ("request_json", "code"),
    [
        pytest.param(
            {"layers": [{"key": "a", "pathId": "a", "timestamp": "a", "hrefs": ["/no"]}]},
            "E122",
            id="missing file",
        ),
        pytest.param({"options": {"overlap": -1}}, "E110", id="bad option"),
        pytest.param({"layers": 3}, "E110", id="not a request"),
    ],
)
def test_error_is_answered_by_its_code(request_json, code):
    answer = json.loads(ask(json.dumps({"nodes": 1, **request_json}).encode()))

    assert answer["error"]["code"] == code
    assert answer["error"]["fact"]


def test_counts_are_exact_with_and_without_stored_boxes(tmp_path):
    plan, _ = plan_layers(a_request(tmp_path))

    counts = {key: plan.totals.features[key] for key in plan.totals.features}
    assert len(set(counts.values())) == 1
    assert 0 < counts["parquet"] < 100
    assert plan.totals.features_outside["parquet"] == 100 - counts["parquet"]


def test_equal_keys_are_refused_before_a_file_is_opened():
    sources = tuple(layer_source(Path("/no"), key="latest", path_id=name) for name in "ab")

    with pytest.raises(DuplicateKeyError):
        plan_layers(PlanRequest(layers=sources, nodes=1))


def test_layer_beside_the_job_is_refused(tmp_path):
    raster = write_raster(tmp_path / "dem.tif", raster_spec())
    other = write_raster(tmp_path / "far.tif", shifted_spec(100_000.0, 0.0))

    with pytest.raises(NoOverlapError, match="far covers"):
        plan_layers(PlanRequest(layers=(layer_source(raster), layer_source(other)), nodes=1))


def test_halo_and_memory_are_checked_at_plan_time(tmp_path):
    raster = (layer_source(write_raster(tmp_path / "dem.tif", raster_spec())),)

    with pytest.raises(PartitionError, match="overlap=40 is more than half"):
        plan_layers(PlanRequest(layers=raster, nodes=4, options={"overlap": 40}))
    with pytest.raises(PartitionError, match="needs"):
        plan_layers(PlanRequest(layers=raster, nodes=4, memory_bytes=1 << 20))


def test_unknown_option_is_refused(tmp_path):
    raster = (layer_source(write_raster(tmp_path / "dem.tif", raster_spec())),)

    with pytest.raises(InvalidInputError):
        plan_layers(PlanRequest(layers=raster, nodes=1, options={"overlaps": 1}))
