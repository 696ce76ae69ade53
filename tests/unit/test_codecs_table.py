"""Tables come back as the type they were; features as GeoParquet 1.1 that others can read."""

import io
import json
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from codec_builders import encoded, entry_of, round_trip
from geopandas.testing import assert_geodataframe_equal, assert_geoseries_equal
from geopod import codecs
from geopod.codecs import MalformedValueError
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import GeometryCollection, Point, Polygon, box

FRAMES = {
    "numbers and text": pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": ["x", None]}),
    "empty": pd.DataFrame({"a": pd.Series([], dtype="int32")}),
    "no columns": pd.DataFrame(index=[3, 4]),
    "named index": pd.DataFrame({"a": [1]}, index=pd.Index(["k"], name="key")),
    "two levels": pd.DataFrame(
        {"a": [1, 2]}, index=pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])
    ),
    "categories": pd.DataFrame({"a": pd.Categorical(["x", "y", "x"], ordered=True)}),
    "nullable": pd.DataFrame(
        {"a": pd.array([1, None], dtype="Int64"), "b": pd.array([True, None], dtype="boolean")}
    ),
    "moments": pd.DataFrame(
        {"a": pd.to_datetime([datetime(2026, 1, 3, tzinfo=UTC)]), "b": pd.to_timedelta([1], "s")}
    ),
    "integer labels": pd.DataFrame({0: [1], 1: [2]}),
    "lists": pd.DataFrame({"a": [[1, 2], []]}),
}


@pytest.mark.parametrize("as_file", [False, True], ids=["inline", "file"])
@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_data_frame_comes_back_equal(tmp_path, frame, as_file):
    assert encoded(frame, tmp_path).codec == "arrow"
    got = round_trip(frame, tmp_path, as_file=as_file)
    if frame.columns.equals(pd.Index(["a"])) and frame["a"].map(type).eq(list).any():
        got["a"] = got["a"].map(list)
    pd.testing.assert_frame_equal(got, frame)


@pytest.mark.parametrize("name", ["height", None, 7], ids=["text", "none", "number"])
def test_series_comes_back_equal(tmp_path, name):
    series = pd.Series([1.5, 2.5], index=pd.Index([4, 5], name="fid"), name=name)
    pd.testing.assert_series_equal(round_trip(series, tmp_path), series)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.floats(), st.text())))
def test_any_rows_come_back_equal(rows):
    frame = pd.DataFrame(rows, columns=["a", "b", "c"]).astype(
        {"a": "int64", "b": "float64", "c": "str"}
    )
    with TemporaryDirectory() as folder:
        pd.testing.assert_frame_equal(round_trip(frame, Path(folder)), frame)


def test_arrow_table_comes_back_equal(tmp_path):
    table = pa.table({"a": [1, None], "b": [{"x": 1}, None]}).replace_schema_metadata({"k": "v"})
    got = round_trip(table, tmp_path)
    assert isinstance(got, pa.Table)
    assert got.equals(table, check_metadata=True)


def test_frame_that_arrow_cannot_hold_is_marked_as_pickle(tmp_path):
    assert encoded(pd.DataFrame({"a": [object()]}), tmp_path).codec == "pickle"


def features(**changes):
    """Return a frame of mixed geometries, one missing and one empty among them."""
    geometry = [Point(1, 2), box(0, 0, 1, 1), None, Polygon(), Point(3, 4, 5)]
    frame = gpd.GeoDataFrame(
        {"id": range(5), "name": list("abcde")}, geometry=geometry, crs="EPSG:32633"
    )
    return frame.assign(**changes)


GEO = {
    "mixed, missing and empty": features(),
    "index of source rows": features().set_index(pd.Index([9, 8, 7, 6, 5], name="_fid")),
    "no rows": features().iloc[:0],
    "no crs": features().set_crs(None, allow_override=True),
    "custom crs": features().to_crs("+proj=laea +lat_0=10 +lon_0=20 +datum=WGS84"),
    "renamed geometry": features().rename_geometry("outline"),
    "two geometries": features(centre=lambda f: f.geometry.centroid.to_crs(4326)),
    "column called bbox": features(bbox=1),
    "collections": gpd.GeoDataFrame(geometry=[GeometryCollection([Point(0, 0)])], crs=4326),
}


