"""What headers say of rasters and vectors, and what is refused before any node is started."""

from __future__ import annotations

import contextlib
import math
import os
import sqlite3
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
import rasterio.shutil
import shapely
from affine import Affine
from geopod.errors import (
    LayerAccessError,
    LayerCRSError,
    UnknownBandError,
    UnsupportedGridError,
)
from geopod.layers.headers import read_header
from layer_builders import (
    raster_spec,
    scene_polygons,
    shifted_spec,
    with_null_and_empty,
    write_alpha,
    write_mask_band,
    write_overlapping,
    write_raster,
    write_south_up,
    write_sparse,
    write_vector_formats,
    write_with_nodata,
)
from rasterio.control import GroundControlPoint
from rasterio.rpc import RPC
from staging_builders import layer_source, stage_job


def test_raster_header_agrees_with_rasterio(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(bands=3, dtype="int16", nodata=-5))

    header = read_header(layer_source(path)).raster.header

    with rasterio.open(path) as oracle:
        assert header.transform == tuple(oracle.transform)[:6]
        assert header.shape == oracle.shape
        assert header.dtype == oracle.dtypes[0]
        assert header.nodata == oracle.nodata
        assert header.block_shape == oracle.block_shapes[0]
        assert header.crs == oracle.crs.to_string()
    assert header.bands == ("1", "2", "3")
    assert header.band_indexes == (1, 2, 3)
    assert header.mask == "nodata"


@pytest.mark.parametrize(
    ("asked", "indexes"),
    [
        pytest.param(("nir",), (2,), id="by name"),
        pytest.param((2, "red"), (2, 1), id="by number and name, in the order asked"),
        pytest.param(("2",), (2,), id="number as text"),
        pytest.param((), (1, 2), id="all"),
    ],
)
def test_bands_are_chosen_by_name_or_number(tmp_path, asked, indexes):
    path = write_raster(tmp_path / "dem.tif", raster_spec(bands=2))
    with rasterio.open(path, "r+") as target:
        target.descriptions = ("red", "nir")

    assert read_header(layer_source(path, bands=asked)).raster.header.band_indexes == indexes


@pytest.mark.parametrize("asked", [pytest.param("swir", id="name"), pytest.param(0, id="zero")])
def test_unknown_band_is_named(tmp_path, asked):
    path = write_raster(tmp_path / "dem.tif", raster_spec(bands=2))

    with pytest.raises(UnknownBandError) as caught:
        read_header(layer_source(path, bands=(asked,)))

    assert caught.value.fact == f"dem has 2 bands 1, 2; {asked} is not one of them."


def test_raster_without_crs_is_refused_unless_the_layer_names_one(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(crs=None))

    with pytest.raises(LayerCRSError, match="dem has no CRS") as caught:
        read_header(layer_source(path))
    assert caught.value.details["reason"] == "MissingCRS"
    assert read_header(layer_source(path, crs="EPSG:32616")).raster.header.crs == "EPSG:32616"


@pytest.mark.parametrize(
    "crs",
    [
        pytest.param("EPSG:999999", id="no such entry"),
        pytest.param('LOCAL_CS["site",UNIT["metre",1]]', id="site plan"),
    ],
)
def test_crs_that_proj_cannot_use_is_refused(tmp_path, crs):
    path = write_raster(tmp_path / "dem.tif", raster_spec(crs=None))

    with pytest.raises(LayerCRSError) as caught:
        read_header(layer_source(path, crs=crs))
    assert caught.value.details["reason"] == "UnsupportedCRS"


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_raster_without_transform_is_refused(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(), transform=None)

    with pytest.raises(UnsupportedGridError) as caught:
        read_header(layer_source(path))
    assert caught.value.fact == "dem: no transform."


