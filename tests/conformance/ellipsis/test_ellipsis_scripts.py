"""Scripts in the shapes that Ellipsis Drive's users publish, run here with the import changed.

Source of the shapes: the documented page `compute` and the example scripts beside the package. The
code is our own; ids are uuids as there, and each function brings its own imports as there.
"""
# ruff: noqa: B905, N802, N803, N806, PD011, PLW0108  # their authors' style

from __future__ import annotations

import functools
import io
import math
import sys

import geopandas
import geopod
import geopod.faces.ellipsis as el
import numpy as np
import pandas as pd
import pytest
from ellipsis_cases import (
    CASES,
    FIELDS,
    FIELDS_TIME,
    FRAME,
    LAYERS,
    RESULTS,
    SENTINEL,
    SENTINEL_TIME,
    SPEC,
    VALUES,
    Drive,
    a_model,
)
from geopod.errors import RequirementsBuildError
from layer_builders import write_raster

INTERPRETER = f"python{sys.version_info.major}.{sys.version_info.minor}"
TOKEN = "any-token"  # noqa: S105  # this machine asks for none


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory):
    """A state folder whose catalogue has a raster and a vector layer, and layers for results."""
    folder = tmp_path_factory.mktemp("layers")
    write_raster(folder / "sentinel.tif", SPEC, VALUES)
    FRAME.to_parquet(folder / "fields.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("GEOPOD_TARGET", "local")
        patch.setenv("GEOPOD_PROGRESS", "0")
        with geopod.connect() as client:
            client.add_layer(SENTINEL, folder / "sentinel.tif", timestamp=SENTINEL_TIME)
            client.add_layer(FIELDS, folder / "fields.parquet", timestamp=FIELDS_TIME)
            for name, kind in (RESULTS | {"points": "vector"}).items():
                client.add_layer(name, type=kind)
            yield client
            client.terminate_all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return a_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def small(catalogue, model):
    """A compute for simple results."""
    return el.compute.createCompute(
        layers=LAYERS,
        token=TOKEN,
        files=[model],
        nodes=2,
        interpreter=INTERPRETER,
        requirements=[],
    )["id"]


@pytest.fixture(scope="module")
def large(catalogue, model):
    """A compute for memory files."""
    return el.compute.createCompute(
        layers=LAYERS,
        token=TOKEN,
        files=[model],
        nodes=2,
        interpreter=INTERPRETER,
        largeResult=True,
    )["id"]


def test_whole_script_from_creating_to_terminating(catalogue):
    pathId, timestampId = SENTINEL, SENTINEL_TIME
    requirements = []
    nodes = 1
    layers = [{"pathId": pathId, "timestampId": timestampId}]
    computeId = el.compute.createCompute(
        layers=layers,
        token=TOKEN,
        nodes=nodes,
        interpreter=INTERPRETER,
        requirements=requirements,
        largeResult=False,
    )["id"]

    def f(params):
        import numpy as np

        r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"].astype("float64")
        extent = params["523caede-9f96-49fa-a855-3e546bcd365d"]["extent"]
        assert extent["xMin"] < extent["xMax"]
        ndvi = (r[3, :, :] - r[0, :, :]) / (r[0, :, :] + r[3, :, :])
        return np.nanmax(ndvi)

    r = el.compute.execute(computeId=computeId, token=TOKEN, f=f)

    assert len(r) == 1
    assert -1 <= np.max(r) <= 1
    assert el.compute.getComputeInfo(computeId, TOKEN)["status"] == "completed"
    assert el.compute.terminateCompute(computeId=computeId, token=TOKEN) == {}
    assert el.compute.getComputeInfo(computeId, TOKEN)["status"] == "stopped"
    with pytest.raises(ValueError, match="GP-E204"):
        el.compute.execute(computeId=computeId, token=TOKEN, f=f)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_published_script(catalogue, large, tmp_path, case):
    def file_of(path_id, timestamp_id):
        (file,) = catalogue.get_layer(path_id).files(timestamp_id)
        return file

    case(Drive(large, TOKEN, tmp_path, file_of))


def test_frame_is_reached_directly_and_as_vector(small):
    def f(params):
        aoi = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]
        poly = aoi["geometry"].values[0]
        return poly.equals(aoi["vector"]["geometry"].values[0]), aoi.crs.to_epsg()

    assert el.execute(small, f, TOKEN) == [[True, 3857]] * 2


