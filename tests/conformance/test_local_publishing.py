"""Results that were kept as arrays and added to a layer later, against the array that was returned.

Oracle: rasterio on the published file.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import geopod
import numpy as np
import pytest
import rasterio
from affine import Affine
from geopod.api.results import Entry
from geopod.codecs.array import load_array
from geopod.coordinator.publishing import Part, PlacedWindow, PublishRequest, publish_parts
from geopod.errors import GeopodError, InconsistentPartsError, NotAFileResultError
from layer_builders import (
    raster_spec,
    scene_polygons,
    write_raster,
    write_south_up,
    write_with_nodata,
)

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
        pytest.param(lambda array: array.astype("S5"), id="text"),
        pytest.param(lambda array: array[:0], id="no bands"),
    ],
)
def test_array_that_is_no_raster_is_refused_by_name(tmp_path, geopod_home, convert):
    source = write_raster(tmp_path / "a.tif", raster_spec(dtype="int64", **SPEC))

    with pytest.raises(GeopodError, match="The parts are no GeoTIFF: "):
        add_later(source, convert)


def published(folder, *files, kind="raster"):
    """What a layer consists of to which each node added a file, or an array with its window."""
    parts = []
    for node, (path, codec, windows) in enumerate(files):
        meta = {"mediaType": "image/tiff"}
        if codec == "npy":
            array = load_array(path)
            meta = {"shape": list(array.shape), "dtype": array.dtype.str}
        size = path.stat().st_size
        entry = Entry(codec=codec, sha256=f"{codec} {path.name}", bytes=size, meta=meta)
        parts.append(Part(node=node, entry=entry, path=str(path), windows=windows))
    request = PublishRequest(
        folder=str(folder / "layer"),
        path_id="made",
        timestamp="now",
        kind=kind,
        format="tif" if kind == "raster" else "parquet",
        parts=tuple(parts),
        run="run",
        function_sha256="f" * 64,
        created="2024-05-01T10:00:00Z",
    )
    with tempfile.TemporaryDirectory(dir=folder) as work:
        return publish_parts(request, Path(work))


def a_window(left, **changes):
    usual = {
        "key": "dem",
        "core": (0, 0, 8, 8),
        "padded": (0, 0, 8, 8),
        "crs": "EPSG:32616",
        "transform": (10.0, 0.0, left, 0.0, -10.0, 4_000_000.0),
        "dtype": "uint8",
    }
    return PlacedWindow(**{**usual, **changes})


def test_equal_arrays_of_two_places_are_two_results(tmp_path):
    """Masks are often 0 everywhere; the second one was taken for the first one published again."""
    array = tmp_path / "zeros.npy"
    np.save(array, np.zeros((1, 8, 8), "uint8"))
    west, east = 500_000.0, 500_080.0

    answers = [
        published(tmp_path, (array, "npy", (a_window(left),))) for left in (west, east, west)
    ]

    assert [answer["revision"] for answer in answers] == [1, 2, 2]
    assert [rasterio.open(path).bounds.left for path in answers[2]["files"]] == [west, east]


@pytest.mark.parametrize("codec", ["geotiff", "bytes"])
def test_rasters_whose_first_row_is_the_southern_one_are_turned(tmp_path, codec):
    """As arrays of NetCDF often come; the first part decides nothing about the others."""
    spec = raster_spec(rows=700, cols=9)
    files = [
        write_raster(tmp_path / "0.tif", replace(spec, rows=300)),
        write_south_up(
            tmp_path / "1.tif", replace(spec, rows=400, origin=(500_000.0, 3_997_000.0))
        ),
    ]

    for order in (files, files[::-1]):
        folder = tmp_path / f"from {order[0].stem}"
        folder.mkdir()
        (path,) = published(folder, *((file, codec, ()) for file in order))["files"]

        with rasterio.open(path) as source, rasterio.open(files[0]) as north:
            assert source.bounds == spec.bounds
            assert np.array_equal(source.read()[:, :300], north.read())
            assert np.array_equal(source.read()[:, 300:], replace(spec, rows=400).values())


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"crs": None}, "Of what node 0 returned: the raster has no CRS"),
        ({"transform": None}, "Of what node 0 returned: the raster: no transform"),
        (
            {"transform": Affine(0.0, 10.0, 0.0, 4e6, 0.0, -10.0)},
            r"node 0 is rotated: .*\(0\.0, 10",
        ),
    ],
)
def test_raster_without_a_place_is_told_by_its_node(tmp_path, changes, words):
    path = write_raster(tmp_path / "0.tif", raster_spec(), **changes)

    with pytest.raises(InconsistentPartsError, match=words):
        published(tmp_path, (path, "bytes", ()))


def test_features_that_no_layer_can_have_are_told_by_their_node(tmp_path):
    path = tmp_path / "0.parquet"
    scene_polygons(9).to_parquet(path, geometry_encoding="geoarrow")

    with pytest.raises(NotAFileResultError, match=r"node 0 returned .* which no layer can have"):
        published(tmp_path, (path, "bytes", ()), kind="vector")
