"""Scripts in the shapes that Ellipsis Drive's users publish, for every backend alike.

Source of the shapes: the documented page `compute` and the example scripts beside the package. The
code is our own; ids are uuids as there, and each function brings its own imports as there.
"""
# ruff: noqa: B905, N806, RUF005  # their authors' style

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopod.faces.ellipsis as el
import numpy as np
import pytest
import rasterio
from layer_builders import raster_spec, scene_polygons

SENTINEL = "54cc076b-1d69-4126-9296-52286def7cc0"
SENTINEL_TIME = "523caede-9f96-49fa-a855-3e546bcd365d"
FIELDS = "e8a1d394-5ad0-4635-9201-3621239798ba"
FIELDS_TIME = "ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"
LAYERS = [
    {"pathId": SENTINEL, "timestampId": SENTINEL_TIME},
    {"pathId": FIELDS, "timestampId": FIELDS_TIME},
]
SPEC = raster_spec(rows=96, cols=128, bands=4, dtype="uint16", crs="EPSG:3857")
VALUES = np.random.default_rng(7).integers(1, 4000, (4, 96, 128)).astype("uint16")
FRAME = scene_polygons(60, SPEC)
RESULTS = {"shifted": "raster", "classes": "raster"}


@dataclass(frozen=True)
class Drive:
    """A compute of two nodes for memory files, with the two layers and a model of `a_model`."""

    compute: str
    token: str | None
    folder: Path
    file_of: Callable[[str, str], str]
    """Where the one file of a layer's timestamp lies, for a look from here."""


def a_model(folder: Path) -> Path:
    path = folder / "model.json"
    path.write_text('{"threshold": 2000}')
    return path


def highest_value_in_each_field(params):
    import numpy as np
    from rasterio.features import rasterize

    r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"]
    sh = params["ea07f895-f16d-44b2-b3d0-e4c19ead6b1e"]["vector"]
    transform = params["523caede-9f96-49fa-a855-3e546bcd365d"]["transform"]

    sh["geometry"] = sh.buffer(0.0000001)
    shapes = zip(sh["geometry"].values, range(sh["geometry"].shape[0]))
    burnt = rasterize(
        shapes=list(shapes),
        fill=-1,
        transform=transform,
        out_shape=(r.shape[1], r.shape[2]),
        all_touched=True,
    )
    risks = []
    for i in range(sh.shape[0]):
        N = np.max(r[0, burnt == i], initial=0)
        risks = risks + [{"field": int(sh["id"].values[i]), "maxRisk": float(N)}]
    return risks


def shifted_copy(params):
    from io import BytesIO

    import rasterio
    from rasterio.transform import from_bounds

    r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"]
    extent = params["523caede-9f96-49fa-a855-3e546bcd365d"]["extent"]
    D = 1000 * 1000
    extent["xMin"] = extent["xMin"] + D
    extent["xMax"] = extent["xMax"] + D
    count, h, w = r.shape
    edges = (extent["xMin"], extent["yMin"], extent["xMax"], extent["yMax"])
    memfile = BytesIO()
    con = rasterio.open(
        memfile,
        "w",
        driver="GTiff",
        compress="lzw",
        height=h,
        width=w,
        count=count,
        dtype=r.dtype,
        crs="EPSG:3857",
        transform=from_bounds(*edges, w, h),
    )
    con.write(r)
    con.close()
    return memfile


def classified(params):
    import io
    import json

    import numpy as np
    import rasterio

    (key,) = [k for k in params if len(k) == 64]
    model = json.loads(params[key].read().decode())
    r = params["523caede-9f96-49fa-a855-3e546bcd365d"]["raster"]
    transform = params["523caede-9f96-49fa-a855-3e546bcd365d"]["transform"]
    output = np.zeros((1, r.shape[1], r.shape[2]), "uint8")
    r = np.transpose(r, [1, 2, 0])
    for i in range(0, r.shape[0], 16):
        for j in range(0, r.shape[1], 16):
            tile = r[i : i + 16, j : j + 16, 0:4]
            output[0, i : i + 16, j : j + 16] = tile[:, :, 0] > model["threshold"]
    memFile = io.BytesIO()
    with rasterio.open(
        memFile,
        "w",
        driver="GTiff",
        height=output.shape[1],
        width=output.shape[2],
        count=1,
        dtype=output.dtype,
        crs="EPSG:3857",
        transform=transform,
    ) as target:
        target.write(output)
    return memFile


def values_under_features_are_listed_once_for_each_feature(drive):
    res = el.compute.execute(
        computeId=drive.compute, f=highest_value_in_each_field, token=drive.token
    )
    found = [row for part in res for row in part]
    assert sorted(row["field"] for row in found) == FRAME["id"].tolist()
    assert 0 < max(row["maxRisk"] for row in found) <= VALUES[0].max()


def exception_of_the_function_is_raised_as_value_error(drive):
    def f(params):
        raise ValueError("nice")

    with pytest.raises(ValueError, match=r"ValueError: nice \(node 0, of 0\.\.1\)"):
        el.compute.execute(drive.compute, drive.token, f)


def files_are_downloaded_and_added_to_a_layer(drive):
    res = el.execute(computeId=drive.compute, f=shifted_copy, token=drive.token)
    assert [url.rsplit("-", 1)[1] for url in res] == ["0", "1"]

    el.downloadFile(res[0], drive.token, str(drive.folder / "out.tif"))
    memfile = el.downloadFile(res[0], drive.token, memfile=io.BytesIO())
    assert memfile.read() == (drive.folder / "out.tif").read_bytes()

    el.addToLayer(response=res, pathId="shifted", timestampId="first", token=drive.token)
    el.addLayer(res, "shifted", "first", drive.token)  # added twice is added once
    with rasterio.open(drive.file_of("shifted", "first")) as layer:
        np.testing.assert_array_equal(layer.read(), VALUES)
        assert layer.bounds.left == SPEC.bounds[0] + 1_000_000


def result_is_written_to_a_layer(drive):
    target = {"pathId": "classes", "timestampId": "2024"}
    given = dict(target)
    res = el.compute.execute(drive.compute, classified, drive.token, writeToLayer=given)
    assert given == target
    assert [it["fileId"].rsplit("-", 1)[1] for it in res] == ["0", "1"]
    items = el.compute.getComputeInfo(drive.compute, drive.token)["result"]
    assert items == [{"type": "upload", "value": it} for it in res]
    with rasterio.open(drive.file_of("classes", "2024")) as layer:
        np.testing.assert_array_equal(layer.read(1), VALUES[0] > 2000)


CASES: dict[str, Callable[[Any], None]] = {
    case.__name__: case
    for case in (
        values_under_features_are_listed_once_for_each_feature,
        exception_of_the_function_is_raised_as_value_error,
        files_are_downloaded_and_added_to_a_layer,
        result_is_written_to_a_layer,
    )
}
