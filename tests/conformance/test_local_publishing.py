"""Results that were kept as arrays and added to a layer later, against the array that was returned.

Oracle: rasterio on the published file.
"""

from __future__ import annotations

import geopod
import numpy as np
import pytest
import rasterio
from geopod.api.results import Entry
from geopod.coordinator.publishing import Part, PlacedWindow, PublishRequest, publish_parts
from geopod.errors import GeopodError, InconsistentPartsError
from layer_builders import raster_spec, write_raster, write_with_nodata

SPEC = {"rows": 20, "cols": 30}


def add_later(source, convert):
    """What the layer has in which the results of `convert` on each node's pixels end."""
    with geopod.connect("local") as client:
        client.add_layer("pixels", source, type="raster")
        client.add_layer("made", type="raster")
        with client.environment(layers=[("pixels", source.stem)], nodes=2) as env:
            run = env.submit(lambda params: convert(params[source.stem]["raster"]))
            run.results()
            (path,) = run.add_to_layer(("made", "now")).files("now")
    with rasterio.open(path) as published:
        return published.read(), published.nodata


@pytest.mark.parametrize(
    ("dtype", "nodata", "returned", "expected"),
    [
        pytest.param("int16", -9999, "int16", -9999, id="same type"),
        pytest.param("int16", -9999, "uint8", None, id="a type that lacks it"),
        pytest.param("int16", 7, "float32", None, id="a type whose pixels it is not said of"),
        pytest.param("float32", float("nan"), "float32", float("nan"), id="nan"),
        pytest.param("int64", 2**53, "int64", 2**53, id="largest of 64 bits"),
    ],
)
def test_nodata_of_the_layer_is_kept_for_its_own_type(
    tmp_path, geopod_home, dtype, nodata, returned, expected
):
    spec = raster_spec(dtype=dtype, nodata=nodata, **SPEC)
    source = write_raster(tmp_path / "a.tif", spec)

    pixels, found = add_later(source, lambda array: array.astype(returned))

    np.testing.assert_array_equal(pixels, spec.values().astype(returned))
    assert np.array_equal(found, expected, equal_nan=expected is not None)


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("int64", 2**53 + 1), ("int64", -(2**63)), ("uint64", 2**64 - 1)]
)
def test_nodata_that_would_be_rounded_is_refused_with_all_its_digits(
    tmp_path, geopod_home, dtype, nodata
):
    source = write_with_nodata(tmp_path / "a.tif", raster_spec(dtype=dtype, **SPEC), nodata)

    with pytest.raises(InconsistentPartsError, match=f"nodata {nodata} of {dtype} is beyond"):
        add_later(source, lambda array: array)


def test_whole_numbers_of_64_bits_are_equal(tmp_path, geopod_home):
    edges = np.array([2**63 - 1, -(2**63), 2**53 + 1, -(2**53) - 1, 0])
    source = write_raster(tmp_path / "a.tif", raster_spec(dtype="int64", **SPEC))

    pixels, _ = add_later(source, lambda array: edges[array % 5])

    np.testing.assert_array_equal(pixels, edges[raster_spec(**SPEC).values() % 5])


@pytest.mark.parametrize(
    "convert",
    [
        pytest.param(lambda array: array.astype("M8[s]"), id="dates"),
        pytest.param(lambda array: array[:0], id="no bands"),
    ],
)
def test_array_that_is_no_raster_is_refused_by_name(tmp_path, geopod_home, convert):
    source = write_raster(tmp_path / "a.tif", raster_spec(dtype="int64", **SPEC))

    with pytest.raises(GeopodError, match="The parts are no GeoTIFF: "):
        add_later(source, convert)


def test_equal_arrays_of_two_places_are_two_results(tmp_path):
    """Masks are often 0 everywhere; the second one was taken for the first one published again."""
    array = tmp_path / "zeros.npy"
    np.save(array, np.zeros((1, 8, 8), "uint8"))
    entry = Entry(
        codec="npy",
        sha256="a",
        bytes=array.stat().st_size,
        meta={"shape": [1, 8, 8], "dtype": "|u1"},
    )

    def add(left):
        window = PlacedWindow(
            key="dem",
            core=(0, 0, 8, 8),
            padded=(0, 0, 8, 8),
            crs="EPSG:32616",
            transform=(10.0, 0.0, left, 0.0, -10.0, 4_000_000.0),
            dtype="uint8",
        )
        request = PublishRequest(
            folder=str(tmp_path / "layer"),
            path_id="mask",
            timestamp="now",
            kind="raster",
            format="tif",
            parts=(Part(node=0, entry=entry, path=str(array), windows=(window,)),),
            run="run",
            function_sha256="f" * 64,
            created="2024-05-01T10:00:00Z",
        )
        work = tmp_path / f"work-{len(list(tmp_path.iterdir()))}"
        work.mkdir()
        return publish_parts(request, work)

    west, east = 500_000.0, 500_080.0
    assert [add(left)["revision"] for left in (west, east, west)] == [1, 2, 2]
    lefts = [rasterio.open(path).bounds.left for path in add(east)["files"]]
    assert lefts == [west, east]