def test_rotated_raster_keeps_its_transform(tmp_path):
    spec = raster_spec(rotation=20.0)
    path = write_raster(tmp_path / "dem.tif", spec)

    opened = read_header(layer_source(path)).raster

    assert opened.header.transform == pytest.approx(tuple(spec.transform)[:6])
    assert opened.is_rectified


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_control_points_give_a_fitted_transform(tmp_path):
    spec = raster_spec()
    points = [
        GroundControlPoint(row=row, col=col, x=spec.transform.c + col * 10, y=4_000_000 - row * 10)
        for row in (0, 64)
        for col in (0, 96)
    ]
    path = tmp_path / "dem.tif"
    write_raster(path, spec, transform=None, crs=None)
    with rasterio.open(path, "r+") as target:
        target.gcps = (points, rasterio.CRS.from_epsg(32616))

    opened = read_header(layer_source(path)).raster

    assert not opened.is_rectified
    assert opened.header.transform == pytest.approx(tuple(spec.transform)[:6])


def placed_by_points(path, *places):
    """Write a raster whose control points (row, col, x, y) are all that places it."""
    write_raster(path, raster_spec(), transform=None, crs=None)
    points = [GroundControlPoint(row, col, x, y) for row, col, x, y in places]
    with rasterio.open(path, "r+") as target:
        target.gcps = (points, rasterio.CRS.from_epsg(32616))
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "places",
    [
        pytest.param([(0, 0, 5e5, 4e6)], id="one"),
        pytest.param([(0, 0, 5e5, 4e6)] * 4, id="one place"),
        pytest.param([(0, 0, 5e5, 4e6), (0, 96, 500_960, 4e6)], id="two of a row"),
        pytest.param([(n, n, 5e5 + 10 * n, 4e6 - 10 * n) for n in (0, 20, 64)], id="a diagonal"),
        pytest.param(
            [(0, 0, 5e5, 4e6), (0, 96, 5e5, 4e6), (64, 0, 5e5, 4e6)], id="all at one coordinate"
        ),
        pytest.param([(0, 0, math.inf, 4e6), (0, 96, 5e5, 4e6), (64, 0, 5e5, 3e6)], id="infinite"),
    ],
)
def test_control_points_that_span_no_area_are_refused(tmp_path, places):
    """GDAL fits nothing to them, of which rasterio 1.4 returns whatever its memory held."""
    path = placed_by_points(tmp_path / "a.tif", *places)

    with pytest.raises(
        UnsupportedGridError, match=rf"points \({len(places)}\) do not span an area"
    ):
        read_header(layer_source(path))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_two_corners_place_a_raster(tmp_path):
    path = placed_by_points(tmp_path / "a.tif", (0, 0, 5e5, 4e6), (64, 96, 500_960, 3_999_360))

    header = read_header(layer_source(path)).raster.header

    assert header.transform == pytest.approx(tuple(raster_spec().transform)[:6])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(
    "changes",
    [{"samp_num_coeff": [0.0] * 20}, {"line_den_coeff": [0.0] * 20}, {"lat_scale": 0.0}],
    ids=lambda changes: next(iter(changes)),
)
def test_rational_polynomials_that_place_nothing_are_refused(tmp_path, changes):
    path = write_raster(tmp_path / "a.tif", raster_spec(), transform=None, crs=None)
    ones = dict.fromkeys(("height", "lat", "line", "long", "samp"), 1.0)
    scales = {f"{name}_scale": value for name, value in ones.items()}
    terms = {
        "line_num_coeff": [0.0, 0.0, -1.0, *[0.0] * 17],
        "samp_num_coeff": [0.0, 1.0, *[0.0] * 18],
        **{f"{name}_den_coeff": [1.0, *[0.0] * 19] for name in ("line", "samp")},
    }
    offsets = {f"{name}_off": value for name, value in ones.items()}
    rpcs = RPC(**{**offsets, **scales, **terms, **changes, "err_bias": None, "err_rand": None})
    with rasterio.open(path, "r+") as target:
        target.rpcs = rpcs

    with pytest.raises(UnsupportedGridError, match="a: no transform"):
        read_header(layer_source(path))


def test_complex_integers_are_read_as_complex_numbers(tmp_path):
    """GDAL's CInt16, as radar has it, is a type that numpy has not."""
    pixels = (np.arange(6.0) * (1 + 2j)).astype("complex64").reshape(1, 2, 3)
    path = tmp_path / "radar.tif"
    spec = raster_spec()
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=2,
        width=3,
        count=1,
        dtype="complex_int16",
        crs=spec.crs,
        transform=spec.transform,
    ) as target:
        target.write(pixels)

    job = stage_job(tmp_path, layer_source(path), nodes=1)

    np.testing.assert_array_equal(job.core(0, "radar"), pixels)


