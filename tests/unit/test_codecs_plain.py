"""JSON, bytes, lists of files, pickles: what the caller gets for what `f` returned."""

import io
import json
import math
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from codec_builders import encoded, entry_of, round_trip
from geopod import codecs
from geopod.api.results import Entry
from geopod.codecs import MalformedValueError, PickledResult, ResultFile
from geopod.codecs.plain import sniff
from hypothesis import given, settings
from hypothesis import strategies as st

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.text() | st.integers() | st.booleans() | st.none() | st.floats(allow_nan=False)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(KEYS, inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None)
@given(VALUES)
def test_json_means_what_python_json_means(value):
    expected = json.loads(json.dumps(value))
    with TemporaryDirectory() as folder:
        assert repr(round_trip(value, Path(folder))) == repr(expected)


JSON_VALUES = {
    "none": (None, None),
    "tuple": ((1, (2,)), [1, [2]]),
    "integer keys": ({1: "a"}, {"1": "a"}),
    "numpy scalars": ([np.int16(3), np.float32(0.5), np.arange(2)[1] > 0], [3, 0.5, True]),
    "lone surrogate": ("\ud800é", "\ud800é"),
    "large integer": (10**40, 10**40),
}


@pytest.mark.parametrize(("value", "expected"), JSON_VALUES.values(), ids=JSON_VALUES)
def test_json_table(tmp_path, value, expected):
    assert encoded(value, tmp_path).codec == "json"
    assert round_trip(value, tmp_path) == expected


def test_nan_and_infinities_survive(tmp_path):
    nan, infinite = round_trip([float("nan"), float("-inf")], tmp_path)
    assert math.isnan(nan)
    assert infinite == float("-inf")


def test_json_is_measured_as_utf8_without_escapes(tmp_path):
    assert encoded("é" * 10, tmp_path).size == 22


HEADS = {
    "classic tiff": (b"II*\0" + bytes(8), "image/tiff"),
    "big tiff": (b"MM\0+" + bytes(8), "image/tiff"),
    "parquet": (b"PAR1....", "application/vnd.apache.parquet"),
    "flatgeobuf": (b"fgb\x03fgb\x00", "application/flatgeobuf"),
    "arrow": (b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
    "geopackage": (b"SQLite format 3\0" + bytes(52) + b"GPKG", "application/geopackage+sqlite3"),
    "sqlite": (b"SQLite format 3\0" + bytes(56), "application/vnd.sqlite3"),
    "geojson": (b' {"type": "FeatureCollection"', "application/geo+json"),
    "json": (b'\xef\xbb\xbf\n{"a": 1}', "application/json"),
    "zip": (b"PK\x03\x04", "application/zip"),
    "png": (b"\x89PNG\r\n\x1a\n", "image/png"),
    "empty": (b"", "application/octet-stream"),
    "text": (b"hello", "application/octet-stream"),
}


@pytest.mark.parametrize(("head", "media_type"), HEADS.values(), ids=HEADS)
def test_media_type_is_read_from_the_head(head, media_type):
    assert sniff(head) == media_type


@pytest.mark.parametrize("as_file", [False, True], ids=["inline", "file"])
@pytest.mark.parametrize("make", [bytes, bytearray, io.BytesIO, memoryview])
def test_bytes_come_back_as_bytes(tmp_path, make, as_file):
    assert round_trip(make(b"abc"), tmp_path, as_file=as_file) == b"abc"


def test_bytes_io_is_taken_from_its_beginning(tmp_path):
    stream = io.BytesIO(b"abc")
    stream.read()
    assert round_trip(stream, tmp_path) == b"abc"


@pytest.mark.parametrize("as_file", [False, True], ids=["inline", "file"])
def test_large_result_gives_bytes_as_a_handle(tmp_path, as_file):
    head = b"II*\0" + bytes(100)
    file = round_trip(head, tmp_path, as_file=as_file, large_result=True)
    assert isinstance(file, ResultFile)
    assert (file.size, file.media_type, file.suffix) == (104, "image/tiff", ".tif")
    with file.open() as stream:
        assert stream.read() == head
    assert file.path.read_bytes() == head
    assert file.save(tmp_path) == tmp_path / "result.tif"
    assert file.save(str(tmp_path / "named")).read_bytes() == head


def test_returned_path_keeps_its_name_and_nothing_of_its_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "out.csv").write_bytes(b"a,b\n")
    file = round_trip(tmp_path / "deep" / "out.csv", tmp_path, large_result=True)
    assert (file.name, file.suffix, file.bytes) == ("out.csv", ".csv", b"a,b\n")


