"""What a process loads: an environment of rasters alone never pays for pandas."""

from __future__ import annotations

import subprocess
import sys

import pytest
from layer_builders import raster_spec, scene_polygons, write_raster, write_vector_formats


def modules_after(script: str, *arguments: str) -> set[str]:
    ending = "\nimport sys; print(' '.join(sys.modules))"
    answer = subprocess.run(  # our own interpreter and script
        [sys.executable, "-c", script + ending, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return set(answer.stdout.split())


def test_room_itself_loads_nothing():
    heavy = {"numpy", "rasterio", "pyarrow", "pandas", "pyogrio", "pyproj", "shapely"}

    assert not heavy & modules_after("import geopod.layers.stage, geopod.layers.headers")


LEAN = """
from geopod.layers.lean import never_load_pandas
never_load_pandas()
"""
STAGE = """
import sys
from pathlib import Path
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.sources import LayerSource
from geopod.layers.stage import stage_partition
path = sys.argv[1]
source = LayerSource(key="x", path_id="x", timestamp="x", hrefs=(path,))
plan, _ = plan_layers(PlanRequest(layers=(source,), nodes=2))
stage_partition(plan, "sha", 0, Path(sys.argv[2]))
"""


def test_rasters_are_staged_without_pandas(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())

    loaded = modules_after(STAGE, str(path), str(tmp_path))

    assert "rasterio" in loaded
    assert not {"pandas", "geopandas", "pyogrio", "pyarrow"} & loaded


def test_geoparquet_is_staged_without_gdal(tmp_path):
    path = write_vector_formats(tmp_path, scene_polygons(5))["parquet"]

    loaded = modules_after(LEAN + STAGE, str(path), str(tmp_path))

    assert not {"rasterio", "geopandas", "pyogrio"} & loaded


FEATURES = """
from geopod import codecs
from pyarrow import BufferOutputStream, ipc, table
from shapely import Point
sink = BufferOutputStream()
with ipc.new_file(sink, (rows := table({"g": [Point(0, 1).wkb]})).schema) as writer:
    writer.write_table(rows)
meta = {"type": "GeoDataFrame", "geometry": "g", "crs": "EPSG:4326"}
codecs.encode("geoarrow", sink.getvalue().to_pybytes(), meta, workdir=Path(sys.argv[2]))
"""


def test_lean_process_stages_every_format_and_encodes_features_without_pandas(tmp_path):
    for path in write_vector_formats(tmp_path, scene_polygons(5)).values():
        scratch = tmp_path / f"of {path.name}"
        scratch.mkdir()

        loaded = modules_after(LEAN + STAGE + FEATURES, str(path), str(scratch))

        assert not {"pandas", "geopandas"} & loaded


PUBLISH = """
import io, sys
from pathlib import Path
import msgspec
from geopod.api.results import Entry
from geopod.coordinator import publishing
kind, format, codec, path, folder = sys.argv[1:]
entry = Entry(codec=codec, sha256="0", bytes=Path(path).stat().st_size)
request = publishing.PublishRequest(
    folder=folder, path_id="p", timestamp="t", kind=kind, format=format, run="r",
    function_sha256="0", created="2026-01-01T00:00:00Z",
    parts=(publishing.Part(node=0, path=path, entry=entry),),
)
sys.stdin = io.TextIOWrapper(io.BytesIO(msgspec.json.encode(request)))
publishing.main()
"""


@pytest.mark.parametrize("output_format", ["tif", "gpkg"])
def test_layer_is_published_without_pandas(tmp_path, output_format):
    if output_format == "tif":
        part = ("raster", "tif", "geotiff", write_raster(tmp_path / "dem.tif", raster_spec()))
    else:
        features = write_vector_formats(tmp_path, scene_polygons(5))["parquet"]
        part = ("vector", "gpkg", "geoparquet", features)

    loaded = modules_after(PUBLISH, *map(str, part), str(tmp_path / "layer"))

    assert list((tmp_path / "layer").rglob(f"data.{output_format}"))
    assert not {"pandas", "geopandas"} & loaded
    assert ("pyogrio" in loaded) == (output_format == "gpkg")
