"""What `f` returned on its way to the agent: the first row that fits, and what is refused."""

import io
import json
import zipfile
from collections import namedtuple
from pathlib import Path
from typing import Any

import affine
import cloudpickle
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from geopod.runner.handover import HandedOver, Refused, Writer
from geopod.runner.returned import hand_over
from rasterio.crs import CRS
from shapely.geometry import Point

Pair = namedtuple("Pair", "x y")  # noqa: PYI024  # what users write  # what users write
NAN = float("nan")


def a_layer(key: str = "dem", **changes: Any) -> dict[str, Any]:
    """A staged raster of 10 x 8 pixels with a halo of 2 around a core of 6 x 4."""
    layer = {
        "key": key, "kind": "raster", "core": [2, 8, 2, 6], "shape": [1, 10, 8],
        "transform": [1.0, 0.0, 100.0, 0.0, -1.0, 200.0], "crs": "EPSG:32633",
        "nodata": -9999, "dtype": "float32",
    }  # fmt: skip
    return {**layer, **changes}


def handed(value: Any, folder: Path, *, rasters: Any = (), write_to: str | None = None) -> Any:
    return hand_over(
        value,
        Writer(str(folder), "0-1"),
        rasters=list(rasters),
        write_to=write_to,
        pickle=cloudpickle.dumps,
    )


def bytes_of(value: HandedOver, folder: Path) -> bytes:
    return (folder / value.file).read_bytes() if value.file else value.inline or b""


def array_of(value: HandedOver, folder: Path) -> Any:
    return np.lib.format.read_array(io.BytesIO(bytes_of(value, folder)), allow_pickle=False)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="none"),
        pytest.param(True, id="bool"),
        pytest.param("Zürich 東京", id="text"),
        pytest.param("\udc80", id="lone-surrogate"),
        pytest.param([1, 2.5, {"a": [None]}], id="nested"),
        pytest.param((1, 2), id="tuple"),
        pytest.param(Pair(1, 2), id="namedtuple"),
        pytest.param({3: "three"}, id="number-key"),
        pytest.param(float("inf"), id="infinity"),
    ],
)
def test_json_is_what_pythons_json_says(value: Any, tmp_path: Path) -> None:
    result = handed(value, tmp_path)
    assert result.kind == "json"
    assert json.loads(result.inline) == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        pytest.param(np.int16(7), 7, id="int"),
        pytest.param({"mean": np.float32(0.5)}, {"mean": 0.5}, id="in-a-dict"),
        pytest.param([np.bool_(1)], [True], id="bool"),
        pytest.param({np.int64(3): np.int64(4)}, {"3": 4}, id="as-key"),
    ],
)
def test_numpy_scalars_are_plain_numbers(value: Any, plain: Any, tmp_path: Path) -> None:
    result = handed(value, tmp_path)
    assert (result.kind, json.loads(result.inline)) == ("json", plain)


def test_json_is_utf8_not_escapes(tmp_path: Path) -> None:
    assert handed("é", tmp_path).inline == '"é"'.encode()


