"""GeoParquet whose footer lies and geometry that is none: told by name, never crashed on."""

from __future__ import annotations

import json
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from geopod.errors import LayerAccessError, LayerCRSError
from geopod.layers.headers import read_header
from geopod.layers.nesting import is_deep
from staging_builders import layer_source, stage_job

POINTS = [shapely.to_wkb(shapely.Point(number, number)) for number in range(3)]
EDGES = ("xmin", "ymin", "xmax", "ymax")


def opened(folder, columns, **about):
    """The header of a file of these columns, whose geometry is described by `about`."""
    geo = {
        "version": "1.1.0",
        "primary_column": "geometry",
        "columns": {"geometry": {"encoding": "WKB", "geometry_types": [], **about}},
    }
    names, values = zip(*columns, strict=True)
    table = pa.table(list(values), names=list(names))
    path = folder / "a.parquet"
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path)
    return read_header(layer_source(path)).vector


def boxes_in(column, *edges):
    return {"bbox": {edge: [column, edge] for edge in edges or EDGES}}


@pytest.mark.parametrize(
    ("extra", "geometry", "about", "words"),
    [
        pytest.param([("x", [1] * 3)] * 2, POINTS, {}, "2 columns named 'x'", id="same names"),
        pytest.param([], [1, 2, 3], {}, "'geometry' is int64, not WKB", id="numbers"),
        pytest.param([], ["POINT (1 1)"] * 3, {}, "is string, not WKB", id="text"),
        pytest.param([], POINTS, {"encoding": "point"}, "encoded as point, not WKB", id="GeoArrow"),
        pytest.param([], POINTS, {"covering": boxes_in("no")}, "no does not", id="boxes nowhere"),
        pytest.param(
            [("x", [1] * 3)], POINTS, {"covering": boxes_in("x")}, r"x\.xmin, which is no number",
            id="boxes in a number",
        ),
        pytest.param(
            [("x", [dict.fromkeys(EDGES, "a")] * 3)], POINTS, {"covering": boxes_in("x")},
            r"x\.xmin, which is no number", id="boxes of text",
        ),
        pytest.param(
            [("x", [dict.fromkeys(EDGES, 1.0)] * 3)], POINTS, {"covering": boxes_in("x", "xmin")},
            r"is not GeoParquet \('ymin'\)", id="half a box",
        ),
        pytest.param([], POINTS, {"covering": [1]}, "is not GeoParquet", id="list"),
    ],
)  # fmt: skip  # one line less each
def test_footer_that_does_not_fit_its_columns_is_refused(tmp_path, extra, geometry, about, words):
    with pytest.raises(LayerAccessError, match=words):
        opened(tmp_path, [*extra, ("geometry", geometry)], **about)


@pytest.mark.parametrize("crs", [{"a": 1}, "EPSG:4326", [1]])
def test_crs_that_is_none_is_refused(tmp_path, crs):
    with pytest.raises((LayerCRSError, LayerAccessError), match="Invalid projection"):
        opened(tmp_path, [("geometry", POINTS)], crs=crs)


def nested(levels, kind=7):
    head = struct.pack("<BII", 1, kind, 1) * levels
    return head + struct.pack("<BIdd", 1, 1, 0, 0)


@pytest.mark.parametrize(
    ("wkb", "words"),
    [
        pytest.param(b"no geometry", "row 1 cannot be read: ParseException", id="rubbish"),
        pytest.param(struct.pack("<BII", 1, 2, 1 << 31), "ParseException", id="endless line"),
        pytest.param(nested(20_000), "row 1 .* nests deeper than 64 levels", id="deep"),
        pytest.param(
            struct.pack("<BII6d", 1, 8, 3, 0, 0, 1, 1, 2, 0), "it has arcs; write", id="arcs"
        ),
    ],
)
def test_row_whose_geometry_cannot_be_read_is_named(tmp_path, wkb, words):
    with pytest.raises(LayerAccessError, match=words):
        opened(tmp_path, [("geometry", [None, wkb, POINTS[0]])])


@pytest.mark.parametrize("kind", [4, 5, 6, 7, 9, 10, 11, 12, 1007, 3007, 0x80000007])
def test_all_that_nests_has_an_end(kind):
    assert is_deep(nested(65, kind))
    assert not is_deep(nested(63, kind))


def test_wide_is_not_deep():
    parts = [
        shapely.box(0, 0, 1, 1),
        shapely.MultiPoint([(0, 0, 1), (1, 1, 1)]),
        shapely.LineString([(0, 0), (1, 1)]),
        shapely.Polygon([(0, 0), (9, 0), (9, 9)], [[(1, 1), (2, 1), (2, 2)]]),
    ]
    wide = shapely.GeometryCollection([shapely.GeometryCollection(parts * 100)] * 5)

    for options in ({"flavor": "iso"}, {"include_srid": True}, {"byte_order": 0}):
        data = shapely.to_wkb(shapely.set_srid(wide, 4326), **options)
        assert not is_deep(data)
        # Were a part measured wrongly, what is behind it would not be found.
        assert is_deep(struct.pack("<BII", 1, 7, 2) + data + nested(70))


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(pa.array(["ä", None, ""], pa.string_view()), id="text"),
        pytest.param(pa.array([b"x", None, b""], pa.binary_view()), id="bytes"),
        pytest.param(pa.array([["a"], None, []], pa.list_(pa.string_view())), id="list"),
        pytest.param(pa.array([{"a": "x"}] * 3, pa.struct([("a", pa.string_view())])), id="struct"),
    ],
)
@pytest.mark.parametrize("mode", ["owned", "clip"])
def test_columns_that_are_views_are_staged(tmp_path, values, mode):
    """Other Arrow libraries write them; nodes select rows, for which pyarrow has no kernel."""
    header = opened(tmp_path, [("v", values), ("geometry", POINTS)])

    job = stage_job(tmp_path, layer_source(tmp_path / "a.parquet"), nodes=2, features=mode)

    assert header.header.columns == ("v",)
    rows = pa.concat_tables([job.rows(part, "a") for part in job])
    assert rows.sort_by("_fid")["v"].to_pylist() == values.to_pylist()


def two_files(folder, *columns):
    """A layer of two files: the columns of each, in their order."""
    for number, names in enumerate(columns):
        part = folder / f"data-{number}"
        part.mkdir()
        opened(part, [*((name, [f"{name}{number}"] * 3) for name in names), ("geometry", POINTS)])
    hrefs = tuple(str(path) for path in sorted(folder.glob("data-*/a.parquet")))
    return layer_source(folder / "a.parquet", hrefs=hrefs)


def test_files_may_have_their_columns_in_another_order(tmp_path):
    job = stage_job(tmp_path, two_files(tmp_path, "xy", "yx"), nodes=1)

    rows = job.rows(0, "a").sort_by("_fid")
    assert rows["x"].to_pylist() == ["x0"] * 3 + ["x1"] * 3
    assert rows["y"].to_pylist() == ["y0"] * 3 + ["y1"] * 3


@pytest.mark.parametrize(
    ("second", "words"), [("xyz", "has columns z,"), ("y", "has no columns x,")]
)
def test_file_of_other_columns_is_told_by_them(tmp_path, second, words):
    with pytest.raises(
        LayerAccessError, match=f"data-1/a.parquet {words} other than data-0/a.parquet"
    ):
        read_header(two_files(tmp_path, "xy", second))
