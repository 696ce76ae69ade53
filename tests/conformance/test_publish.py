"""Results become layers: one COG equal to the whole-raster computation, one vector dataset."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from hashlib import sha256

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pystac
import pytest
import rasterio
import shapely
from geopod.errors import InconsistentPartsError, ShapeMismatchError, UnsupportedGridError
from geopod.layers.headers import read_header
from geopod.layers.publish import (
    Lineage,
    Publication,
    RasterGrid,
    RasterPart,
    VectorPart,
    assemble_raster,
    publish,
    read_revision,
    write_vector,
)
from geopod.layers.publish_rasters import is_cog
from geopod.layers.stac import build_item
from layer_builders import (
    raster_spec,
    scene_polygons,
    shifted_spec,
    write_alpha,
    write_mask_band,
    write_raster,
)
from matplotlib import cbook
from pystac.validation.stac_validator import JsonSchemaSTACValidator
from staging_builders import layer_source, stage_job

LINEAGE = Lineage(run="run-1", function_sha256="f" * 64, created="2024-05-01T10:00:00Z")


def save_npy(path, array):
    with path.open("wb") as file:
        np.lib.format.write_array(file, array, allow_pickle=False)
    return path


def parts_of(job, key, folder, function):
    """Write what `function` returns for each partition's padded array, as an agent would."""
    parts = []
    for partition in job.plan.partitions:
        if partition.core is not None:
            path = folder / f"result-{partition.index}.npy"
            save_npy(path, function(job.array(partition.index, key)))
            window, padded = partition.windows[key], partition.padded[key]
            part = RasterPart(node=partition.index, path=path, core=window, padded=padded)
            parts.append(part)
    return parts


def grid_of(job, **changes):
    header = job.plan.layers[0].raster
    return RasterGrid(crs=header.crs, transform=header.transform, **changes)


@pytest.fixture(scope="module")
def real_elevation():
    """The SRTM model in matplotlib; its ymin and ymax are swapped, row 0 is north."""
    return cbook.get_sample_data("jacksboro_fault_dem.npz")


def write_real_elevation(path, sample):
    step = 1 / 1200
    spec = raster_spec(
        rows=344,
        cols=403,
        pixel=step,
        origin=(float(sample["xmin"]), float(sample["ymin"])),
        crs="EPSG:4326",
        dtype="int16",
        block=128,
    )
    return write_raster(path, spec, sample["elevation"][np.newaxis])


def hillshade(array):
    """Shade of the inner pixels under a sun in the north-west, 45 degrees high (Horn 1981)."""
    z = array[0].astype("float64")
    east = (
        z[:-2, 2:] + 2 * z[1:-1, 2:] + z[2:, 2:] - z[:-2, :-2] - 2 * z[1:-1, :-2] - z[2:, :-2]
    ) / 720
    south = (
        z[2:, :-2] + 2 * z[2:, 1:-1] + z[2:, 2:] - z[:-2, :-2] - 2 * z[:-2, 1:-1] - z[:-2, 2:]
    ) / 720
    slope = np.arctan(np.hypot(east, south))
    aspect = np.arctan2(south, -east)
    light = np.sqrt(0.5) * (np.cos(slope) + np.sin(slope) * np.cos(np.radians(135) - aspect))
    return np.clip(255 * light, 0, 255).astype("uint8")


@pytest.mark.parametrize("nodes", [1, 4, 7])
def test_hillshade_with_overlap_equals_the_whole_raster(tmp_path, real_elevation, nodes):
    path = write_real_elevation(tmp_path / "dem.tif", real_elevation)
    job = stage_job(tmp_path, layer_source(path), nodes=nodes, overlap=1)
    parts = parts_of(job, "dem", tmp_path, hillshade)
    expected = hillshade(np.pad(real_elevation["elevation"], 1)[np.newaxis])

    target = assemble_raster(parts, grid_of(job, bands=("shade",)), tmp_path / "shade.tif")

    with rasterio.open(target) as source, rasterio.open(path) as original:
        assert np.array_equal(source.read(1), expected)
        assert source.transform == original.transform
        assert source.crs == original.crs
        assert source.descriptions == ("shade",)
        assert source.block_shapes == [(512, 512)]
    assert is_cog(target)


