"""Planning at size: headers only, in bounded memory, whatever the number of files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import rasterio
from geopod.coordinator.planning import PlanRequest, plan_layers
from layer_builders import raster_spec, shifted_spec, write_raster
from source_builders import file_server, quick_access
from staging_builders import layer_source, web_source

MEASURE = """
import json, re, sys, time
from pathlib import Path
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.sources import LayerSource
source = LayerSource(key="x", path_id="x", timestamp="x", hrefs=(sys.argv[1],), kind="raster")
start = time.perf_counter()
plan, data = plan_layers(PlanRequest(layers=(source,), nodes=64))
# Not ru_maxrss: that of a process begins with what its parent had.
status = Path("/proc/self/status").read_text()
print(json.dumps({
    "peak": int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) * 1024,
    "seconds": time.perf_counter() - start,
    "tiles": len(plan.layers[0].raster.tiles),
    "bytes": len(data),
    "pixels": plan.totals.pixels["x"],
}))
"""


@pytest.fixture(scope="module")
def thousand(tmp_path_factory):
    """A list of 1,000 sparse GeoTIFFs of 1,024 x 1,024 pixels, 40 to a row."""
    folder = tmp_path_factory.mktemp("tiles")
    for number in range(1000):
        spec = shifted_spec(10_240.0 * (number % 40), 10_240.0 * (number // 40))
        with rasterio.open(
            folder / f"{number}.tif",
            "w",
            driver="GTiff",
            height=1024,
            width=1024,
            count=1,
            dtype="uint16",
            crs="EPSG:32616",
            transform=spec.transform,
            tiled=True,
            sparse_ok=True,
        ):
            pass
    listed = folder / "all.txt"
    listed.write_text("".join(f"{number}.tif\n" for number in range(1000)))
    return listed


def test_mosaic_of_a_thousand_files_is_planned_within_300_mb(thousand, record_property):
    answer = subprocess.run(
        [sys.executable, "-c", MEASURE, str(thousand)], check=True, capture_output=True, text=True
    )

    found = json.loads(answer.stdout)
    for name, value in found.items():
        record_property(name, value)
    assert found["tiles"] == 1000
    assert found["pixels"] == 1000 * 1024 * 1024
    assert found["peak"] <= 300_000_000


def test_planning_reads_headers_only(tmp_path):
    with file_server(tmp_path) as server:
        hrefs = []
        for number in range(6):
            name = f"{number}.tif"
            spec = shifted_spec(5120.0 * number, 0.0, rows=512, cols=512)
            write_raster(tmp_path / name, spec)
            hrefs.append(server.url(name))
        source = web_source(hrefs[0], hrefs=tuple(hrefs))

        plan, _ = plan_layers(PlanRequest(layers=(source,), nodes=16), quick_access())

        sent = sum(server.sent(f"{number}.tif") for number in range(6))
        size = sum(Path(tmp_path / f"{number}.tif").stat().st_size for number in range(6))
    assert plan.totals.pixels["0"] == 6 * 512 * 512
    assert sent < 6 * 100_000
    assert sent < 0.12 * size


def test_a_source_that_is_gone_is_said_before_others_are_opened(tmp_path):
    path = write_raster(tmp_path / "dem.tif", raster_spec())
    source = layer_source(path, hrefs=(str(path), str(tmp_path / "gone.tif")))

    with pytest.raises(ValueError, match=r"gone\.tif: No such file"):
        plan_layers(PlanRequest(layers=(source,), nodes=2))