@pytest.mark.parametrize("frame", GEO.values(), ids=GEO)
def test_features_come_back_equal(tmp_path, frame):
    result = encoded(frame, tmp_path)
    assert result.codec == "geoparquet"
    got = round_trip(frame, tmp_path)
    assert type(got) is gpd.GeoDataFrame
    assert_geodataframe_equal(got, frame, check_crs=True)
    assert got.active_geometry_name == frame.active_geometry_name


@pytest.mark.parametrize("name", ["outline", None], ids=["named", "unnamed"])
def test_geo_series_comes_back_equal(tmp_path, name):
    series = gpd.GeoSeries([Point(0, 1), None], index=[5, 6], crs=3857, name=name)
    got = round_trip(series, tmp_path)
    assert_geoseries_equal(got, series)
    assert got.name == name


def test_geoparquet_is_version_1_1_with_a_covering(tmp_path):
    result = encoded(features(), tmp_path)
    file = pq.ParquetFile(io.BytesIO(result.data))
    geo = json.loads(file.schema_arrow.metadata[b"geo"])
    assert geo["version"] == "1.1.0"
    assert geo["columns"]["geometry"]["covering"]["bbox"]["xmin"] == ["bbox", "xmin"]
    assert "bbox" in file.schema_arrow.names


def test_geoparquet_is_read_by_box_with_another_reader(tmp_path):
    frame = gpd.GeoDataFrame(
        {"id": range(100)}, geometry=gpd.points_from_xy(range(100), range(100)), crs=4326
    )
    result = encoded(frame, tmp_path)
    found = gpd.read_parquet(io.BytesIO(result.data), bbox=(10.5, 0, 12.5, 99))
    assert found["id"].tolist() == [11, 12]


def test_many_features_are_a_file_and_small_ones_are_bytes(tmp_path):
    count = 20_000
    numbers = np.random.default_rng(7).random((2, count))
    large = gpd.GeoDataFrame(geometry=gpd.points_from_xy(*numbers), crs=4326)
    result = encoded(large, tmp_path)
    assert isinstance(result.data, Path)
    assert isinstance(encoded(features(), tmp_path).data, bytes)
    assert_geodataframe_equal(codecs.decode(entry_of(result), result.data), large)


def test_meta_of_features_says_rows_and_bounds(tmp_path):
    meta = encoded(features(), tmp_path).meta
    assert (meta["rows"], meta["crs"], meta["bounds"]) == (5, "EPSG:32633", [0.0, 0.0, 3.0, 4.0])
    assert encoded(features().iloc[:0], tmp_path).meta["bounds"] is None


def arrow_file(table: pa.Table) -> bytes:
    """Return a table as an Arrow IPC file."""
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def broken_text() -> bytes:
    """Return an Arrow file whose text column is no UTF-8."""
    offsets = pa.py_buffer(np.array([0, 1], np.int32).tobytes())
    column = pa.Array.from_buffers(pa.string(), 1, [None, offsets, pa.py_buffer(b"\xff")])
    return arrow_file(pa.table({"a": column}))


HOSTILE = {
    "no arrow": ("arrow", b"ARROW1\0\0nothing", {"type": "Table"}),
    "cut": ("arrow", arrow_file(pa.table({"a": [1]}))[:-20], {"type": "Table"}),
    "text that is no utf-8": ("arrow", broken_text(), {"type": "Table"}),
    "unknown type": ("arrow", arrow_file(pa.table({"a": [1]})), {"type": "Widget"}),
    "no geometry": (
        "geoarrow",
        arrow_file(pa.table({"a": [1]})),
        {"type": "GeoDataFrame", "geometry": "g", "crs": None},
    ),
    "no wkb": (
        "geoarrow",
        arrow_file(pa.table({"g": [b"junk"]})),
        {"type": "GeoDataFrame", "geometry": "g", "crs": None},
    ),
    "no crs of this world": (
        "geoarrow",
        arrow_file(pa.table({"g": [Point(0, 0).wkb]})),
        {"type": "GeoDataFrame", "geometry": "g", "crs": "EPSG:0"},
    ),
}


@pytest.mark.parametrize(("kind", "data", "meta"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_table_is_refused(tmp_path, kind, data, meta):
    with pytest.raises(MalformedValueError):
        codecs.encode(kind, data, meta, workdir=tmp_path)