@pytest.mark.parametrize("shape", [(5,), (2, 3), (), (40,) * 3 + (1,) * 17], ids=str)
@pytest.mark.parametrize("dtype", ["bool", ">i2", "float32", "complex128"])
def test_the_header_of_plain_numbers_is_as_numpy_reads_it(
    shape: tuple[int, ...], dtype: str, tmp_path: Path
) -> None:
    array = np.ones(shape, dtype)
    found = array_of(handed(array, tmp_path), tmp_path)
    assert (found.shape, found.dtype) == (shape, array.dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("size", [10_000, 3_000_000], ids=["short", "long"])
@pytest.mark.parametrize("make", [bytes, np.zeros], ids=["bytes", "array"])
def test_a_large_value_is_told_of_while_it_is_written(make: Any, size: int, tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    writer = Writer(
        str(tmp_path), "0-1", lambda file: told.append((file, (tmp_path / file).stat().st_size))
    )
    value = hand_over(make(size), writer, rasters=[], write_to=None, pickle=bytes)
    if size < 1_000_000:
        assert told == []
    else:
        assert value.file is not None
        ((file, there),) = told
        assert file == value.file
        assert 0 < there < (tmp_path / file).stat().st_size


@pytest.mark.parametrize("size", [5, 100_000], ids=["inline", "file"])
@pytest.mark.parametrize("dtype", ["uint8", "float64", "complex64", "datetime64[s]"])
def test_an_array_is_npy(size: int, dtype: str, tmp_path: Path) -> None:
    array = np.arange(size).astype("int64").astype(dtype)
    result = handed(array, tmp_path)
    assert (result.kind, result.file is not None) == ("npy", size * array.itemsize > 1 << 15)
    np.testing.assert_array_equal(array_of(result, tmp_path), array)


def test_lists_and_dicts_with_arrays_are_a_tree(tmp_path: Path) -> None:
    result = handed({"a": [np.arange(3), 1], "b": "x"}, tmp_path)
    assert result.kind == "tree"
    with zipfile.ZipFile(io.BytesIO(bytes_of(result, tmp_path))) as archive:
        assert json.loads(archive.read("tree.json")) == {"a": [{"$npy": 0}, 1], "b": "x"}
        leaf = np.lib.format.read_array(io.BytesIO(archive.read("0.npy")))
    np.testing.assert_array_equal(leaf, [0, 1, 2])


TABLES = [
    pytest.param(pd.DataFrame({"a": [1, 2], "b": ["x", None]}), "DataFrame", id="frame"),
    pytest.param(pd.Series([1.5, 2.5], name="mean"), "Series", id="series"),
    pytest.param(pa.table({"a": [1, 2]}), "Table", id="table"),
    pytest.param(pa.record_batch({"a": [1, 2]}), "Table", id="batch"),
]


@pytest.mark.parametrize(("value", "kind"), TABLES)
def test_a_table_is_an_arrow_file(value: Any, kind: str, tmp_path: Path) -> None:
    result = handed(value, tmp_path)
    assert (result.kind, result.meta["type"], result.meta["rows"]) == ("arrow", kind, 2)
    table = pa.ipc.open_file(bytes_of(result, tmp_path)).read_all()
    if isinstance(value, pd.DataFrame):
        pd.testing.assert_frame_equal(table.to_pandas(), value)
    assert table.num_rows == 2


def test_features_keep_every_geometry_column_and_its_crs(tmp_path: Path) -> None:
    features = gpd.GeoDataFrame({"n": [1]}, geometry=[Point(1, 2)], crs="EPSG:4326")
    features["centre"] = gpd.GeoSeries([Point(5, 6)], crs="EPSG:32633")
    result = handed(features, tmp_path)
    assert result.kind == "geoarrow"
    assert result.meta["geometry"] == "geometry"
    assert result.meta["geometries"] == {"geometry": "EPSG:4326", "centre": "EPSG:32633"}
    frame = pa.ipc.open_file(bytes_of(result, tmp_path)).read_all().to_pandas()
    assert list(gpd.GeoSeries.from_wkb(frame["centre"])) == [Point(5, 6)]


# ---- rasters

ARRAY = np.arange(80, dtype="float32").reshape(1, 10, 8)
CORE = ARRAY[:, 2:8, 2:6]
CORE_TRANSFORM = [1.0, 0.0, 102.0, 0.0, -1.0, 198.0]


def test_a_raster_dict_is_a_raster_where_its_transform_says(tmp_path: Path) -> None:
    value = {
        "raster": ARRAY[0],
        "transform": affine.Affine(2, 0, 5, 0, -2, 9),
        "crs": CRS.from_epsg(32633),
        "nodata": np.float32(NAN),
    }
    result = handed(value, tmp_path)
    assert result.kind == "raster"
    assert result.meta == {
        "transform": [2.0, 0.0, 5.0, 0.0, -2.0, 9.0], "crs": "EPSG:32633", "nodata": "nan"
    }  # fmt: skip
    np.testing.assert_array_equal(array_of(result, tmp_path), ARRAY[0])


@pytest.mark.parametrize(
    ("nodata", "plain"),
    [
        pytest.param(np.int64(2**53 + 1), 2**53 + 1, id="all-digits"),
        pytest.param(np.uint64(2**64 - 1), 2**64 - 1, id="largest"),
        pytest.param(np.int64(-(2**63)), -(2**63), id="smallest"),
        pytest.param(2**64, 2.0**64, id="longer"),
        pytest.param(np.finfo("float32").min, float(np.finfo("float32").min), id="float32"),
        pytest.param(np.float64(-9999), -9999.0, id="float64"),
    ],
)
def test_nodata_is_a_number_that_an_answer_carries(nodata: Any, plain: Any, tmp_path: Path) -> None:
    """Whole numbers of more than 64 bits end the process that says them."""
    value = {"raster": np.zeros((1, 1)), "transform": (1, 0, 0, 0, -1, 0), "nodata": nodata}

    meta = handed(value, tmp_path).meta

    assert (meta["nodata"], type(meta["nodata"])) == (plain, type(plain))


@pytest.mark.parametrize("number", [NAN, float("inf"), "x"])
def test_what_is_no_transform_makes_no_raster(number: Any, tmp_path: Path) -> None:
    """NaN is no JSON: saying it ended the child."""
    value = {"raster": np.zeros((1, 1)), "transform": [1, 0, number, 0, -1, 0]}

    assert handed(value, tmp_path).kind == "tree"
    with pytest.raises(Refused, match="NotAFileResult"):
        handed(value, tmp_path, write_to="raster")


def masked(values: list[Any], mask: list[int], dtype: str) -> Any:
    return np.ma.masked_array(np.array([values], dtype=dtype), [mask])


@pytest.mark.parametrize(
    ("array", "nodata"),
    [
        pytest.param(masked([1, 2], [1, 0], "uint8"), 63, id="numpys-own"),
        pytest.param(masked([1, 63], [1, 0], "uint8"), 255, id="which-a-pixel-has"),
        pytest.param(masked([1, 63, 255], [1, 0, 0], "uint8"), 254, id="and-the-next"),
        pytest.param(masked([1, 63], [0, 0], "uint8"), None, id="nothing-masked"),
        pytest.param(masked([1, 999999], [1, 0], "int32"), 2**31 - 1, id="32-bit"),
        pytest.param(masked([1, 999999], [1, 0], "int64"), 2**53, id="64-bit"),
        pytest.param(masked([1, 999999, 2**53], [1, 0, 0], "uint64"), 0, id="64-bit-no-sign"),
        pytest.param(masked([1, 2], [1, 0], "float64"), 1e20, id="numpys-own-float"),
        pytest.param(masked([1, 1e20], [1, 0], "float64"), "nan", id="float"),
        pytest.param(masked([0, 1], [1, 0], "bool"), 63, id="bool"),
    ],
)
def test_no_valid_pixel_of_a_masked_raster_becomes_nodata(
    array: Any, nodata: Any, tmp_path: Path
) -> None:
    result = handed({"raster": array, "transform": CORE_TRANSFORM, "crs": None}, tmp_path)
    assert result.meta["nodata"] == nodata
    written, number = array_of(result, tmp_path), NAN if nodata == "nan" else nodata
    assert array.mask.sum() == (np.isnan(written) if nodata == "nan" else written == number).sum()
    np.testing.assert_array_equal(written[~array.mask], array.compressed())


def test_a_masked_raster_of_every_number_is_refused(tmp_path: Path) -> None:
    array = masked([0, *range(256)], [1] + [0] * 256, "uint8")
    with pytest.raises(Refused) as error:
        handed({"raster": array, "transform": CORE_TRANSFORM, "crs": None}, tmp_path)
    assert error.value.reason == "NotSerializable"


@pytest.mark.parametrize("crs", [4326, np.int64(4326), "EPSG:4326", CRS.from_epsg(4326)])
def test_a_crs_may_be_a_code(crs: Any, tmp_path: Path) -> None:
    result = handed({"raster": ARRAY, "transform": CORE_TRANSFORM, "crs": crs}, tmp_path)
    assert result.meta["crs"] == "EPSG:4326"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(ARRAY, id="padded"),
        pytest.param(CORE, id="core"),
        pytest.param(ARRAY[0], id="padded-without-band"),
        pytest.param({"raster": ARRAY, "like": "dem"}, id="like"),
        pytest.param(
            {"raster": ARRAY, "transform": affine.Affine(1, 0, 100, 0, -1, 200), "crs": None},
            id="dict-with-halo",
        ),
    ],
)
def test_an_array_for_a_layer_is_its_core_window(value: Any, tmp_path: Path) -> None:
    result = handed(value, tmp_path, rasters=[a_layer()], write_to="raster")
    assert result.kind == "raster"
    assert result.meta["transform"] == CORE_TRANSFORM
    np.testing.assert_array_equal(array_of(result, tmp_path).reshape(CORE.shape), CORE)