def test_south_up_raster_is_described_north_up(tmp_path):
    spec = raster_spec()

    opened = read_header(layer_source(write_south_up(tmp_path / "dem.tif", spec))).raster

    assert opened.header.south_up
    assert opened.header.transform == tuple(spec.transform)[:6]
    assert opened.bounds == spec.bounds


def test_alpha_band_is_a_mask_and_no_band(tmp_path):
    header = read_header(layer_source(write_alpha(tmp_path / "a.tif", raster_spec()))).raster.header

    assert (header.mask, header.band_indexes) == ("alpha", (1,))


def test_mask_band_is_seen(tmp_path):
    path = write_mask_band(tmp_path / "m.tif", raster_spec())

    assert read_header(layer_source(path)).raster.header.mask == "perDataset"


def test_sparse_raster_tells_which_blocks_hold_bytes(tmp_path):
    opened = read_header(layer_source(write_sparse(tmp_path / "s.tif", raster_spec()))).raster

    assert opened.written.shape == (4, 6)
    assert opened.written.tolist() == [[True] * 3 + [False] * 3] * 4


@pytest.mark.parametrize(
    ("dtype", "nodata", "planned"),
    [
        pytest.param("float32", math.nan, "nan", id="NaN as text"),
        pytest.param("uint8", 255, 255, id="integer"),
        pytest.param("float32", -9999.0, -9999.0, id="float"),
    ],
)
def test_nodata_is_a_value_of_the_type(tmp_path, dtype, nodata, planned):
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype=dtype, nodata=nodata))

    assert read_header(layer_source(path)).raster.header.nodata == planned


@pytest.mark.parametrize(
    ("dtype", "nodata"),
    [("int64", 2**63 - 1), ("int64", -(2**63)), ("int64", 2**53 + 1), ("uint64", 2**64 - 1)],
)
def test_nodata_of_64_bits_is_exact(tmp_path, dtype, nodata):
    path = write_with_nodata(tmp_path / "dem.tif", raster_spec(dtype=dtype, bands=2), nodata)

    header = read_header(layer_source(path, bands=(2,))).raster.header

    assert header.nodata == nodata
    assert type(header.nodata) is int


def test_nodata_of_the_layer_fills_in_where_the_file_has_none(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="uint8"))

    assert read_header(layer_source(path, nodata=7)).raster.header.nodata == 7
    assert read_header(layer_source(path, nodata=-9999)).raster.header.nodata is None


def test_mosaic_has_the_grid_that_holds_its_files(tmp_path):
    west, east = write_overlapping(tmp_path)

    header = read_header(layer_source(west, hrefs=(str(east), str(west)))).raster.header

    assert header.shape == (64, 96 + 32)
    assert header.transform == tuple(raster_spec().transform)[:6]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        pytest.param(shifted_spec(3.0, 0.0), "0.3 px off the grid of file 0", id="shifted"),
        pytest.param(raster_spec(pixel=20.0), "off the grid of file 0", id="other pixel"),
        pytest.param(raster_spec(crs="EPSG:32617"), "different CRS", id="other CRS"),
        pytest.param(raster_spec(dtype="int16"), "different data type", id="other type"),
        pytest.param(raster_spec(bands=2), "different band count", id="other bands"),
        pytest.param(raster_spec(rotation=5.0), "is rotated", id="rotated"),
    ],
)
def test_files_that_are_no_mosaic_are_refused(tmp_path, spec, words):
    first = write_raster(tmp_path / "first.tif", raster_spec())
    other = write_raster(tmp_path / "other.tif", spec)

    with pytest.raises(UnsupportedGridError, match=words):
        read_header(layer_source(first, hrefs=(str(first), str(other))))


def test_raster_given_as_vector_is_refused(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())

    with pytest.raises(LayerAccessError, match="is GTiff, not a vector"):
        read_header(layer_source(path, kind="vector"))


def test_broken_raster_is_told_with_gdals_words(tmp_path):
    path = tmp_path / "dem.tif"
    path.write_bytes(b"II*\x00" + b"\xff" * 40)

    with pytest.raises(LayerAccessError, match="cannot be read"):
        read_header(layer_source(path))