def test_padded_arrays_are_trimmed_to_their_core(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype="uint16"))
    job = stage_job(tmp_path, layer_source(path), nodes=6, overlap=3)

    target = assemble_raster(
        parts_of(job, "dem", tmp_path, lambda array: array + 1), grid_of(job), tmp_path / "o.tif"
    )

    with rasterio.open(target) as source:
        assert np.array_equal(source.read(), raster_spec(dtype="uint16").values() + 1)


def test_assembly_does_not_depend_on_the_number_of_nodes(tmp_path):
    path = write_raster(
        tmp_path / "dem.tif", raster_spec(rows=700, cols=900, dtype="float32", block=256)
    )
    digests = set()
    for nodes in (1, 3, 16):
        folder = tmp_path / str(nodes)
        folder.mkdir()
        job = stage_job(folder, layer_source(path), nodes=nodes)
        parts = parts_of(job, "dem", folder, lambda array: array * 2)
        target = assemble_raster(parts, grid_of(job, nodata=-1.0), folder / "out.tif")
        digests.add(sha256(target.read_bytes()).hexdigest())
        assert is_cog(target)
        with rasterio.open(target) as source:
            assert source.nodata == -1.0
            assert source.overviews(1)

    assert len(digests) == 1


def test_geotiff_parts_say_themselves_where_they_lie(tmp_path):
    whole = raster_spec(dtype="int16")
    parts = []
    for node, (row, rows) in enumerate([(40, 24), (0, 40)]):
        spec = raster_spec(rows=rows, dtype="int16", origin=(500_000.0, 4_000_000.0 - row * 10))
        values = whole.values()[:, row : row + rows]
        parts.append(
            RasterPart(node=node, path=write_raster(tmp_path / f"{node}.tif", spec, values))
        )
    grid = RasterGrid(crs=whole.crs, transform=tuple(whole.transform)[:6])

    target = assemble_raster(parts, grid, tmp_path / "o.tif")

    with rasterio.open(target) as source:
        assert np.array_equal(source.read(), whole.values())
        assert source.bounds == whole.bounds


def a_part(folder, node, window, dtype="int16", bands=1):
    path = save_npy(folder / f"{node}.npy", np.ones((bands, *window[2:]), dtype))
    return RasterPart(node=node, path=path, core=window)


GRID = RasterGrid(crs="EPSG:32616", transform=(10.0, 0.0, 500_000.0, 0.0, -10.0, 4_000_000.0))


@pytest.mark.parametrize(
    ("second", "words"),
    [
        pytest.param({"dtype": "float32"}, "1 of 2 parts differ: node 1 has", id="dtype"),
        pytest.param({"bands": 2}, "1 of 2 parts differ: node 1 has", id="bands"),
        pytest.param({"window": (0, 5, 10, 10)}, "nodes 0 and 1 overlap", id="overlap"),
        pytest.param({"window": (10, 10, 10, 10)}, "cover 200 of 400 pixels", id="holes"),
    ],
)
def test_parts_that_are_no_layer_are_refused_before_anything_is_written(tmp_path, second, words):
    parts = [
        a_part(tmp_path, 0, (0, 0, 10, 10)),
        a_part(tmp_path, 1, **{"window": (0, 10, 10, 10), **second}),
    ]

    with pytest.raises(InconsistentPartsError, match=words) as caught:
        assemble_raster(parts, GRID, tmp_path / "o.tif")

    assert caught.value.code == "E312"
    assert not list(tmp_path.glob("*.tif"))


def test_nodata_that_would_be_written_as_another_is_refused(tmp_path):
    grid = RasterGrid(crs=GRID.crs, transform=GRID.transform, nodata=-(2**63))

    with pytest.raises(InconsistentPartsError, match="nodata -9223372036854775808 of int64"):
        assemble_raster([a_part(tmp_path, 0, (0, 0, 9, 9), "int64")], grid, tmp_path / "o.tif")


def test_four_bands_of_8_bits_are_all_delivered(tmp_path):
    """GDAL takes the last one for transparency, unless told otherwise."""
    part = a_part(tmp_path, 0, (0, 0, 10, 10), "uint8", bands=4)

    target = assemble_raster([part], GRID, tmp_path / "o.tif")

    job = stage_job(tmp_path, layer_source(target), nodes=2)
    assert [job.core(part, "o").shape[0] for part in job] == [4, 4]