def test_an_array_of_no_windows_shape_is_refused_with_the_shapes(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        handed(np.zeros((3, 4)), tmp_path, rasters=[a_layer()], write_to="raster")
    assert refused.value.reason == "ShapeMismatch"
    assert refused.value.details == {
        "shape": [3, 4], "core": [6, 4], "padded": [10, 8], "keys": []
    }  # fmt: skip


def test_an_array_that_fits_two_grids_asks_which(tmp_path: Path) -> None:
    other = a_layer("ndvi", transform=[2.0, 0.0, 0.0, 0.0, -2.0, 0.0])
    with pytest.raises(Refused) as refused:
        handed(ARRAY, tmp_path, rasters=[a_layer(), other], write_to="raster")
    assert refused.value.details["keys"] == ["dem", "ndvi"]


@pytest.mark.parametrize(
    ("value", "write_to"),
    [
        pytest.param({"mean": 3}, "raster", id="json-for-a-raster-layer"),
        pytest.param(None, "vector", id="none-for-a-vector-layer"),
        pytest.param(np.zeros((6, 4)), "vector", id="array-for-a-vector-layer"),
    ],
)
def test_what_is_no_file_cannot_be_written_to_a_layer(
    value: Any, write_to: str, tmp_path: Path
) -> None:
    with pytest.raises(Refused) as refused:
        handed(value, tmp_path, rasters=[a_layer()], write_to=write_to)
    assert refused.value.reason == "NotAFileResult"


# ---- files


def test_bytes_and_streams_count_from_their_beginning(tmp_path: Path) -> None:
    stream = io.BytesIO(b"abc")
    stream.read()
    for value in (b"abc", bytearray(b"abc"), memoryview(b"abc"), stream):
        result = handed(value, tmp_path)
        assert (result.kind, result.inline) == ("bytes", b"abc")


def test_a_path_under_scratch_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "map.tif").write_bytes(b"II*")
    result = handed(tmp_path / "out" / "map.tif", tmp_path)
    assert (result.kind, result.meta) == ("bytes", {"name": "out/map.tif"})
    assert bytes_of(result, tmp_path) == b"II*"


