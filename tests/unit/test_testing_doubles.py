"""`geopod.testing`: a user's function is called as on a node, its result comes as to a caller."""

from __future__ import annotations

import doctest
import io

import geopandas as gpd
import geopod
import numpy as np
import pytest
from geopod import codecs, testing
from geopod.errors import (
    InvalidInputError,
    NoOverlapError,
    PartitionError,
    ResultNotSerializableError,
    ResultTooLargeError,
)
from geopod.testing import call, execute, raster
from shapely.geometry import Point

ROWS, COLUMNS = 128, 96
ORIGIN = (500_000.0, 5_600_000.0)


@pytest.fixture(scope="module")
def dem():
    return raster(np.arange(ROWS * COLUMNS, dtype="float32").reshape(ROWS, COLUMNS), nodata=-1)


@pytest.fixture(scope="module")
def trees():
    spots = [(ORIGIN[0] + 90 * k + 5, ORIGIN[1] - 120 * k - 5) for k in range(10)]
    points = [Point(*spot) for spot in spots]
    return gpd.GeoDataFrame({"kind": range(10)}, geometry=points, crs="EPSG:32632")


def test_example_of_the_module_is_true():
    tried = doctest.testmod(testing)
    assert tried.attempted >= 5
    assert tried.failed == 0


def test_every_pixel_and_feature_reaches_one_node(dem, trees):
    def count(params):
        return params["dem"]["raster"].size, len(params["trees"])

    found = execute(count, {"dem": dem, "trees": trees}, nodes=4)

    assert len(found) == 4
    assert sum(pixels for pixels, _ in found) == ROWS * COLUMNS
    assert sum(features for _, features in found) == 10


def test_halo_and_band_names_are_as_on_a_node(dem):
    two = raster(np.zeros((2, ROWS, COLUMNS), "u1"), bands=("red", "nir"))

    def shapes(params):
        layer = params["two"]
        return [list(layer["raster"].shape), list(layer["bands"]), layer["core"][0].start]

    found = execute(shapes, {"two": two}, nodes=2, overlap=3)

    assert {tuple(bands) for _, bands, _ in found} == {("red", "nir")}
    assert all(start == 3 for *_, start in found)


def test_params_are_fresh_for_every_call(dem):
    def spoil(params):
        params["dem"]["raster"][:] = 0
        params["dem"]["extent"]["xMin"] += 1
        return float(params["dem"]["raster"].max())

    assert execute(spoil, {"dem": dem}) == [0.0]
    assert dem.array.max() == ROWS * COLUMNS - 1


def test_empty_partition_is_none_unless_it_is_called():
    layer = {"dem": raster(np.zeros((4, 4), "u1"))}

    assert execute(lambda params: 1, layer, nodes=40).count(None) > 0
    assert execute(lambda params: 1, layer, nodes=40, on_empty="call") == [1] * 40


def test_files_are_read_as_on_a_node():
    def text(params):
        return params["names"].read().decode()

    assert execute(text, files={"names": b"elm"}, nodes=2) == ["elm", "elm"]


def test_layer_may_be_a_file(tmp_path, dem):
    path = dem.write(tmp_path, "scene")

    assert execute(list, {"dem": path}) == [["dem"]]


def test_context_is_given_to_who_declares_it(tmp_path):
    def where(params, ctx):
        assert geopod.current_context() is ctx
        ctx.progress(0.5, "half")
        file = ctx.scratch / "out.txt"
        file.write_bytes(b"%d" % ctx.index)
        return file

    assert execute(where, nodes=2) == [b"0", b"1"]
    with pytest.raises(RuntimeError):
        geopod.current_context()


def test_coroutine_function_is_awaited():
    async def later(number):
        return number + 1

    assert call(later, 1) == 2


def test_decorated_function_is_called():
    @geopod.function(nodes=4)
    def double(number, ctx):
        return [number * 2, ctx.total]

    assert call(double, 4, total=7) == [8, 7]


@pytest.mark.parametrize(
    ("value", "expected"),
    [((1, 2), [1, 2]), ({3: None}, {"3": None}), (np.float32(0.5), 0.5), (b"ab", b"ab")],
    ids=["tuple", "number-key", "scalar", "bytes"],
)
def test_value_comes_back_as_to_a_caller(value, expected):
    assert call(lambda: value) == expected


def test_arrays_rasters_and_tables_come_back(dem, trees):
    array = np.eye(400)
    assert np.array_equal(call(lambda: array), array)
    assert call(lambda: trees).equals(trees)
    (found,) = execute(lambda params: dict(params["dem"]), {"dem": dem})
    assert isinstance(found, codecs.RasterFile)
    assert np.array_equal(found.read()["raster"], dem.array)


def test_files_come_as_handles_if_large_results_are_allowed():
    found = call(lambda: io.BytesIO(b"\x00" * (3 << 20)), large_result=True)

    assert isinstance(found, codecs.ResultFile)
    assert len(found.open().read()) == 3 << 20


def test_value_over_the_limit_is_refused_by_its_own_error():
    with pytest.raises(ResultTooLargeError) as caught:
        call(lambda: np.zeros(1 << 20), index=3, total=8)
    assert caught.value.fact.startswith("Task 3 of 8 returned 8.0 MiB (8,388,736 bytes as npy)")


def test_generator_is_no_result():
    with pytest.raises(ResultNotSerializableError, match="returned a generator"):
        call(lambda: (number for number in range(3)))


def test_exception_of_the_function_is_its_own():
    def fails(params):
        raise KeyError("nir")

    with pytest.raises(KeyError, match="nir") as caught:
        execute(fails)
    assert caught.traceback[-1].name == "fails"


def test_what_planning_refuses_is_refused_here(dem):
    far = raster(np.zeros((8, 8), "u1"), origin=(900_000.0, 5_000_000.0))

    with pytest.raises(NoOverlapError):
        execute(len, {"dem": dem, "far": far})
    with pytest.raises(PartitionError):
        execute(len, {"dem": dem}, nodes=16, overlap=40)


@pytest.mark.parametrize("layer", [None, 3, np.zeros((2, 2))], ids=["none", "number", "array"])
def test_what_is_no_layer_is_refused(layer):
    with pytest.raises(InvalidInputError, match="is no layer"):
        execute(len, {"dem": layer})


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (1, 2, 3, 4)], ids=str)
def test_array_of_another_shape_is_no_raster(shape):
    with pytest.raises(InvalidInputError, match="is no shape of a raster"):
        raster(np.zeros(shape))