def as_one(folder, path):
    return assemble_raster([RasterPart(node=0, path=path)], GRID, folder / "o.tif")


def test_meaning_of_a_returned_file_is_kept(tmp_path):
    scaled = write_raster(tmp_path / "a.tif", raster_spec(dtype="int16"))
    with rasterio.open(scaled, "r+") as source:
        source.scales, source.offsets, source.units = (0.1,), (5.0,), ("m",)
    with rasterio.open(as_one(tmp_path, scaled)) as source:
        assert (source.scales, source.offsets, source.units) == ((0.1,), (5.0,), ("m",))

    coloured = write_raster(tmp_path / "b.tif", raster_spec(dtype="uint8"), photometric="palette")
    with rasterio.open(coloured, "r+") as source:
        source.write_colormap(1, {0: (9, 8, 7, 255)})
    with rasterio.open(as_one(tmp_path, coloured)) as source:
        assert source.colormap(1)[0] == (9, 8, 7, 255)

    seen_through = write_alpha(tmp_path / "c.tif", raster_spec(dtype="int16", bands=2))
    with rasterio.open(as_one(tmp_path, seen_through)) as source, rasterio.open(seen_through) as it:
        assert np.array_equal(source.dataset_mask(), it.dataset_mask())
        assert np.array_equal(source.read(), it.read())


def test_scales_that_differ_are_refused(tmp_path):
    parts = []
    for node in range(2):
        spec = raster_spec(dtype="int16", cols=48, origin=(500_000.0 + 480 * node, 4_000_000.0))
        path = write_raster(tmp_path / f"{node}.tif", spec)
        parts.append(RasterPart(node=node, path=path))
    with rasterio.open(parts[1].path, "r+") as source:
        source.scales = (0.1,)

    with pytest.raises(InconsistentPartsError, match=r"node 1 has .*0\.1"):
        assemble_raster(parts, GRID, tmp_path / "o.tif")


def test_mask_beside_the_pixels_is_refused(tmp_path):
    path = write_mask_band(tmp_path / "a.tif", raster_spec(dtype="uint8"))

    with pytest.raises(InconsistentPartsError, match="node 0 has a mask beside its pixels"):
        as_one(tmp_path, path)


def test_holes_are_nodata_when_asked(tmp_path):
    parts = [a_part(tmp_path, 0, (0, 0, 10, 10)), a_part(tmp_path, 1, (10, 10, 10, 10))]
    grid = RasterGrid(crs=GRID.crs, transform=GRID.transform, nodata=-3)

    target = assemble_raster(parts, grid, tmp_path / "o.tif", holes=[])

    with rasterio.open(target) as source:
        assert (source.read(1)[:10, 10:] == -3).all()
        assert (source.read(1)[:10, :10] == 1).all()


def test_missing_part_at_the_edge_is_nodata_too(tmp_path):
    parts = [a_part(tmp_path, 0, (0, 0, 10, 10))]
    grid = RasterGrid(crs=GRID.crs, transform=GRID.transform, nodata=-3)

    target = assemble_raster(parts, grid, tmp_path / "o.tif", holes=[(-5, 0, 5, 10)])

    with rasterio.open(target) as source:
        assert source.transform.f == GRID.transform[5] + 50
        assert (source.read(1) == np.repeat([-3, 1], [5, 10])[:, np.newaxis]).all()


def test_array_of_another_shape_names_node_and_shapes(tmp_path):
    path = save_npy(tmp_path / "a.npy", np.ones((9, 9)))
    part = RasterPart(node=3, path=path, core=(0, 0, 10, 10), padded=(-1, -1, 12, 12))

    with pytest.raises(ShapeMismatchError) as caught:
        assemble_raster([part], GRID, tmp_path / "o.tif")

    assert caught.value.fact == "node 3 returned (9, 9); core is (10, 10), padded (12, 12)."


def test_raster_off_the_grid_is_refused(tmp_path):
    spec = raster_spec(origin=(500_004.0, 4_000_000.0))
    part = RasterPart(node=0, path=write_raster(tmp_path / "a.tif", spec))

    with pytest.raises(InconsistentPartsError, match=r"node 0 lies 0\.4 px off the grid"):
        assemble_raster([part], GRID, tmp_path / "o.tif")


