"""Spatial indexes that do not know what lies in their file: no feature is lost by one.

Oracle: the rows of the table itself, by sqlite3 and geopandas.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import struct
from pathlib import Path

import geopandas
import msgspec
import numpy as np
import pyogrio
import pytest
import shapely
from geopod.errors import LayerAccessError
from geopod.layers.headers import read_header
from geopod.layers.ogr import open_ogr, read_ogr
from geopod.layers.sources import find_source
from geopod.layers.stage import stage_partition
from layer_builders import scene_polygons
from staging_builders import layer_source, plan_of, stage_job

FAR = shapely.box(499_000, 4_000_000, 499_010, 4_000_010)


def write_geopackage(folder, *, name="fields", rows=20, **options):
    path = folder / f"{name}.gpkg"
    scene_polygons(rows).to_file(path, driver="GPKG", engine="pyogrio", layer="fields", **options)
    return path


def change(path, *statements):
    """Run SQL as software does that does not know GeoPackage: without the table's triggers."""
    with contextlib.closing(sqlite3.connect(path)) as base, base:
        names = base.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for (name,) in names:
            base.execute(f'DROP TRIGGER "{name}"')
        for statement in statements:
            base.execute(*statement)


def copy_row(path):
    change(
        path,
        ("INSERT INTO fields (geom, id, value) SELECT geom, 99, value FROM fields WHERE fid = 5",),
    )


def move_row(path):
    # Of a GeoPackage geometry: little endian, no envelope, EPSG:32616.
    blob = b"GP\x00\x01" + (32616).to_bytes(4, "little") + shapely.to_wkb(FAR)
    change(path, ("UPDATE fields SET geom = ? WHERE fid = 5", (blob,)))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        pytest.param(copy_row, r"1 of its 21 features, .* is row 21\)", id="inserted"),
        pytest.param(move_row, r"1 of its 20 features, .* is row 5\)", id="moved"),
    ],
)
def test_geopackage_whose_index_is_stale_is_refused(tmp_path, write, words):
    path = write_geopackage(tmp_path)
    read_header(layer_source(path))
    write(path)

    with pytest.raises(LayerAccessError, match=f"fields.gpkg does not know {words}.*ogr2ogr"):
        read_header(layer_source(path))


def test_stale_index_of_the_second_file_is_told(tmp_path):
    first, second = (write_geopackage(tmp_path, name=name) for name in "ab")
    source = layer_source(first, hrefs=(str(first), str(second)))
    assert read_header(source).vector.header.feature_count == 40
    copy_row(second)

    with pytest.raises(LayerAccessError, match=r"b\.gpkg does not know 1 of its 21 features"):
        read_header(source)


def test_geopackage_without_an_index_loses_no_row(tmp_path):
    """It keeps a count of its rows too, by which GDAL alone would lose one."""
    path = write_geopackage(tmp_path, SPATIAL_INDEX="NO")
    copy_row(path)
    assert len(geopandas.read_file(path)) == 20

    job = stage_job(tmp_path, layer_source(path), nodes=4)

    ids = [value for part in job for value in job.rows(part, "fields")["id"].to_pylist()]
    with contextlib.closing(sqlite3.connect(path)) as base:
        rows = base.execute("SELECT id FROM fields ORDER BY id").fetchall()
    assert [(value,) for value in sorted(ids)] == rows


@pytest.mark.parametrize("index", ["YES", "NO"])
def test_geopackage_of_a_stale_count_is_refused(tmp_path, index):
    path = write_geopackage(tmp_path, SPATIAL_INDEX=index)
    change(path, ("DELETE FROM fields WHERE fid = 5",))

    with pytest.raises(LayerAccessError, match=r"1 of the 19 features .* there twice .* row 20\)"):
        read_header(layer_source(path))


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("DELETE FROM fields WHERE fid < 5", id="gone"),
        pytest.param("UPDATE fields SET geom = NULL WHERE fid = 7", id="without geometry"),
        pytest.param("UPDATE fields SET geom = NULL", id="all without geometry"),
    ],
)
def test_index_may_know_rows_that_are_nowhere(tmp_path, statement):
    path = write_geopackage(tmp_path)
    change(path, (statement,))

    boxes = read_header(layer_source(path)).vector.boxes

    with contextlib.closing(sqlite3.connect(path)) as base:
        assert base.execute("SELECT COUNT(geom) FROM fields").fetchone() == (len(boxes),)


@pytest.mark.parametrize("name", ["curve", "curvepolygon", "multisurface"])
def test_index_of_arcs_knows_their_straight_pieces(tmp_path, name):
    path = tmp_path / "arcs.gpkg"
    shutil.copy(Path(pyogrio.__path__[0]) / f"tests/fixtures/{name}.gpkg", path)
    assert pyogrio.read_info(path)["capabilities"]["fast_spatial_filter"]

    assert read_header(layer_source(path)).vector.linearised == 1