def test_name_that_climbs_out_of_its_folder_is_cut():
    result = codecs.encode("bytes", b"x", {"name": "../../etc/passwd"}, workdir=Path())
    assert result.meta["name"] == "passwd"


@pytest.mark.parametrize("large_result", [False, True], ids=["bytes", "handles"])
def test_list_of_files_comes_back_as_a_list(tmp_path, large_result):
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = round_trip(
        [b"", io.BytesIO(b"II*\0"), tmp_path / "b.png"], tmp_path, large_result=large_result
    )
    contents = [item.bytes if large_result else item for item in found]
    assert contents == [b"", b"II*\0", b"\x89PNG\r\n\x1a\n"]
    if large_result:
        assert [item.suffix for item in found] == [".bin", ".tif", ".png"]


BAD_ITEMS = {
    "beyond the end": [{"start": 0, "stop": 9}],
    "gap": [{"start": 1, "stop": 2}],
    "backwards": [{"start": 0, "stop": 2}, {"start": 2, "stop": 1}],
    "text": [{"start": 0, "stop": "2"}],
}


@pytest.mark.parametrize("items", BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_items_that_do_not_fit_the_bytes_are_refused(items):
    with pytest.raises(MalformedValueError, match=r"item \d lies at"):
        codecs.encode("list", b"abc", {"items": items}, workdir=Path())


def test_pickle_stays_closed_until_asked(tmp_path):
    result = round_trip({1, 2}, tmp_path)
    assert isinstance(result, PickledResult)
    assert (result.type_name, result.size) == ("set", entry_of(encoded({1, 2}, tmp_path)).bytes)
    assert repr(result).startswith(f"<PickledResult set, {result.size} bytes, sha256 ")
    assert result.load() == {1, 2}


def test_pickle_is_opened_at_once_when_allowed(tmp_path):
    assert round_trip({1, 2}, tmp_path, allow_pickle=True) == {1, 2}


def test_damaged_bytes_are_refused():
    entry = Entry(codec="json", sha256="", bytes=3)
    with pytest.raises(MalformedValueError, match="2 bytes where the manifest says 3"):
        codecs.decode(entry, b"12")
    with pytest.raises(MalformedValueError, match="no JSON"):
        codecs.decode(entry, b"{,}")


def test_unknown_kinds_and_codecs_are_refused():
    with pytest.raises(MalformedValueError, match="unknown kind 'exe'"):
        codecs.encode("exe", b"", {}, workdir=Path())
    with pytest.raises(MalformedValueError, match="unknown codec 'exe'"):
        codecs.decode(Entry(codec="exe", sha256="", bytes=0), b"")


SUFFIXES = {
    "json": ("json", {}, ".json"),
    "geotiff": ("geotiff", {}, ".tif"),
    "named bytes": ("bytes", {"name": "a.csv", "mediaType": "image/png"}, ".csv"),
    "sniffed bytes": ("bytes", {"mediaType": "image/png"}, ".png"),
    "unknown bytes": ("bytes", {}, ".bin"),
}


@pytest.mark.parametrize(("codec", "meta", "suffix"), SUFFIXES.values(), ids=SUFFIXES)
def test_suffix_of_a_downloaded_result(codec, meta, suffix):
    assert codecs.suffix(Entry(codec=codec, sha256="", bytes=0, meta=meta)) == suffix


def test_importing_the_room_loads_no_heavy_library():
    heavy = {"numpy", "pandas", "pyarrow", "rasterio", "geopandas", "shapely"}
    script = f"import sys, geopod.codecs; print(*{heavy} & {{*sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert done.stdout.strip() == ""
