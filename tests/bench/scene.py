"""Scene S at full size: staging, staged reads, the plan and the assembly beside bare GDAL.

10,000 x 10,000 pixels, four bands of uint16, blocks of 512, a slanted swath of nodata: 800 MB.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import rasterio.shutil
from bench.measure import SHORT, Row, Spread, interleave, spread
from geopod.api.plan import Partition, Plan, encode_plan
from geopod.coordinator.planning import PlanRequest, plan_layers
from geopod.layers.publish import RasterGrid, RasterPart, assemble_raster
from geopod.layers.sources import LayerSource
from geopod.layers.stage import stage_partition, staged_folder
from geopod.runner.params import Staged
from rasterio.transform import from_origin
from rasterio.windows import Window

SIZE, BANDS, BLOCK, NODES = 2_500 if SHORT else 10_000, 4, 512, 64
ROUNDS = 5
STAGING_GATE, AGAIN_GATE, ASSEMBLY_GATE, PLAN_GATE_S = 1.3, 0.1, 1.3, 0.15
AGENT_GATE, ASSEMBLY_MEMORY_GATE = 450e6, 1e9
COG = {"driver": "COG", "COMPRESS": "DEFLATE", "PREDICTOR": 2, "BLOCKSIZE": BLOCK,
       "OVERVIEW_RESAMPLING": "NEAREST"}  # fmt: skip


def compare(folder: Path) -> list[Row]:
    """Return the rows of all questions about scene S."""
    scene = write_scene_s(folder / "s.tif")
    plan = make_plan(scene, NODES)
    return [
        *staging_rows(scene, plan, folder),
        plan_row(scene),
        *assembly_rows(plan, folder),
    ]


def write_scene_s(path: Path) -> Path:
    """Write the scene, a row of blocks at a time."""
    chance = np.random.default_rng(7)
    with rasterio.open(
        path, "w", driver="GTiff", height=SIZE, width=SIZE, count=BANDS, dtype="uint16",
        crs="EPSG:32632", transform=from_origin(500_000, 5_200_000, 10, 10), tiled=True,
        blockxsize=BLOCK, blockysize=BLOCK, compress="deflate", zlevel=1, nodata=0,
    ) as target:  # fmt: skip
        columns = np.arange(SIZE)
        for top in range(0, SIZE, BLOCK):
            rows = min(BLOCK, SIZE - top)
            pixels = chance.integers(1, 4000, (BANDS, rows, SIZE), dtype=np.uint16)
            slant = columns + np.arange(top, top + rows)[:, None] * 0.3
            pixels[:, (slant < SIZE * 0.2) | (slant > SIZE * 1.1)] = 0
            target.write(pixels, window=Window(0, top, SIZE, rows))
    return path


def make_plan(scene: Path, nodes: int) -> Plan:
    source = LayerSource(key="s", path_id="s", timestamp="s", hrefs=(str(scene),))
    return plan_layers(PlanRequest(layers=(source,), nodes=nodes))[0]


def staging_rows(scene: Path, plan: Plan, folder: Path) -> list[Row]:
    """A node's partition staged once, and touched again, beside one bare read of its window."""
    part = _central(plan)
    row, column, height, width = part.padded["s"]
    megabytes = height * width * BANDS * 2 / 1e6
    rounds = iter(range(1000))

    def bare() -> None:
        with rasterio.open(scene) as source:
            source.read(window=Window(column, row, width, height))

    def stage() -> None:
        stage_partition(plan, f"plan-{next(rounds)}", part.index, folder)

    stage_partition(plan, "again", part.index, folder)

    def again() -> None:
        stage_partition(plan, "again", part.index, folder)
        staged = staged_folder(folder, "again", part.index)
        assert Staged(str(staged), {}).params()["s"]["raster"].shape[1:] == (height, width)

    return [
        Row(
            f"one of 64 partitions of scene S, staged ({megabytes:.0f} MB)",
            interleave({"rasterio, read only": bare, "geopod": stage}, rounds=ROUNDS),
            {"rasterio, read only": STAGING_GATE},
        ),
        Row(
            "the same partition in a second run",
            interleave({"rasterio, read again": bare, "geopod": again}, rounds=ROUNDS),
            {"rasterio, read again": AGAIN_GATE},
            notes={"geopod": "checks the source and maps what is staged"},
        ),
        _memory(
            "memory of staging all of scene S on one node (gate: 450 MB)",
            AGENT_GATE,
            peak_bytes(STAGE_ALL, folder, encode_plan(make_plan(scene, 1))),
        ),
    ]


def _central(plan: Plan) -> Partition:
    """Return the partition in the middle of the scene, which has data everywhere."""

    def holds_middle(part: Partition) -> bool:
        row, column, height, width = part.windows["s"]
        return row <= SIZE // 2 < row + height and column <= SIZE // 2 < column + width

    return next(part for part in plan.partitions if holds_middle(part))


def plan_row(scene: Path) -> Row:
    """Headers read and 256 partitions cut."""
    spreads = interleave({"geopod": lambda: make_plan(scene, 256)}, rounds=ROUNDS)
    return _beside_limit("plan of scene S at 256 nodes (gate: 150 ms)", PLAN_GATE_S, spreads, "ms")


