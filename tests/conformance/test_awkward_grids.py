"""Rasters as they come: every pixel once, the same bytes for any number of nodes.

The oracle is rasterio on the whole file; warped layers are compared with one node's reading.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import rasterio
from geopod.api.plan import encode_plan
from geopod.errors import LayerAccessError, LayerCRSError, UnsupportedGridError
from geopod.layers.headers import read_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from layer_builders import (
    antimeridian_spec,
    raster_spec,
    shifted_spec,
    write_alpha,
    write_mask_band,
    write_overlapping,
    write_raster,
    write_south_up,
    write_sparse,
)
from netcdf_builders import irregular_axis, write_netcdf
from rasterio.control import GroundControlPoint
from rasterio.vrt import WarpedVRT
from staging_builders import layer_source, plan_of, stage_job

NODES = [1, 7, 64, 199]
SLOW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


def netcdf(path):
    values = np.arange(40 * 60, dtype="float32").reshape(40, 60)
    return write_netcdf(path, values, 5.05 + np.arange(60) * 0.1, 40.05 + np.arange(40) * 0.1)


NATIVE = {
    "tiled.tif": lambda path: write_raster(path, raster_spec()),
    "strips.tif": lambda path: write_raster(path, raster_spec(block=None)),
    "south.tif": lambda path: write_south_up(path, raster_spec()),
    "sparse.tif": lambda path: write_sparse(path, raster_spec()),
    "antimeridian.tif": lambda path: write_raster(path, antimeridian_spec()),
    "odd.tif": lambda path: write_raster(path, raster_spec(rows=61, cols=47)),
    "one_row.tif": lambda path: write_raster(path, raster_spec(rows=1, cols=333, block=None)),
    "big_endian.tif": lambda path: write_raster(path, raster_spec(), ENDIANNESS="BIG"),
    "bigtiff.tif": lambda path: write_raster(path, raster_spec(), BIGTIFF="YES"),
    "classic.nc": netcdf,
}


def whole_of(path):
    with rasterio.open(path) as source:
        data = source.read()
        return data[:, ::-1] if source.transform.e > 0 else data


def put_together(job, key):
    header = job.plan.layers[0].raster
    rows, cols = header.warp.shape if header.warp else header.shape
    first = job.array(0, key)
    whole = np.zeros((len(first), rows, cols), first.dtype)
    times = np.zeros((rows, cols), int)
    for part in job.plan.partitions:
        if part.core is not None:
            row, col, height, width = part.windows[key]
            whole[:, row : row + height, col : col + width] = job.core(part.index, key)
            times[row : row + height, col : col + width] += 1
    return whole, times


@pytest.mark.parametrize("nodes", NODES)
@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_every_pixel_once_and_as_rasterio_reads_it(tmp_path, name, nodes):
    path = NATIVE[name](tmp_path / name)
    key = path.stem

    job = stage_job(tmp_path, layer_source(path, crs="EPSG:4326"), nodes=nodes)

    whole, times = put_together(job, key)
    assert (times == 1).all()
    np.testing.assert_array_equal(whole, whole_of(path))


def write_placed_by_points(path):
    a, b, c, d, e, f = raster_spec(rotation=12.0).transform[:6]
    points = [
        GroundControlPoint(row=row, col=col, x=a * col + b * row + c, y=d * col + e * row + f)
        for row, col in [(0, 0), (0, 96), (64, 0), (64, 96)]
    ]
    with rasterio.open(
        path, "w", driver="GTiff", height=64, width=96, count=1, dtype="uint32"
    ) as target:
        target.write(raster_spec().values())
        target.gcps = (points, rasterio.crs.CRS.from_epsg(32616))
    return path


WARPED = {
    "rotated.tif": (lambda path: write_raster(path, raster_spec(rotation=30.0)), {}),
    "points.tif": (write_placed_by_points, {}),
    "other_crs.tif": (lambda path: write_raster(path, raster_spec()), {"crs": "EPSG:3857"}),
    "alpha.tif": (
        lambda path: write_alpha(path, raster_spec(dtype="uint8")),
        {"crs": "EPSG:3857"},
    ),
    "mask.tif": (
        lambda path: write_mask_band(path, raster_spec(dtype="uint16")),
        {"crs": "EPSG:3857"},
    ),
    "antimeridian.tif": (
        lambda path: write_raster(path, antimeridian_spec()),
        {"crs": "EPSG:3832"},
    ),
}


@pytest.mark.parametrize("nodes", [7, 64, 199])
@pytest.mark.parametrize("name", WARPED)
@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_warped_pixels_do_not_depend_on_the_number_of_nodes(tmp_path, name, nodes):
    write, options = WARPED[name]
    path = write(tmp_path / name)
    alone = stage_job(tmp_path / "alone", layer_source(path), nodes=1, **options)

    job = stage_job(tmp_path / "many", layer_source(path), nodes=nodes, **options)

    found, times = put_together(job, path.stem)
    assert (times == 1).all()
    np.testing.assert_array_equal(found, put_together(alone, path.stem)[0])
    assert np.count_nonzero(found) > 0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_control_points_place_pixels_where_gdal_places_them(tmp_path):
    path = write_placed_by_points(tmp_path / "points.tif")
    job = stage_job(tmp_path, layer_source(path), nodes=3)
    found = put_together(job, "points")[0][0]
    with rasterio.open(path) as source, WarpedVRT(source, crs="EPSG:32616") as view:
        expected = view.read(1)
        x0, y0 = view.transform.c, view.transform.f

    record = job.record(0, "points")
    pixel = record["transform"][0]
    rows, cols = np.nonzero(found)
    x = record["transform"][2] + (cols + 0.5) * pixel
    y = record["transform"][5] - (rows + 0.5) * pixel
    at_row = np.clip(((y0 - y) / 10.0).astype(int), 0, expected.shape[0] - 1)
    at_col = np.clip(((x - x0) / 10.0).astype(int), 0, expected.shape[1] - 1)
    same = expected[at_row, at_col]
    far = np.abs(found[rows, cols] // 96 - same // 96.0) > 1
    assert len(rows) > 0.9 * 64 * 96
    assert (far & (same > 0)).mean() < 0.02


@pytest.mark.parametrize("nodes", [1, 7, 64])
@pytest.mark.parametrize("crs", ["native", "EPSG:3857"])
def test_mosaic_is_one_raster_for_any_number_of_nodes(tmp_path, nodes, crs):
    hrefs = tuple(str(path) for path in write_overlapping(tmp_path))
    source = layer_source(tmp_path / "west.tif", hrefs=hrefs)
    alone = stage_job(tmp_path / "alone", source, nodes=1, crs=crs)

    job = stage_job(tmp_path / "many", source, nodes=nodes, crs=crs)

    np.testing.assert_array_equal(put_together(job, "west")[0], put_together(alone, "west")[0])


@SLOW
@given(
    across=st.integers(-5, 5),
    down=st.integers(-5, 5),
    nodes=st.sampled_from([2, 16, 199]),
    warped=st.booleans(),
)
def test_tiles_anywhere_on_a_lattice_are_read_by_who_needs_them(
    tmp_path_factory, across, down, nodes, warped
):
    folder = tmp_path_factory.mktemp("tiles")
    specs = [raster_spec(), shifted_spec(across * 480.0, down * 320.0)]
    hrefs = tuple(
        str(write_raster(folder / f"{number}.tif", spec, spec.values() + 1 + number * 10_000))
        for number, spec in enumerate(specs)
    )
    options = {"crs": "EPSG:3857"} if warped else {}
    source = layer_source(folder / "0.tif", hrefs=hrefs)

    job = stage_job(folder, source, nodes=nodes, **options)
    alone = stage_job(folder / "alone", source, nodes=1, **options)

    np.testing.assert_array_equal(put_together(job, "0")[0], put_together(alone, "0")[0])


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_plan_of_every_awkward_raster_has_the_same_bytes_twice(tmp_path):
    for name, (write, options) in WARPED.items():
        path = write(tmp_path / name)
        first, second = (plan_of(layer_source(path), nodes=16, **options) for _ in range(2))
        assert encode_plan(first) == encode_plan(second), name


def test_rows_that_are_not_evenly_apart_are_refused_with_their_spacing(tmp_path):
    values = np.zeros((20, 30))
    path = write_netcdf(tmp_path / "topo.nc", values, np.arange(30) * 0.1, irregular_axis(20))

    with pytest.raises(UnsupportedGridError) as caught:
        read_header(layer_source(path, crs="EPSG:4326"))

    assert caught.value.code == "E126"
    assert caught.value.fact.startswith("topo: irregular spacing 0.0214")
    assert caught.value.fixes == ("convert to a regular grid",)
    low, high = caught.value.details["spacing"]
    assert low < high < 0.0224


def test_netcdf_without_a_crs_says_what_to_set(tmp_path):
    with pytest.raises(LayerCRSError, match=r"set spec\.crs on Layer classic"):
        read_header(layer_source(netcdf(tmp_path / "classic.nc")))


def stac_item(name, href, date, **assets):
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "properties": {"datetime": date},
        "assets": {"data": {"href": href, "roles": ["data"]}, **assets},
        "links": [],
    }


def write_json(path, value):
    path.write_text(json.dumps(value))
    return path


def test_stac_collection_is_a_mosaic_with_the_newest_item_on_top(tmp_path):
    west, east = write_overlapping(tmp_path)
    thumbnail = {"href": "./t.png", "roles": ["thumbnail"]}
    (tmp_path / "items").mkdir()
    for name, path, date in (
        ("b", east, "2024-05-01T00:00:00Z"),
        ("a", west, "2025-01-01T00:00:00Z"),
    ):
        item = stac_item(name, f"../{path.name}", date, preview=thumbnail)
        write_json(tmp_path / "items" / f"{name}.json", item)
    collection = {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": "c",
        "links": [{"rel": "item", "href": f"./items/{name}.json"} for name in ("a", "b")],
    }
    source = layer_source(write_json(tmp_path / "collection.json", collection))

    opened = read_header(source)
    job = stage_job(tmp_path, source, nodes=3)

    assert [href.rpartition("/")[2] for href in opened.source.hrefs] == ["east.tif", "west.tif"]
    assert str(tmp_path / "collection.json") in opened.version
    newest = whole_of(west)
    found = put_together(job, "collection")[0]
    np.testing.assert_array_equal(found[:, :, :96], newest)


def test_stac_item_with_several_assets_asks_for_one_by_name(tmp_path):
    write_raster(tmp_path / "red.tif", raster_spec())
    other = {"href": "./nir.tif", "roles": ["data"]}
    item = write_json(tmp_path / "i.json", stac_item("i", "./red.tif", "2024-01-01", nir=other))

    with pytest.raises(LayerAccessError, match=r"2 assets of data \(data, nir\); name one"):
        read_header(layer_source(item))
    with pytest.raises(LayerAccessError, match="has no asset 'blue', but data, nir"):
        read_header(layer_source(item, hrefs=(f"{item}#blue",)))
    assert read_header(layer_source(item, hrefs=(f"{item}#data",))).kind == "raster"


def test_geojson_of_features_is_no_index(tmp_path):
    (tmp_path / "x.geojson").write_text('{"type": "FeatureCollection", "features": []}')

    assert read_header(layer_source(tmp_path / "x.geojson")).kind == "vector"