def test_every_vector_format_tells_the_same_boxes(tmp_path):
    frame = with_null_and_empty(scene_polygons(50))
    expected = frame.geometry.bounds.to_numpy()[:50]

    for name, path in write_vector_formats(tmp_path, frame).items():
        vector = read_header(layer_source(path, key=name)).vector
        assert (vector.header.feature_count, vector.empty_geometries) == (53, 3), name
        # GeoJSON keeps seven decimals of the coordinates.
        assert vector.boxes == pytest.approx(expected, abs=1e-6), name
        assert vector.header.crs == frame.crs.to_string(), name
        assert "id" in vector.header.columns


def test_exact_points_come_with_every_format_but_the_covering(tmp_path):
    frame = scene_polygons(50)
    surface = frame.representative_point()

    for name, path in write_vector_formats(tmp_path, frame).items():
        points = read_header(layer_source(path, key=name)).vector.points
        if name == "parquet":
            assert points is None
        else:
            # FlatGeobuf stores rows along a Hilbert curve.
            assert np.sort(points[:, 0]) == pytest.approx(np.sort(surface.x), abs=1e-6), name


def test_file_of_several_layers_is_refused(tmp_path):
    path = tmp_path / "many.gpkg"
    for layer in ("roads", "rivers"):
        scene_polygons(3).to_file(path, layer=layer, driver="GPKG", engine="pyogrio")

    with pytest.raises(LayerAccessError, match=r"has 2 layers \(roads, rivers\), not one"):
        read_header(layer_source(path))


def test_vector_without_crs_tells_its_bounds(tmp_path):
    frame = scene_polygons(20).set_crs(None, allow_override=True)
    path = tmp_path / "f.parquet"
    frame.to_parquet(path)

    with pytest.raises(LayerCRSError, match=r"f has no CRS \(bounds \(5000"):
        read_header(layer_source(path))


def test_parquet_without_geometry_is_refused(tmp_path):
    path = tmp_path / "table.parquet"
    scene_polygons(3).drop(columns="geometry").to_parquet(path)

    with pytest.raises(LayerAccessError, match="is not GeoParquet"):
        read_header(layer_source(path))


@pytest.mark.parametrize("name", ["curve", "curvepolygon", "multisurface", "line_zm"])
def test_curves_and_measures_are_read_as_straight_lines(name):
    path = pyogrio.__path__[0] + f"/tests/fixtures/{name}.gpkg"
    with np.errstate(all="raise"):
        vector = read_header(layer_source(Path(path))).vector

    assert len(vector.boxes) == vector.header.feature_count == 1
    assert np.isfinite(vector.points).all()
    assert vector.linearised == (0 if name == "line_zm" else 1)


@pytest.mark.parametrize(
    ("driver", "name", "cut", "left"),
    [
        ("FlatGeobuf", "a.fgb", ".fgb", 0.1),
        ("ESRI Shapefile", "a.shp", ".shp", 0.1),
        ("ESRI Shapefile", "a.shp", ".shx", 0.1),
        ("ESRI Shapefile", "a.shp", ".dbf", 0.1),
        ("ESRI Shapefile", "a.shp", ".dbf", 0.0),
    ],
)
def test_features_that_are_cut_off_are_refused(tmp_path, driver, name, cut, left):
    path = tmp_path / name
    scene_polygons(2000).to_file(path, driver=driver)
    read_header(layer_source(path))
    os.truncate(path.with_suffix(cut), int(path.with_suffix(cut).stat().st_size * left))

    with pytest.raises(LayerAccessError, match="is cut off"):
        read_header(layer_source(path))


def store_geometry(path, blob, *, row):
    """Put something else where a row of a GeoPackage has its geometry; its index is left alone."""
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        names = base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            base.execute(f'DROP TRIGGER "{name}"')
        base.execute("UPDATE fields SET geom = ? WHERE fid = ?", (blob, row))


GPKG_HEAD = b"GP\x00\x01" + (32616).to_bytes(4, "little")


ONE_ROW = "1 rows, the first is 7"


