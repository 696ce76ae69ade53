"""GeoParquet whose stored bounding boxes are not those of its features: none is lost in silence.

Oracle: shapely, and the rows that were written.
"""

from __future__ import annotations

import json
from collections import Counter

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from geopod.errors import LayerAccessError
from geopod.layers.features import first_vertices
from layer_builders import raster_spec, scene_polygons, write_raster
from staging_builders import layer_source, stage_job

EDGES = ("xmin", "ymin", "xmax", "ymax")
LIARS = slice(0, 40)
"""The rows whose boxes lie."""


def moved(boxes):
    boxes[LIARS] += 300


def shrunk(boxes):
    boxes[LIARS, 2:] = boxes[LIARS, :2]


def sent_away(boxes):
    boxes[LIARS] += 1e6


def left_out(boxes):
    boxes[LIARS] = np.nan


def turned(boxes):
    boxes[LIARS] = boxes[LIARS][:, [2, 1, 0, 3]]


def write_boxes(path, frame, boxes, *, kind=None, says_bounds=False):
    """Write features with the boxes given; NaN: null."""
    frame.to_parquet(path, write_covering_bbox=True)
    table = pq.read_table(path)
    columns = [pa.array(edge, pa.float64(), mask=np.isnan(edge)) for edge in boxes.T]
    struct = pa.StructArray.from_arrays(
        [column.cast(kind or pa.float64()) for column in columns], list(EDGES)
    )
    geo = json.loads(table.schema.metadata[b"geo"])
    if not says_bounds:
        del geo["columns"]["geometry"]["bbox"]
    table = table.set_column(table.schema.get_field_index("bbox"), "bbox", struct)
    metadata = {**table.schema.metadata, b"geo": json.dumps(geo)}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return layer_source(path)


def lying_source(path, lie, **options):
    frame = scene_polygons(200)
    boxes = shapely.bounds(frame.geometry.values)
    lie(boxes)
    return write_boxes(path, frame, boxes, **options)


def found_rows(job, key="a"):
    return Counter(row for part in job for row in job.rows(part, key)["_fid"].to_pylist())


@pytest.mark.parametrize("mode", ["owned", "intersects", "clip"])
@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
@pytest.mark.parametrize("lie", [moved, shrunk, sent_away])
def test_geometry_out_of_its_box_fails_with_both(tmp_path, lie, kind, mode):
    source = lying_source(tmp_path / "a.parquet", lie, kind=kind)
    words = r"Layer 'a' .* row \d+ lies in 5\d+.*, the bounding box that the file has for it is \d+"

    with pytest.raises(LayerAccessError, match=words):
        stage_job(tmp_path, source, nodes=4, features=mode)


@pytest.mark.parametrize("mode", ["owned", "intersects", "clip"])
@pytest.mark.parametrize(
    ("lie", "says_bounds"), [(left_out, False), (turned, False), (sent_away, True)]
)
def test_boxes_that_cannot_be_right_are_not_used(tmp_path, lie, says_bounds, mode):
    """Beside a raster: features whose boxes lie elsewhere would be outside of the job."""
    source = lying_source(tmp_path / "a.parquet", lie, says_bounds=says_bounds)
    raster = layer_source(write_raster(tmp_path / "r.tif", raster_spec()))

    job = stage_job(tmp_path, source, raster, nodes=4, features=mode)

    assert set(found_rows(job)) == set(range(200))
    assert job.plan.layers[0].vector.bbox_source == "scan"
    assert job.plan.totals.features == {"a": 200}


def test_box_over_the_antimeridian_loses_no_feature(tmp_path):
    """From 170 to -170, as RFC 7946 has it: comparisons find it between nothing and nothing."""
    halves = shapely.MultiPolygon([shapely.box(170, 0, 180, 9), shapely.box(-180, 0, -170, 9)])
    shapes = [halves, *(shapely.Point(x, 5) for x in range(-175, 180, 10))]
    boxes = shapely.bounds(shapes)
    boxes[0] = (170, 0, -170, 9)
    frame = geopandas.GeoDataFrame({"id": range(len(shapes))}, geometry=shapes, crs="EPSG:4326")

    job = stage_job(
        tmp_path, write_boxes(tmp_path / "a.parquet", frame, boxes), nodes=7, features="intersects"
    )

    touching = [part for part in job if 0 in job.rows(part, "a")["_fid"].to_pylist()]
    cores = [shapely.box(*job.plan.partitions[part].core) for part in job]
    assert touching == [part for part, core in enumerate(cores) if core.intersects(halves)]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_features_without_a_place_need_no_box(tmp_path, kind):
    frame = scene_polygons(200)
    frame.loc[3, "geometry"] = None
    frame.loc[5, "geometry"] = shapely.Polygon()
    boxes = shapely.bounds(frame.geometry.values)

    source = write_boxes(tmp_path / "a.parquet", frame, boxes, kind=kind, says_bounds=True)
    job = stage_job(tmp_path, source, nodes=3)

    assert job.plan.layers[0].vector.bbox_source == "covering"
    assert job.plan.totals.empty_geometries == {"a": 2}
    assert found_rows(job) == Counter({*range(200)} - {3, 5})


def every_type():
    ring = [(0, 0), (9, 0), (9, 9), (0, 0)]
    flat = [
        shapely.Point(1, 2),
        shapely.LineString(ring[:2]),
        shapely.Polygon(ring),
        shapely.MultiPoint(ring),
        shapely.MultiLineString([ring]),
        shapely.MultiPolygon([shapely.Polygon(ring)]),
    ]
    return [*flat, *shapely.force_3d(flat, 7.0), *shapely.force_3d(shapely.force_3d(flat), 1.0)]


@pytest.mark.parametrize("flavor", ["iso", "extended"])
def test_first_vertices_are_those_of_shapely(flavor):
    shapes = every_type()
    wkb = pa.array([None, *shapely.to_wkb(shapes, flavor=flavor)])

    vertices = first_vertices(wkb)

    assert np.isnan(vertices[0]).all()
    firsts = [shapely.get_coordinates(shape)[0].tolist() for shape in shapes]
    assert vertices[1:].tolist() == firsts


@pytest.mark.parametrize("options", [{"byte_order": 0}, {"include_srid": True}, {}])
def test_geometry_of_every_form_lies_in_its_box(tmp_path, options):
    """What one vertex does not show is read."""
    shapes = [
        *every_type(),
        shapely.MultiPolygon([shapely.Polygon(), shapely.box(1, 1, 2, 2)]),
        shapely.GeometryCollection([shapely.Point(3, 3), shapely.box(1, 1, 2, 2)]),
    ]
    frame = geopandas.GeoDataFrame(geometry=shapes, crs="EPSG:32616")
    source = write_boxes(tmp_path / "a.parquet", frame, shapely.bounds(shapes))
    table = pq.read_table(tmp_path / "a.parquet")
    wkb = pa.array(shapely.to_wkb(shapely.set_srid(shapes, 32616), **options))
    pq.write_table(table.set_column(0, "geometry", wkb), tmp_path / "a.parquet")

    job = stage_job(tmp_path, source, nodes=2)

    assert found_rows(job) == Counter(range(len(shapes)))
    assert job.plan.layers[0].vector.bbox_source == "covering"