def test_features_are_counted_without_their_optional_column(small):
    def f(params):
        sh = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]["vector"]
        n = 0
        if "value" in sh.columns:
            n = sh[sh["value"] >= 500].shape[0]
        if "carrier" in sh.columns:
            n = -1
        return n

    r = el.compute.execute(computeId=small, token=TOKEN, f=f)
    assert np.sum(r) == int((FRAME["value"] >= 500).sum())


def test_points_are_sampled_from_a_raster_in_memory(small):
    def f(params):
        from rasterio.io import MemoryFile

        r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"]
        sh = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]["vector"]
        transform = params["523caede-9f96-49fa-a855-3e546bcd365d"]["transform"]
        r = r.astype("float32")
        memfile = MemoryFile()
        with memfile.open(
            driver="GTiff",
            dtype="float32",
            height=r.shape[1],
            width=r.shape[2],
            count=r.shape[0],
            crs="EPSG:3857",
            transform=transform,
        ) as dataset:
            dataset.write(r)
        with memfile.open() as dataset:
            places = zip(sh.bounds["minx"].values, sh.bounds["miny"].values)
            values = list(dataset.sample(list(places)))
        memfile.close()
        return [v[0] for v in values]

    r = el.compute.execute(computeId=small, token=TOKEN, f=f)
    assert sum(map(len, r)) == 60
    assert all(isinstance(value, float) for part in r for value in part)


def test_file_and_shape_of_the_raster(small, model):
    (key,) = el.getComputeInfo(small, TOKEN)["files"]

    def f(params):
        import json

        model_string = params[key].read().decode()
        r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"]
        return json.loads(model_string)["threshold"], r.shape

    for threshold, shape in el.compute.execute(small, f, TOKEN):
        assert threshold == 2000
        assert shape[0] == 4


def test_features_of_all_nodes_are_put_together(small):
    def f(params):
        fields = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]["vector"]
        return fields[fields["value"] >= 500]

    res = el.compute.execute(computeId=small, f=f, token=TOKEN)
    sh = pd.concat(res)
    assert isinstance(sh, geopandas.GeoDataFrame)
    assert sorted(sh["id"]) == FRAME["id"][FRAME["value"] >= 500].tolist()


def bright_points(params):
    import io

    import geopandas as gpd
    import numpy as np
    from shapely.geometry import Point

    outputRasters = [params[k] for k in params if "raster" in params[k]]

    def blackBoxVectorExtraction(outputRasters):
        extent = outputRasters[0]["extent"]
        out = np.squeeze(outputRasters[0]["raster"][1, :, :])
        indices = np.where(out > 3900)
        step = (extent["xMax"] - extent["xMin"]) / out.shape[1]
        coordsX = [extent["xMin"] + step * x for x in indices[1]]
        coordsY = [extent["yMax"] - step * y for y in indices[0]]
        points = [Point(p) for p in zip(coordsX, coordsY)]
        return gpd.GeoDataFrame({"geometry": points})

    sh = blackBoxVectorExtraction(outputRasters)
    sh.crs = "EPSG:3857"
    sh = sh.to_crs("EPSG:4326")
    memfile = io.BytesIO()
    sh.to_file(memfile, driver="GPKG")
    return memfile


def test_vector_file_becomes_a_vector_layer(catalogue, large):
    target = {"pathId": "points", "timestampId": "gpkg", "file": {"format": "gpkg"}}
    el.compute.execute(computeId=large, f=bright_points, token=TOKEN, writeToLayer=target)
    (file,) = catalogue.get_layer("points").files("gpkg")
    found = geopandas.read_file(file)
    assert len(found) == int((VALUES[1] > 3900).sum())
    assert found.crs.to_epsg() == 4326


def test_several_files_of_a_node_are_added_and_none_is_skipped(catalogue, large):
    def f(params, ctx):
        import io

        fields = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]["vector"]
        if ctx.index == 1:
            return None
        files = []
        for rows in (fields[fields["value"] < 500], fields[fields["value"] >= 500]):
            memfile = io.BytesIO()
            rows.to_file(memfile, driver="GeoJSON")
            files.append(memfile)
        return files

    res = el.execute(large, f, TOKEN)
    assert [entry and len(entry) for entry in res] == [2, None]
    el.addLayer(res, "points", "parts", TOKEN)
    files = catalogue.get_layer("points").files("parts")
    found = pd.concat([geopandas.read_parquet(file) for file in files])
    parts = [io.BytesIO(), io.BytesIO()]
    for url, part in zip(res[0], parts, strict=True):
        el.downloadFile(url, TOKEN, memfile=part)
    downloaded = pd.concat([geopandas.read_file(part) for part in parts])
    assert sorted(found["id"]) == sorted(downloaded["id"])
    assert 0 < len(found) < 60