@pytest.mark.parametrize(
    ("blob", "words"),
    [
        pytest.param(b"rubbish", ONE_ROW, id="bytes"),
        pytest.param("POINT (1 1)", ONE_ROW, id="text"),
        pytest.param(5, ONE_ROW, id="number"),
        pytest.param(GPKG_HEAD, ONE_ROW, id="head alone"),
        pytest.param(shapely.to_wkb(shapely.Point(1, 1)), ONE_ROW, id="without head"),
        pytest.param(GPKG_HEAD + b"\1\x63\0\0\0", "Unsupported WKB type 99", id="no such type"),
    ],
)
def test_rubbish_for_a_geometry_is_refused_and_not_taken_for_none(tmp_path, blob, words):
    path = tmp_path / "fields.gpkg"
    scene_polygons(20).to_file(path, driver="GPKG", engine="pyogrio")
    store_geometry(path, blob, row=7)

    with pytest.raises(LayerAccessError, match=f"has geometries that are none: {words}"):
        read_header(layer_source(path))


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(None, id="null"),
        pytest.param(b"", id="no bytes"),
        pytest.param(
            b"GP\x00\x11" + GPKG_HEAD[4:] + shapely.to_wkb(shapely.Polygon()), id="empty polygon"
        ),
    ],
)
def test_rows_without_geometry_are_counted(tmp_path, blob):
    path = tmp_path / "fields.gpkg"
    scene_polygons(20).to_file(path, driver="GPKG", engine="pyogrio")
    store_geometry(path, blob, row=7)

    vector = read_header(layer_source(path)).vector

    assert (vector.empty_geometries, len(vector.boxes)) == (1, 19)


@pytest.mark.parametrize(("driver", "name"), [("ENVI", "a.img"), ("netCDF", "a.nc")])
def test_pixels_that_are_cut_off_are_refused(tmp_path, driver, name):
    whole = write_raster(tmp_path / "whole.tif", raster_spec(dtype="int16"))
    path = tmp_path / name
    rasterio.shutil.copy(str(whole), str(path), driver=driver)
    read_header(layer_source(path, crs="EPSG:32616"))
    os.truncate(path, path.stat().st_size * 2 // 3)

    with pytest.raises(LayerAccessError, match=r"its pixels take 12,288 bytes, it has [\d,]+"):
        read_header(layer_source(path, crs="EPSG:32616"))


@pytest.mark.parametrize(
    "transform",
    [
        pytest.param((math.nan, 0, 5e5, 0, -10, 4e6), id="NaN"),
        pytest.param((10, 0, math.inf, 0, -10, 4e6), id="infinite"),
        pytest.param((10, 0, 5e5, 0, 0, 4e6), id="no height"),
        pytest.param((10, 10, 5e5, 10, 10, 4e6), id="a line"),
    ],
)
def test_pixels_without_an_area_are_refused(tmp_path, transform):
    path = write_raster(tmp_path / "a.tif", raster_spec(dtype="uint8"))
    with rasterio.open(path, "r+") as file:
        file.transform = Affine(*transform)

    with pytest.raises(UnsupportedGridError, match="a: no transform that gives pixels an area: "):
        read_header(layer_source(path))


@pytest.mark.parametrize("name", ["LOCALGRID", "NAMESPACE"], ids=["of its CRS", "of a domain"])
def test_header_with_a_name_that_is_no_text_is_refused(tmp_path, name):
    """Errors of rasterio that are not its own would end the planner."""
    path = write_raster(tmp_path / "a.tif", raster_spec(dtype="uint8"))
    local = 'PROJCS["LOCALGRID",GEOGCS["g",DATUM["d",SPHEROID["s",6378137,298]],PRIMEM["p",0],'
    local += 'UNIT["degree",0.0174532925]],PROJECTION["Transverse_Mercator"],UNIT["metre",1]]'
    with rasterio.open(path, "r+") as target:
        target.crs = rasterio.CRS.from_wkt(local)
        target.update_tags(ns="NAMESPACE", a="b")
    path.write_bytes(path.read_bytes().replace(name.encode(), b"\xb5" * 9))

    with pytest.raises(LayerAccessError, match="Layer 'a' cannot be read: 'utf-8' codec") as caught:
        read_header(layer_source(path))

    assert caught.value.details["href"] == str(path)