def assembly_rows(plan: Plan, folder: Path) -> list[Row]:
    """64 nodes' results put together: geopod from arrays, GDAL from GeoTIFFs by a VRT."""
    parts, header = write_parts(plan, folder), plan.layers[0].raster
    assert header is not None
    grid = RasterGrid(crs=header.crs, transform=header.transform, nodata=0)
    vrt = write_vrt(plan, folder)
    ours, theirs = folder / "geopod.tif", folder / "gdal.tif"

    def gdal() -> None:
        rasterio.shutil.copy(vrt, theirs, **COG)

    spreads = interleave(
        {"GDAL, VRT to COG": gdal, "geopod": lambda: assemble_raster(parts, grid, ours)},
        rounds=3,
        warm=0,
    )
    _check_equal(ours, theirs)
    return [
        Row(
            f"assembly of {len(parts)} parts of scene S", spreads,
            {"GDAL, VRT to COG": ASSEMBLY_GATE},
        ),
        _memory(
            "memory of that assembly (gate: 1,000 MB)",
            ASSEMBLY_MEMORY_GATE,
            peak_bytes(ASSEMBLE_ALL, folder, encode_plan(plan)),
        ),
    ]  # fmt: skip


def write_parts(plan: Plan, folder: Path) -> list[RasterPart]:
    """Write each node's window of the scene as an array and as a plain GeoTIFF."""
    found = []
    with rasterio.open(folder / "s.tif") as source:
        for part in plan.partitions:
            row, column, height, width = window = part.windows["s"]
            place = Window(column, row, width, height)
            pixels = source.read(window=place)
            path = folder / f"part-{part.index}.npy"
            np.lib.format.write_array(path.open("wb"), pixels, allow_pickle=False)
            found.append(RasterPart(node=part.index, path=path, core=window, padded=window))
            with rasterio.open(
                path.with_suffix(".tif"), "w", driver="GTiff", height=height, width=width,
                count=BANDS, dtype="uint16", nodata=0, crs=source.crs,
                transform=source.window_transform(place),
            ) as target:  # fmt: skip
                target.write(pixels)
    return found


def write_vrt(plan: Plan, folder: Path) -> Path:
    """Write the VRT that `gdalbuildvrt` would."""
    with rasterio.open(folder / "s.tif") as source:
        transform, crs = source.transform.to_gdal(), source.crs.to_wkt()
    bands = []
    for band in range(1, BANDS + 1):
        pieces = []
        for part in plan.partitions:
            row, column, height, width = part.windows["s"]
            size = f'xSize="{width}" ySize="{height}"'
            pieces.append(
                f"<SimpleSource><SourceFilename>{folder}/part-{part.index}.tif</SourceFilename>"
                f"<SourceBand>{band}</SourceBand>"
                f'<SrcRect xOff="0" yOff="0" {size}/><DstRect xOff="{column}" yOff="{row}" {size}/>'
                "</SimpleSource>"
            )
        bands.append(
            f'<VRTRasterBand dataType="UInt16" band="{band}"><NoDataValue>0</NoDataValue>'
            f"{''.join(pieces)}</VRTRasterBand>"
        )
    path = folder / "all.vrt"
    place = ", ".join(map(str, transform))
    path.write_text(
        f'<VRTDataset rasterXSize="{SIZE}" rasterYSize="{SIZE}"><SRS>{crs}</SRS>'
        f"<GeoTransform>{place}</GeoTransform>{''.join(bands)}</VRTDataset>"
    )
    return path


def peak_bytes(work: str, folder: Path, plan: bytes) -> int:
    """Return the most memory that `work` has taken in a process of its own."""
    (folder / "plan.json").write_bytes(plan)
    command = [sys.executable, "-c", PEAK.format(work=work), str(folder)]
    found = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(re.findall(r"\d+", found.stdout)[-1]) * 1024


PEAK = """
import sys; from pathlib import Path
from geopod.api.plan import decode_plan
from geopod.layers.lean import never_load_pandas
never_load_pandas()
folder = Path(sys.argv[1]); plan = decode_plan((folder / 'plan.json').read_bytes())
{work}
# Not ru_maxrss: that of a process begins with what its parent had.
print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])
"""
STAGE_ALL = """
from geopod.layers.stage import stage_partition
stage_partition(plan, 'all', 0, folder)
"""
ASSEMBLE_ALL = """
from geopod.layers.publish import RasterGrid, RasterPart, assemble_raster
parts = [RasterPart(node=part.index, path=folder / f'part-{part.index}.npy',
                    core=part.windows['s'], padded=part.windows['s']) for part in plan.partitions]
header = plan.layers[0].raster
grid = RasterGrid(crs=header.crs, transform=header.transform, nodata=0)
assemble_raster(parts, grid, folder / 'alone.tif')
"""


def _check_equal(one: Path, other: Path) -> None:
    """Raise AssertionError unless two rasters are the same, block row by block row."""
    with rasterio.open(one) as first, rasterio.open(other) as second:
        for top in range(0, SIZE, BLOCK):
            place = Window(0, top, SIZE, min(BLOCK, SIZE - top))
            np.testing.assert_array_equal(first.read(window=place), second.read(window=place))


def _memory(question: str, limit: float, found: float) -> Row:
    return _beside_limit(question, limit, {"geopod": spread([found])}, "MB")


def _beside_limit(question: str, limit: float, spreads: dict[str, Spread], unit: str) -> Row:
    return Row(question, spreads | {"limit": spread([limit])}, {"limit": 1.0}, unit=unit)