def vector_parts(folder, frame, nodes=3):
    frame = frame.rename_axis("_fid").reset_index()
    parts = []
    for node in range(nodes):
        path = folder / f"node-{node}.parquet"
        frame.iloc[node::nodes].to_parquet(path, write_covering_bbox=True, schema_version="1.1.0")
        parts.append(VectorPart(node=node, path=path))
    return parts


@pytest.mark.parametrize("output_format", ["parquet", "gpkg", "fgb", "geojson"])
def test_vector_parts_become_one_layer(tmp_path, output_format):
    frame = scene_polygons(90)
    if output_format == "geojson":
        frame = frame.to_crs(4326)
    target = tmp_path / f"layer.{output_format}"

    write_vector(vector_parts(tmp_path, frame), target, output_format=output_format)

    reader = geopandas.read_parquet if output_format == "parquet" else geopandas.read_file
    found = reader(target).sort_values("id").reset_index(drop=True)
    assert found["id"].tolist() == frame["id"].tolist()
    assert found["value"].tolist() == frame["value"].tolist()
    assert found.crs == frame.crs
    assert found.geometry.geom_equals_exact(frame.geometry, 1e-6).all()
    assert read_header(layer_source(target)).vector.header.feature_count == 90


def test_vector_parts_of_two_schemas_are_refused(tmp_path):
    first = vector_parts(tmp_path, scene_polygons(10), nodes=1)
    other = tmp_path / "other"
    other.mkdir()
    second = vector_parts(other, scene_polygons(10).rename(columns={"value": "x"}), nodes=1)

    with pytest.raises(InconsistentPartsError, match="1 of 2 parts differ: node 1 has"):
        write_vector([*first, VectorPart(node=1, path=second[0].path)], tmp_path / "o.parquet")


FORMATS = ["parquet", "gpkg", "fgb", "geojson"]
SINGLE_FILES = FORMATS[1:]


def written(folder, frames, output_format="parquet"):
    """What other software reads of a layer to which each node added one frame."""
    parts = []
    for node, frame in enumerate(frames):
        frame.to_parquet(folder / f"{node}.parquet")
        parts.append(VectorPart(node=node, path=folder / f"{node}.parquet"))
    target = write_vector(parts, folder / f"layer.{output_format}", output_format=output_format)
    reader = geopandas.read_parquet if output_format == "parquet" else geopandas.read_file
    assert read_header(layer_source(target)).vector.header.feature_count == sum(map(len, frames))
    return reader(target)


def points(*shapes, crs="EPSG:4326", **columns):
    return geopandas.GeoDataFrame(columns, geometry=list(shapes), crs=crs)


PLACE = shapely.Point(5, 52)


@pytest.mark.parametrize("output_format", FORMATS)
def test_columns_in_another_order_are_the_same_columns(tmp_path, output_format):
    first = points(PLACE, PLACE, a=[1, 2], b=[-1, -2])
    other = points(PLACE, a=[3], b=[-3])[["b", "a", "geometry"]]

    found = written(tmp_path, [first, other], output_format)

    assert sorted(found["a"]) == [1, 2, 3]
    assert sorted(found["b"]) == [-3, -2, -1]


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("turn", [1, -1])
def test_column_without_a_value_has_the_type_of_the_other_parts(tmp_path, output_format, turn):
    frames = [
        points(PLACE, PLACE, name=["é", None], number=[3, 2]),
        points(PLACE, name=[None], number=[None]),
    ]

    found = written(tmp_path, frames[::turn], output_format)

    assert sorted(found["name"].dropna()) == ["é"]
    assert sorted(found["number"].dropna()) == [2, 3]
    assert len(found) == 3


@pytest.mark.parametrize("output_format", FORMATS)
def test_column_without_any_value_is_written(tmp_path, output_format):
    found = written(tmp_path, [points(PLACE, a=[1], name=[None])], output_format)

    assert found["name"].isna().all()


