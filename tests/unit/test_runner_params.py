"""What `f` receives: a lazy dict that no idiom of users can tell from a plain one."""

import copy
import io
import json
import operator
import pickle
from collections import ChainMap, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import affine
import geopandas as gpd
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from geopod.runner.params import Params, Staged, Unread, touched
from shapely.geometry import Point


def a_lazy_dict() -> Params:
    return Params({"a": Unread("raster", lambda: 1), "b": Unread("vector", lambda: 2)})


def match_mapping(params: Any) -> Any:
    match params:
        case {"a": first, **rest}:
            return first, rest
    return None


def keyword_call(params: Any) -> Any:
    def gather(**named: Any) -> Any:
        return named

    return gather(**params)


def merged_in_place(params: Any) -> Any:
    target = {"z": 0}
    target |= params
    return target


def updated(params: Any) -> Any:
    target: dict[str, int] = {}
    target.update(params)
    return target


def popped(params: Any) -> Any:
    return params.pop("a"), params.pop("missing", 9), list(params)


def replaced(params: Any) -> Any:
    params["a"] = 5
    del params["b"]
    return dict(params)


IDIOMS: dict[str, Callable[[Any], Any]] = {
    "index": lambda p: p["a"],
    "get": lambda p: (p.get("a"), p.get("missing"), p.get("missing", 3)),
    "items": lambda p: list(p.items()),
    "values": lambda p: list(p.values()),
    "keys": lambda p: list(p.keys()),
    "reversed-items": lambda p: list(reversed(p.items())),
    "reversed-values": lambda p: list(reversed(p.values())),
    "comprehension": lambda p: {key: value + 1 for key, value in p.items()},
    "dict": dict,
    "copy": lambda p: p.copy(),
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "unpacked": lambda p: {**p},
    "keywords": keyword_call,
    "or": lambda p: p | {"c": 3},
    "ror": lambda p: {"c": 3} | p,
    "ior": merged_in_place,
    "update": updated,
    "equal": lambda p: (p == {"a": 1, "b": 2}, {"a": 1, "b": 2} == p, p == {}),  # noqa: SIM300  # both sides  # both sides
    "unequal": lambda p: (p != {"a": 1, "b": 2}, p != {}),
    "pop": popped,
    "popitem": lambda p: (p.popitem(), len(p)),
    "setdefault": lambda p: (p.setdefault("a", 7), p.setdefault("c", 8), dict(p)),
    "set-and-delete": replaced,
    "match": match_mapping,
    "percent": lambda p: "%(a)s and %(b)s" % p,  # noqa: UP031  # the idiom  # the idiom under test
    "format_map": "{a} and {b}".format_map,
    "json": json.dumps,
    "pickle": lambda p: pickle.loads(pickle.dumps(p)),  # the idiom  # noqa: S301, TID251  # what users do
    "itemgetter": operator.itemgetter("a", "b"),
    "series": lambda p: pd.Series(p).to_dict(),
    "ordered-dict": lambda p: list(OrderedDict(p).items()),
    "chain-map": lambda p: dict(ChainMap({}, p)),
    "sorted": lambda p: sorted(p.items()),
    "zip": lambda p: list(zip(p, p.values(), strict=True)),
    "contains-value": lambda p: 2 in p.values(),
}


@pytest.mark.parametrize("idiom", IDIOMS.values(), ids=IDIOMS.keys())
def test_an_idiom_sees_what_a_plain_dict_shows(idiom: Callable[[Any], Any]) -> None:
    lazy = idiom(a_lazy_dict())
    plain = idiom({"a": 1, "b": 2})
    assert lazy == plain
    assert type(lazy) is type(plain)


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda p: "a" in p, id="in"),
        pytest.param(len, id="len"),
        pytest.param(list, id="list"),
        pytest.param(repr, id="repr"),
        pytest.param(bool, id="bool"),
        pytest.param(lambda p: list(p.keys()), id="keys"),
        pytest.param(lambda p: list(reversed(p)), id="reversed"),
    ],
)
def test_looking_at_keys_reads_nothing(look: Callable[[Any], Any]) -> None:
    params = a_lazy_dict()
    look(params)
    assert touched(params) == []


def test_a_value_is_read_once_and_told() -> None:
    params = a_lazy_dict()
    assert [params["b"], params["b"]] == [2, 2]
    assert touched(params) == ["b"]


# ---- a staged partition, written here by numpy, pyarrow and geopandas

ARRAY = np.arange(2 * 5 * 6, dtype="int16").reshape(2, 5, 6)
FEATURES = gpd.GeoDataFrame(
    {"name": ["x", "y"], "population": [3, 4]},
    geometry=[Point(1, 2), Point(3, 4)],
    index=pd.Index([7, 9], name="_fid"),
    crs="EPSG:4326",
)


def a_staged_folder(folder: Path) -> Path:
    np.save(folder / "0.npy", ARRAY)
    table = pa.Table.from_pandas(FEATURES.to_wkb().reset_index(), preserve_index=False)
    with pa.ipc.new_file(folder / "1.arrow", table.schema) as sink:
        sink.write_table(table)
    (folder / "f0").write_bytes(b"plain bytes")
    raster = {
        "key": "dem", "kind": "raster", "file": "0.npy", "pathId": "dem-30m",
        "timestamp": "2024", "date": "2024-06-01", "extent": [10.0, 20.0, 16.0, 25.0],
        "transform": [1.0, 0.0, 10.0, 0.0, -1.0, 25.0], "crs": "EPSG:4326",
        "nodata": float("nan"), "bands": ["red", "nir"], "dtype": "int16", "shape": [2, 5, 6],
        "core": [1, 4, 1, 5], "coreExtent": [11.0, 21.0, 15.0, 24.0], "fill": 0,
        "scales": [1.0, 1.0], "offsets": [0.0, 0.0],
    }  # fmt: skip
    vector = {
        "key": "towns", "kind": "vector", "file": "1.arrow", "pathId": "towns",
        "timestamp": "latest", "date": None, "crs": "EPSG:4326", "geometry": "geometry",
        "mode": "owned", "rows": 2,
    }  # fmt: skip
    done = {"version": 1, "layers": [raster, vector], "files": [{"key": "f", "file": "f0"}]}
    (folder / "DONE").write_text(json.dumps(done))
    return folder


