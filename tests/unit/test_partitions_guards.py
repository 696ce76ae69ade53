"""Guards: what no node could hold is refused at plan time, with the numbers that fit."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import pytest
from geopod.api.plan import FilePlan
from geopod.errors import DuplicateKeyError, InvalidInputError, PartitionError
from geopod.partitions import NodeLimits, read_options
from geopod.partitions.guards import fewest_fitting, most_fitting
from layer_builders import ORIGIN, raster_spec
from msgspec.structs import replace
from plan_builders import plan_of, raster_input, vector_input

MB = 1_000_000
BIG = raster_spec(rows=4096, cols=4096, dtype="float32", block=256)
"""67 MB in one band."""


def test_a_halo_over_half_of_the_smallest_core_is_refused():
    with pytest.raises(PartitionError) as caught:
        plan_of(raster_input(), nodes=16, overlap=9)

    error = caught.value
    assert str(error) == (
        "GP-E123 overlap=9 is more than half of the smallest partition (16 px).\n"
        "fix: 1) overlap=8 fits 2) nodes=4 fits"
    )
    assert error.details["largestOverlap"] == 8
    assert error.details["smallestCore"] == [16, 16] or min(error.details["smallestCore"]) == 16
    fitting = error.details["fittingNodes"]
    assert fitting < 16
    assert plan_of(raster_input(), nodes=fitting, overlap=9).nodes == fitting
    assert plan_of(raster_input(), nodes=16, overlap=8).nodes == 16


def test_a_halo_over_half_of_the_whole_raster_fits_no_node_count():
    with pytest.raises(PartitionError) as caught:
        plan_of(raster_input(), nodes=2, overlap=40)

    assert caught.value.details["fittingNodes"] is None


def test_a_halo_without_pixels_is_refused():
    with pytest.raises(InvalidInputError, match="counts reference pixels, and no layer has pixels"):
        plan_of(vector_input([[0.0, 0.0], [1.0, 1.0]]), overlap=3)


def test_a_partition_over_the_memory_limit_names_the_node_count_that_fits():
    limits = NodeLimits(memory=300 * MB)

    with pytest.raises(PartitionError) as caught:
        plan_of(raster_input(BIG), nodes=1, limits=limits)

    error = caught.value
    assert error.details["reason"] == "PartitionTooLarge"
    assert error.details["need"] == 220 * MB + 3 * 4096 * 4096 * 4
    assert error.details["arrays"] == ["1 x 4096 x 4096 float32"]
    fitting = error.details["nmin"]
    assert f"nodes={fitting} fits" in error.fixes
    assert plan_of(raster_input(BIG), nodes=fitting, limits=limits).nodes == fitting
    with pytest.raises(PartitionError):
        plan_of(raster_input(BIG), nodes=fitting - 1, limits=limits)


def test_the_halo_counts_in_the_largest_partition():
    core = 220 * MB + 3 * 2048 * 2048 * 4
    limits = NodeLimits(memory=core)

    assert plan_of(raster_input(BIG), nodes=4, limits=limits).nodes == 4
    with pytest.raises(PartitionError):
        plan_of(raster_input(BIG), nodes=4, overlap=1, limits=limits)


def test_a_limit_below_the_stack_itself_fits_no_node_count():
    with pytest.raises(PartitionError) as caught:
        plan_of(raster_input(), limits=NodeLimits(memory=128 * MB))

    assert caught.value.details["nmin"] is None
    assert caught.value.fixes == ("memory='210Mi'",)


def test_scratch_counts_files_and_keeps_a_tenth_free():
    model = FilePlan(key="model", href="/files/model", sha256="0" * 64, bytes=100 * MB)

    with pytest.raises(PartitionError, match="of scratch, a node has") as caught:
        plan_of(raster_input(), files=(model,), limits=NodeLimits(scratch=100 * MB))

    assert caught.value.details["need"] >= 100 * MB / 0.9
    plan = plan_of(raster_input(), files=(model,), limits=NodeLimits(scratch=112 * MB))
    assert plan.files == (model,)


def test_headroom_is_an_option():
    limits = NodeLimits(memory=300 * MB)

    plan = plan_of(raster_input(BIG), nodes=1, headroom=1.0, limits=limits)

    assert plan.options["headroom"] == 1.0


def test_a_block_larger_than_the_agents_memory_is_refused_whatever_the_node_count():
    spec = raster_spec(rows=8192, cols=8192, dtype="float64", block=8192)

    with pytest.raises(PartitionError) as caught:
        plan_of(raster_input(spec), nodes=64, limits=NodeLimits(agent_memory=768 * 2**20))

    assert str(caught.value) == (
        "GP-E123 Reading dem takes 512 MiB at once, the agent needs 783 MiB and has 768 MiB.\n"
        "fix: 1) write the layer in tiles (COG) 2) agentResources.memory of the ComputeRuntime"
    )


@pytest.mark.parametrize(("read_bytes", "fits"), [(100 * MB, True), (600 * MB, False)])
def test_an_array_counts_by_its_chunks_and_not_by_a_block_of_all_bands(read_bytes, fits):
    spec = raster_spec(rows=8192, cols=8192, dtype="float64", block=8192)
    raster = raster_input(spec)
    header = replace(raster.header, read_bytes=read_bytes)
    raster = dataclasses.replace(raster, layer=replace(raster.layer, raster=header))
    limits = NodeLimits(agent_memory=768 * 2**20)

    with nullcontext() if fits else pytest.raises(PartitionError, match="Reading dem takes 572"):
        plan_of(raster, nodes=64, limits=limits)


@pytest.mark.parametrize("threshold", [5, 8, 13, 250, 999, 1000])
def test_the_fewest_nodes_that_fit_are_found(threshold):
    assert fewest_fitting(lambda nodes: nodes >= threshold, above=4) == threshold


def test_no_node_count_fits_beyond_a_thousand():
    assert fewest_fitting(lambda nodes: nodes > 1000, above=4) is None


@pytest.mark.parametrize("threshold", [1, 2, 7, 31, 62])
def test_the_most_nodes_that_fit_are_found(threshold):
    assert most_fitting(lambda nodes: nodes <= threshold, below=63) == threshold


def test_one_node_has_no_smaller_count():
    assert most_fitting(lambda _: True, below=1) is None


def test_equal_keys_are_refused_with_their_number():
    with pytest.raises(DuplicateKeyError) as caught:
        plan_of(*(raster_input(key="latest", path_id=path) for path in ("a", "b", "c")))

    assert str(caught.value) == (
        "GP-E124 timestampId latest is given 3 times; params has one value per timestampId.\n"
        "fix: 1) Remove one, or name it instead of latest"
    )


def test_a_file_with_the_key_of_a_layer_is_refused():
    file = FilePlan(key="dem", href="/files/dem", sha256="0" * 64, bytes=1)

    with pytest.raises(DuplicateKeyError, match="dem is given 2 times"):
        plan_of(raster_input(), files=(file,))


def test_the_key_of_the_mask_is_taken_where_the_job_has_a_polygon():
    x, y = ORIGIN
    polygon = [[x, y], [x + 500, y], [x, y - 500]]

    assert plan_of(raster_input(key="mask")).layers[0].key == "mask"
    with pytest.raises(DuplicateKeyError, match="mask is given 2 times"):
        plan_of(raster_input(key="mask"), extent={"polygon": polygon})


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"overlap": -1}, id="negative"),
        pytest.param({"overlap": 5000}, id="too large"),
        pytest.param({"overlap": 1.5}, id="not whole"),
        pytest.param({"balance": "speed"}, id="unknown word"),
        pytest.param({"overlapp": 1}, id="unknown name"),
        pytest.param({"extent": {"mode": "bbox", "bbox": [1, 2, 3]}}, id="three numbers"),
        pytest.param({"grid": {"resolution": 0}}, id="no pixel size"),
        pytest.param({"headroom": 0}, id="no headroom"),
    ],
)
def test_options_out_of_range_are_refused(spec):
    with pytest.raises(InvalidInputError, match="partitioning="):
        read_options(spec)