@pytest.mark.parametrize("output_format", FORMATS)
def test_part_without_rows_has_no_type_that_others_must_have(tmp_path, output_format):
    frames = [points(a=[], crs=None), points(PLACE, a=["x"])]

    found = written(tmp_path, frames, output_format)

    assert found["a"].tolist() == ["x"]
    assert found.crs == "EPSG:4326"


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize(
    ("narrow", "wide"), [("int32", "int64"), ("int32", "float64"), ("uint8", "uint32")]
)
def test_numbers_of_a_smaller_type_are_those_of_a_larger_one(
    tmp_path, output_format, turn, narrow, wide
):
    """GDAL reads a GeoJSON's numbers as the smallest type that holds those of this file."""
    most = np.iinfo(narrow).max
    frames = [
        points(PLACE, a=np.array([most], narrow)),
        points(PLACE, a=np.array([2**31 + 1], wide)),
    ]

    found = written(tmp_path, frames[::turn], output_format)

    assert sorted(found["a"]) == sorted([most, 2**31 + 1])


def test_parts_that_differ_are_told_by_what_differs_alone(tmp_path):
    frames = [points(PLACE, a=[1], b=[1]), points(PLACE, a=[1.5], b=[1], crs="EPSG:32616")]

    with pytest.raises(InconsistentPartsError) as caught:
        written(tmp_path, frames)

    assert caught.value.fact == (
        "1 of 2 parts differ: node 1 has columns {'a': 'double'}, crs EPSG:32616, "
        "node 0 has columns {'a': 'int64'}, crs EPSG:4326."
    )


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize(
    "shapes",
    [
        pytest.param([shapely.Point(1, 2, 3), shapely.Point(4, 5, 6)], id="heights"),
        pytest.param([shapely.Point(1, 2), None, shapely.Polygon([(0, 0), (1, 0), (0, 1)])],
                     id="none and others"),
        pytest.param([shapely.Point(1, 2, 3), None], id="heights and none"),
    ],
)  # fmt: skip
def test_geometries_of_all_formats_are_those_returned(tmp_path, output_format, shapes):
    frames = [points(*shapes, a=list(range(len(shapes))))]

    found = written(tmp_path, frames, output_format).sort_values("a")

    assert [shape and shape.wkt for shape in found.geometry] == [
        shape and shape.wkt for shape in shapes
    ]


@pytest.mark.parametrize("output_format", SINGLE_FILES)
def test_column_of_row_numbers_is_a_column(tmp_path, output_format):
    """GeoPackage's own row numbers have that name unless told otherwise."""
    frames = [points(PLACE, PLACE, fid=[7, 0], FID_=[1, 2]), points(PLACE, fid=[7], FID_=[3])]

    found = written(tmp_path, frames, output_format)

    assert sorted(zip(found["fid"], found["FID_"], strict=True)) == [(0, 2), (7, 1), (7, 3)]


@pytest.mark.parametrize("output_format", SINGLE_FILES)
def test_numbers_without_sign_are_equal_as_far_as_there_are_such(tmp_path, output_format):
    large = np.array([2**53 + 1, 2**62 + 1], "uint64")

    found = written(tmp_path, [points(PLACE, PLACE, a=large)], output_format)

    assert sorted(map(int, found["a"])) == large.tolist()


HIGH = [shapely.Point(1, 2, 3), shapely.LineString([(0, 0, 1), (1, 1, 1)])]
OWN_CRS = "+proj=aea +lat_1=29.5 +lat_2=42.5 +lon_0=-96"


@pytest.mark.parametrize(
    ("output_format", "frame", "words"),
    [
        *(
            pytest.param(one, points(PLACE, a=np.array([2**63], "uint64")), "9223372036854775808",
                         id=f"{one}-large")
            for one in SINGLE_FILES
        ),
        *(
            pytest.param(one, points(PLACE, a=[1], A=[2]), "columns a, A have one name there",
                         id=f"{one}-same name")
            for one in SINGLE_FILES
        ),
        pytest.param("gpkg", points(PLACE, a=[np.timedelta64(1, "s")]), "field a is not supported",
                     id="duration"),
        pytest.param("fgb", points(*HIGH), "heights .* not of LineString Z, Point Z",
                     id="heights of two types"),
        pytest.param("geojson", points(PLACE, crs=OWN_CRS), "read as EPSG:4326", id="own CRS"),
        pytest.param("geojson", points(PLACE, crs=None), "they have no CRS", id="no CRS"),
    ],
)  # fmt: skip
def test_what_a_format_cannot_hold_is_refused(tmp_path, output_format, frame, words):
    with pytest.raises(InconsistentPartsError, match=f"cannot hold the features: .*{words}"):
        written(tmp_path, [frame], output_format)