@pytest.fixture
def staged(tmp_path: Path) -> Staged:
    return Staged(str(a_staged_folder(tmp_path)), {})


def test_keys_come_in_the_order_of_layers_then_files(staged: Staged) -> None:
    params = staged.params()
    assert list(params) == ["dem", "towns", "f"]
    assert repr(params) == (
        "{'dem': <raster, not read>, 'towns': <vector, not read>, 'f': <file, not read>}"
    )


def test_a_raster_is_a_dict_with_the_documented_keys(staged: Staged) -> None:
    dem = staged.params()["dem"]
    assert isinstance(dem, dict)
    assert list(dem)[:3] == ["raster", "extent", "transform"]
    assert dem["extent"] == {"xMin": 10.0, "xMax": 16.0, "yMin": 20.0, "yMax": 25.0}
    assert dem["transform"] == affine.Affine(1, 0, 10, 0, -1, 25)
    assert type(dem["raster"]) is np.ndarray
    np.testing.assert_array_equal(dem["raster"], ARRAY)
    assert dem["core"] == (slice(1, 4), slice(1, 5))
    assert dem["core_extent"] == {"xMin": 11.0, "xMax": 15.0, "yMin": 21.0, "yMax": 24.0}
    assert (dem["crs"], dem["bands"], dem["dtype"]) == ("EPSG:4326", ["red", "nir"], "int16")
    assert (dem["pathId"], dem["timestamp"], dem["date"]) == ("dem-30m", "2024", "2024-06-01")
    assert np.isnan(dem["nodata"])


def test_a_raster_pickles_as_a_plain_dict(staged: Staged) -> None:
    again = pickle.loads(pickle.dumps(staged.params()["dem"]))  # the promise  # noqa: S301, TID251  # what users do
    assert type(again) is dict
    np.testing.assert_array_equal(again["raster"], ARRAY)


def test_masked_hides_nodata(staged: Staged) -> None:
    dem = staged.params()["dem"]
    dem["nodata"] = 3
    assert dem.masked.mask.sum() == 1
    dem["nodata"] = None
    assert dem.masked.mask.sum() == 0


def test_writing_to_everything_leaves_the_next_call_untouched(
    staged: Staged, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    params = staged.params()
    params["dem"]["raster"] += 1
    params["dem"]["extent"]["xMin"] += 5
    params["dem"]["bands"].append("blue")
    params["towns"]["geometry"] = params["towns"].translate(1)
    params["towns"]["population"] = 0
    params["f"].read()
    again = staged.params()
    np.testing.assert_array_equal(again["dem"]["raster"], ARRAY)
    assert again["dem"]["extent"]["xMin"] == 10.0
    assert again["dem"]["bands"] == ["red", "nir"]
    assert list(again["towns"]["population"]) == [3, 4]
    assert again["f"].read() == b"plain bytes"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_vector_layer_is_a_geodataframe_indexed_by_its_fid(staged: Staged) -> None:
    towns = staged.params()["towns"]
    assert isinstance(towns, gpd.GeoDataFrame)
    pd.testing.assert_frame_equal(pd.DataFrame(towns), pd.DataFrame(FEATURES))
    assert towns.crs == "EPSG:4326"
    assert towns.attrs["timestamp"] == "latest"


def test_a_vector_layer_answers_to_vector_and_keeps_doing_so(staged: Staged) -> None:
    towns = staged.params()["towns"]
    assert towns["vector"] is towns
    for derived in (towns.iloc[:1], towns.to_crs("EPSG:3857"), towns[towns["population"] > 3]):
        assert derived["vector"] is derived
    towns["vector"] = ["v", "w"]
    assert list(towns["vector"]) == ["v", "w"]


def test_a_vector_layer_pickles_as_a_plain_geodataframe(staged: Staged) -> None:
    again = pickle.loads(pickle.dumps(staged.params()["towns"]))  # the promise  # noqa: S301, TID251  # what users do
    assert type(again) is gpd.GeoDataFrame


def test_a_file_is_a_stream_at_its_beginning(staged: Staged) -> None:
    file = staged.params()["f"]
    assert isinstance(file, io.BytesIO)
    assert (file.tell(), file.read()) == (0, b"plain bytes")


@pytest.mark.parametrize("shape", [(4, 0, 0), (1, 0, 7)])
def test_an_empty_window_maps_too(tmp_path: Path, shape: tuple[int, ...]) -> None:
    folder = a_staged_folder(tmp_path)
    np.save(folder / "0.npy", np.empty(shape, "float32"))
    assert Staged(str(folder), {}).params()["dem"]["raster"].shape == shape


def test_a_folder_of_another_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "DONE").write_text('{"version": 2}')
    with pytest.raises(ValueError, match="version 2; this runner reads 1"):
        Staged(str(tmp_path), {})