@pytest.mark.parametrize("index", ["of fewer rows", "of another order"])
def test_shapefile_loses_no_row_to_an_index_of_another_one(tmp_path, index):
    """Other software writes the `.shp` and forgets the `.qix` beside it."""
    other = tmp_path / "other"
    other.mkdir()
    frame = scene_polygons(20)
    frame.to_file(tmp_path / "fields.shp", engine="pyogrio")
    stale = frame.iloc[:19] if index == "of fewer rows" else frame.iloc[::-1]
    stale.to_file(other / "fields.shp", engine="pyogrio", SPATIAL_INDEX="YES")
    shutil.copy(other / "fields.qix", tmp_path)

    job = stage_job(tmp_path, layer_source(tmp_path / "fields.shp"), nodes=4)

    ids = [value for part in job for value in job.rows(part, "fields")["id"].to_pylist()]
    assert sorted(ids) == sorted(frame["id"])
    assert job.plan.layers[0].vector.bbox_source == "scan"


@pytest.mark.parametrize("suffix", [".shp", ".SHP"])
@pytest.mark.parametrize("index", ["QIX", "qix", "sbn"])
def test_shapefile_with_an_index_is_not_read_whole(tmp_path, index, suffix):
    """Its records have boxes of their own, which GDAL asks where it finds no index."""
    frame = scene_polygons(200)
    frame.to_file(tmp_path / "fields.shp", engine="pyogrio")
    (tmp_path / "fields.shp").rename(tmp_path / f"fields{suffix}")
    (tmp_path / f"fields.{index}").write_bytes(b"of another one")
    west, south, east, north = frame.total_bounds
    corner = (west, south, (west + east) / 2, (south + north) / 2)

    source = layer_source(tmp_path / f"fields{suffix}")
    layer = open_ogr([find_source(source.hrefs[0], path_id="fields")], path_id="fields")
    found = [fid for features in read_ogr(layer, [corner]) for fid in features.fids]

    assert found == np.flatnonzero(frame.intersects(shapely.box(*corner))).tolist()


def damage_flatgeobuf(path):
    """Move boxes of its index elsewhere; its features stay as they are."""
    scene_polygons(200).to_file(path, engine="pyogrio", driver="FlatGeobuf")
    data = bytearray(path.read_bytes())
    start = 12 + int.from_bytes(data[8:12], "little")
    for node in range(20, 60):
        data[start + 40 * node : start + 40 * node + 32] = struct.pack("<4d", 9e9, 9e9, 9e9, 9e9)
    path.write_bytes(data)


def damage_shapefile(path):
    """Move the box that the first record of a `.shp` says of itself."""
    scene_polygons(200).to_file(path, engine="pyogrio")
    data = bytearray(path.read_bytes())
    data[112:144] = struct.pack("<4d", 8e9, 8e9, 9e9, 9e9)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "damage"), [("a.fgb", damage_flatgeobuf), ("a.shp", damage_shapefile)]
)
@pytest.mark.parametrize("mode", ["owned", "intersects", "clip"])
def test_node_that_finds_fewer_features_than_planned_fails(tmp_path, name, damage, mode):
    """The plan reads all features, a node those whose boxes meet its part."""
    damage(tmp_path / name)
    words = r"node \d owns \d+ of its features by the plan and found \d+: "

    with pytest.raises(LayerAccessError, match=words) as caught:
        stage_job(tmp_path, layer_source(tmp_path / name), nodes=4, features=mode)

    assert caught.value.details["found"] < caught.value.details["planned"]


def test_plan_of_other_libraries_is_not_counted_against(tmp_path):
    """They may place a feature on a border otherwise."""
    damage_flatgeobuf(tmp_path / "a.fgb")
    plan = plan_of(layer_source(tmp_path / "a.fgb"), nodes=4)
    other = msgspec.structs.replace(plan, planner=plan.planner | {"geos": "3.0.0"})

    for node in range(4):
        stage_partition(other, "sha", node, tmp_path)


@pytest.mark.parametrize("keeps", [False, True])
@pytest.mark.parametrize("driver", ["GPKG", "parquet"])
def test_features_without_an_end_are_counted_as_nowhere(tmp_path, driver, keeps):
    """One infinite coordinate made the job's extent infinite."""
    frame = scene_polygons(20)
    frame.loc[3, "geometry"] = shapely.Point(np.inf, 4_000_000)
    frame.loc[5, "geometry"] = None
    path = tmp_path / "a.gpkg"
    if driver == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_file(path, engine="pyogrio", driver=driver)

    job = stage_job(tmp_path, layer_source(path), nodes=3, keepEmpty=keeps)

    assert np.isfinite(job.plan.work.extent).all()
    assert job.plan.totals.empty_geometries == {"a": 2}
    rows = sum(job.rows(part, "a").num_rows for part in job)
    assert rows == (20 if keeps else 18)