@pytest.mark.parametrize("output_format", SINGLE_FILES)
def test_geometry_that_cannot_be_read_is_refused(tmp_path, output_format):
    points(PLACE, a=[1]).to_parquet(tmp_path / "0.parquet")
    table = pq.read_table(tmp_path / "0.parquet")
    table = table.set_column(1, "geometry", pa.array([b"no geometry"]))
    pq.write_table(table, tmp_path / "0.parquet")
    part = VectorPart(node=0, path=tmp_path / "0.parquet")

    with pytest.raises(InconsistentPartsError, match="cannot hold the features: "):
        write_vector([part], tmp_path / f"a.{output_format}", output_format=output_format)


def test_geojson_of_longitudes_and_latitudes_is_written(tmp_path):
    assert written(tmp_path, [points(PLACE, crs="OGC:CRS84")], "geojson").geometry[0] == PLACE


def test_feature_in_two_parts_is_refused(tmp_path):
    parts = vector_parts(tmp_path, scene_polygons(10), nodes=1)

    with pytest.raises(InconsistentPartsError, match="_fid 0 came from nodes 0, 1"):
        write_vector([*parts, VectorPart(node=1, path=parts[0].path)], tmp_path / "o.parquet")


def a_publication(*sha256s, **changes):
    usual = {
        "path_id": "ndvi",
        "timestamp": "2024",
        "kind": "raster",
        "sha256s": sha256s or ("a",),
        "file_name": "data.tif",
        "lineage": LINEAGE,
    }
    return Publication(**{**usual, **changes})


def assembling(value=1, calls=None, **changes):
    def assemble(path):
        if calls is not None:
            calls.append(path)
        spec = raster_spec(dtype="uint8", **changes)
        write_raster(path, spec, np.full((1, spec.rows, spec.cols), value))

    return assemble


def test_publishing_writes_data_then_item_then_revision(tmp_path):
    revision = publish(tmp_path / "2024", a_publication(), assembling())

    assert revision.revision == 1
    assert read_revision(tmp_path / "2024") == revision
    item = json.loads((tmp_path / "2024" / revision.item).read_text())
    assert item["stac_version"] == "1.1.0"
    assert item["properties"]["proj:code"] == "EPSG:32616"
    assert item["properties"]["geopod:run"] == "run-1"
    with rasterio.open(revision.hrefs(tmp_path / "2024")[0]) as source:
        assert (source.read() == 1).all()
    assert not list(tmp_path.glob("2024/.*"))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "complex64", "complex128"])
def test_items_are_what_stac_1_1_wants(tmp_path, dtype):
    nodata = np.nan if dtype == "float32" else None
    path = write_raster(tmp_path / "dem.tif", raster_spec(dtype=dtype, nodata=nodata))

    item = build_item(read_header(layer_source(path)), LINEAGE, item_id="i", hrefs=["./dem.tif"])

    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(raster_spec(crs="+proj=longlat +R=1737400", pixel=0.1, origin=(0.0, 9.0)),
                     id="the Moon"),
        pytest.param(raster_spec(origin=(5e9, 5e9)), id="far off its projection"),
    ],
)  # fmt: skip
def test_what_has_no_longitudes_and_latitudes_is_published_without(tmp_path, spec):
    revision = publish(tmp_path, a_publication(), lambda path: write_raster(path, spec))

    item = json.loads((tmp_path / revision.item).read_text())
    assert item["geometry"] is None
    assert "bbox" not in item
    JsonSchemaSTACValidator().validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")


def test_item_of_a_mosaic_says_where_each_file_lies(tmp_path):
    paths = [
        write_raster(tmp_path / "west.tif", raster_spec(dtype="uint8")),
        write_raster(tmp_path / "east.tif", shifted_spec(960.0, 160.0, dtype="uint8")),
    ]
    header = read_header(layer_source(paths[0], hrefs=tuple(map(str, paths))))

    assets = build_item(header, LINEAGE, item_id="i", hrefs=["./a", "./b"])["assets"]

    for path, asset in zip(paths, assets.values(), strict=True):
        with rasterio.open(path) as file:
            assert asset["proj:shape"] == list(file.shape)
            assert asset["proj:transform"] == list(file.transform)[:6]