def test_pending_result_is_filled_by_waiting(small):
    pending = el.execute(small, lambda params: len(params), TOKEN, awaitTillCompleted=False)
    assert pending == []
    assert pending.wait(timeout="2m") == [3, 3]


def test_size_limit_of_simple_results_is_exact(small):
    def f(params, ctx):
        return "x" * (2_097_152 - 2 + (ctx.index == 1))  # quotes are two bytes of JSON

    with pytest.raises(ValueError, match="GP-E301") as caught:
        el.execute(small, f, TOKEN)
    assert [value and len(value) for value in caught.value.completed] == [
        2_097_150,
        None,
    ]
    assert "largeResult=True" in caught.value.hint


def test_every_execute_has_its_own_result(small):
    found = [el.execute(small, lambda params, n=n: n, TOKEN)[0] for n in range(4)]
    assert found == [0, 1, 2, 3]


SCALE = 3


def plain(params):
    return len(params) * SCALE


def countdown(n):
    return 0 if n == 0 else countdown(n - 1)


def recursive(params):
    return 9 + countdown(len(params))


def undefined_default(params):
    return 9


def doubled(function):
    @functools.wraps(function)
    def call(params):
        return 2 * function(params)

    return call


@doubled
def decorated(params):
    return math.sqrt(20.25)


def nesting(n):
    def nested(params):
        text = """9
        is not 8"""
        return n if "\n        is" in text else 0

    return nested


async def awaited(params):
    return 9


class Nine:
    def __call__(self, params):
        return 9

    def method(self, params):
        return 9


SHAPES = {
    "plain, with a global": plain,
    "recursive": recursive,
    "name containing def": undefined_default,
    "decorated, with an import": decorated,
    "nested, with a closure and a text of two lines": nesting(9),
    "async": awaited,
    "lambda": lambda params: 9,
    "bound method": Nine().method,
    "callable object": Nine(),
    "partial": functools.partial(lambda n, params: n, 9),
}


def test_every_shape_of_function_is_sent(small):
    found = {name: el.execute(small, function, TOKEN) for name, function in SHAPES.items()}
    assert found == {name: [9, 9] for name in SHAPES}


def test_compute_that_cannot_be_built_is_errored_with_the_installers_line(catalogue, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    # With an empty cache another package than this is the first that uv misses.
    with pytest.raises(ValueError, match="requirements are unsatisfiable") as caught:
        el.createCompute(
            LAYERS, TOKEN, interpreter=INTERPRETER, requirements=["no-such-package-of-geopod"]
        )
    assert isinstance(caught.value, RequirementsBuildError)
    failed = el.listComputes(TOKEN)["result"][-1]
    assert failed["status"] == "errored"
    assert failed["message"].startswith("GP-E112 ")
    assert "requirements are unsatisfiable" in failed["message"]
    assert el.terminateCompute(failed["id"], TOKEN) == {}
    assert el.getComputeInfo(failed["id"], TOKEN)["status"] == "stopped"


def test_unoffered_interpreter_names_those_there_are(catalogue):
    with pytest.raises(ValueError, match=r"No runtime offers 'python3.9'. Offered: .*python3"):
        el.createCompute(LAYERS, TOKEN, interpreter="python3.9")


def test_unknown_layer_is_named_before_anything_starts(catalogue):
    before = el.listComputes(TOKEN)["size"]
    with pytest.raises(ValueError, match=f"No layer '{FIELDS}' with timestamp 'gone'"):
        el.createCompute([{"pathId": FIELDS, "timestampId": "gone"}], TOKEN, 2)
    assert el.listComputes(TOKEN)["size"] == before


def test_terminate_all_stops_every_compute(catalogue, small, large):
    assert el.compute.terminateAll(token=TOKEN) is None
    assert {it["status"] for it in el.compute.listComputes(TOKEN)["result"]} == {"stopped"}