def test_a_list_of_files_lies_end_to_end(tmp_path: Path) -> None:
    (tmp_path / "b.json").write_bytes(b"[]")
    result = handed([b"abc", tmp_path / "b.json", io.BytesIO(b"z")], tmp_path)
    assert result.kind == "list"
    assert result.meta["items"] == [
        {"start": 0, "stop": 3},
        {"name": "b.json", "start": 3, "stop": 5},
        {"start": 5, "stop": 6},
    ]
    assert bytes_of(result, tmp_path) == b"abc[]z"


def test_a_path_outside_scratch_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "scratch" / "link").symlink_to(tmp_path / "secret")
    for path in (tmp_path / "secret", tmp_path / "scratch" / "link"):
        with pytest.raises(Refused) as refused:
            handed(path, tmp_path / "scratch")
        assert "outside ctx.scratch" in refused.value.details["type"]


# ---- the last row


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        pytest.param({1, 2}, "set", id="set"),
        pytest.param(np.array([{}], dtype=object), "numpy.ndarray", id="object-array"),
        pytest.param(np.ma.masked_equal([1, 2], 1), "numpy.ma.MaskedArray", id="masked-array"),
        pytest.param(pd.DataFrame({"a": [2**70]}), "pandas.DataFrame", id="number-beyond-64-bits"),
        pytest.param({"a": b"bytes inside"}, "dict", id="bytes-in-a-dict"),
        pytest.param({"$npy": np.zeros(1)}, "dict", id="dict-like-our-own-mark"),
    ],
)
def test_anything_else_is_a_marked_pickle(value: Any, kind: str, tmp_path: Path) -> None:
    result = handed(value, tmp_path)
    assert (result.kind, result.meta) == ("pickle", {"type": kind})


def test_what_cannot_be_pickled_is_refused_by_type(tmp_path: Path) -> None:
    with pytest.raises(Refused) as refused:
        handed((number for number in range(3)), tmp_path)
    assert (refused.value.reason, refused.value.details) == (
        "NotSerializable",
        {"type": "generator"},
    )


def test_a_list_that_holds_itself_goes_to_the_last_row(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert handed(loop, tmp_path).kind == "pickle"