def test_publishing_the_same_results_again_changes_nothing(tmp_path):
    calls = []
    first = publish(tmp_path, a_publication(), assembling(calls=calls))
    publish(tmp_path, a_publication("b"), assembling(value=2))

    assert publish(tmp_path, a_publication(), assembling(calls=calls)) == first
    assert len(calls) == 1
    assert read_revision(tmp_path).revision == 2


def test_other_results_are_added_on_top(tmp_path):
    publish(tmp_path, a_publication("a"), assembling(value=1))
    revision = publish(tmp_path, a_publication("b"), assembling(value=2))
    source = layer_source(tmp_path / "x", key="m", hrefs=revision.hrefs(tmp_path))

    job = stage_job(tmp_path, source, nodes=1)

    assert revision.revision == len(revision.files) == 2
    assert (job.array(0, "m") == 2).all()


def test_file_with_holes_makes_way_for_the_whole_of_the_same_run(tmp_path):
    other = publish(tmp_path, a_publication("a", origin="other"), assembling(value=1))
    holed = publish(tmp_path, a_publication("b", origin="run", missing=(3,)), assembling(value=2))
    whole = publish(tmp_path, a_publication("b", "c", origin="run"), assembling(value=3))

    assert holed.files == (*other.files, holed.added)
    assert whole.files == (*other.files, whole.added)
    assert publish(tmp_path, a_publication("b", origin="run", missing=(3,)), None) == holed
    items = [json.loads((tmp_path / one.item).read_text()) for one in (holed, whole)]
    assert [it["properties"].get("geopod:missing_tasks") for it in items] == [[3], None]


def test_earlier_results_of_a_run_are_not_laid_over_its_later_ones(tmp_path):
    later, earlier = (replace(LINEAGE, created=f"2026-03-0{day}T00:00:00+00:00") for day in (2, 1))
    whole = publish(
        tmp_path, a_publication("b", "c", origin="run", lineage=later), assembling(value=3)
    )
    holed = a_publication("b", origin="run", missing=(3,), lineage=earlier)
    assert publish(tmp_path, holed, None) == whole
    of_another = replace(holed, origin="other")
    assert len(publish(tmp_path, of_another, assembling(value=2)).files) == 2


def test_results_that_fit_no_earlier_ones_are_not_published(tmp_path):
    publish(tmp_path, a_publication("a"), assembling())

    with pytest.raises(UnsupportedGridError):
        publish(tmp_path, a_publication("b"), assembling(pixel=20.0))

    assert read_revision(tmp_path).revision == 1


def test_failed_assembly_leaves_nothing_behind(tmp_path):
    def fail(path):
        path.write_bytes(b"half")
        raise InconsistentPartsError("parts differ")

    with pytest.raises(InconsistentPartsError):
        publish(tmp_path, a_publication(), fail)

    assert list(tmp_path.iterdir()) == []


def test_publishers_at_once_each_get_a_revision(tmp_path):
    barrier = threading.Barrier(4)

    def publish_one(number):
        def assemble(path):
            barrier.wait()
            assembling(value=number)(path)

        publish(tmp_path, a_publication(str(number)), assemble)

    threads = [threading.Thread(target=publish_one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    revision = read_revision(tmp_path)
    assert revision.revision == 4
    assert len(set(revision.files)) == 4
    assert len(list(tmp_path.glob("item-*.json"))) == 4


def test_published_vectors_are_read_as_a_layer(tmp_path):
    frame = scene_polygons(60)
    parts = vector_parts(tmp_path, frame)
    publication = a_publication(kind="vector", file_name="data.parquet")

    revision = publish(tmp_path / "t", publication, lambda path: write_vector(parts, path))
    source = layer_source(tmp_path / "x", key="v", hrefs=revision.hrefs(tmp_path / "t"))
    job = stage_job(tmp_path, source, nodes=4)

    ids = [value for node in job for value in job.rows(node, "v")["id"].to_pylist()]
    assert sorted(ids) == list(range(60))


def test_row_numbers_that_were_returned_are_no_column_of_the_layer(tmp_path):
    returned = scene_polygons(6).rename_axis("_fid").iloc[[3, 5]]
    returned.to_parquet(tmp_path / "part.parquet")

    write_vector([VectorPart(node=0, path=tmp_path / "part.parquet")], tmp_path / "layer.parquet")

    header = read_header(layer_source(tmp_path / "layer.parquet")).vector.header
    assert "_fid" not in header.columns
