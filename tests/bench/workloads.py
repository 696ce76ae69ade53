"""The field's jobs at equal cores: NDVI, zonal sums, a focal filter, means of fields.

geopod: two nodes of one process each. Peer: dask's own stack on two workers of one thread each. On
scene S and on real elevation. Answers are compared before anything is timed. The most memory that
either takes is looked for in one more run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from bench.dask_stack import DaskStack
from bench.jobs import RADIUS, Zones, field_means, focal, mean_ndvi, zonal_sums
from bench.measure import SHORT, Row, interleave, spread
from bench.memory import descendants, peak_of
from bench.reading import write_fields
from bench.scene import SIZE, write_scene_s
from bench.versions import is_installed
from geopod.backends.local.processes import find_marked

WORKERS, ROUNDS, FIELDS = 2, 1 if SHORT else 3, 20_000
GATE, MEMORY_GATE = 1 / 1.5, 1.0
EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Job:
    """One job: geopod's function and the peers that do the same."""

    question: str
    layers: tuple[Path, ...]
    function: Callable[..., object]
    peers: Mapping[str, Callable[[], np.ndarray]]
    """The first one's memory is looked at."""
    options: Mapping[str, object]
    note: str = "reads the file each time"
    """Of the peers."""
    gated: bool = True


def compare(folder: Path) -> list[Row]:
    """Return two rows per job: time over staged layers, and the most memory."""
    return [*_on_scene_s(folder), *_on_elevation(folder)]


def _on_scene_s(folder: Path) -> list[Row]:
    scene = write_scene_s(folder / "scene.tif")
    zones = _zones(scene, 512)
    stack = DaskStack(scene, WORKERS)
    ndvi = {"dask": stack.ndvi}
    if is_installed("odc-stac"):
        ndvi["odc-stac, dask"] = stack.ndvi_by_odc
    sums = {"dask": lambda: stack.zonal(zones, 3)}
    jobs = [
        Job("NDVI of scene S, its mean", (scene,), mean_ndvi, ndvi, {}),
        Job(f"scene S in {zones.count} zones", (scene,), zonal_sums(zones, 3), sums, {}),
        Job("7 x 7 mean of scene S", (scene,), focal, {"dask": stack.focal}, {"overlap": RADIUS}),
    ]
    if is_installed("dask-geopandas"):
        fields = write_fields(folder, count=FIELDS, size=SIZE)
        stack.keep_fields(fields)
        means = {"dask-geopandas": stack.field_means}
        words = f"means of scene S in {FIELDS:,} fields"
        cover = {"partitioning": {"cover": "features"}}
        jobs.append(Job(words, (scene, fields), field_means, means, cover))
    kept = {"dask, in memory": stack.ndvi_in_memory}
    words = "NDVI of scene S again, its mean"
    note = "reads the file once, keeps all of it in memory"
    # The last one, for the workers do not give that memory back.
    jobs.append(Job(words, (scene,), mean_ndvi, kept, {}, note=note, gated=False))
    return [*_rows(stack, jobs), _first_answer(scene)]


def _first_answer(scene: Path) -> Row:
    """Start, staging and the first answer, where nothing is warm but the page cache."""
    times: dict[str, list[float]] = {"geopod": [], "dask": []}
    for _ in range(ROUNDS):
        times["geopod"].append(_first_of_geopod(scene))
        times["dask"].append(_first_of_dask(scene))
    spreads = {name: spread(values) for name, values in times.items()}
    notes = {"geopod": "writes the staged layers, too"}
    question = f"NDVI of scene S from nothing: {WORKERS} workers started, the file read, its mean"
    return Row(question, spreads, {}, notes=notes)


def _first_of_geopod(scene: Path) -> float:
    import geopod

    started = time.perf_counter()
    with geopod.connect("local") as client:
        environment = client.environment(layers=[str(scene)], nodes=WORKERS, progress=False)
        try:
            environment.execute(mean_ndvi, progress=False)
            return time.perf_counter() - started
        finally:
            environment.delete(results=True)


def _first_of_dask(scene: Path) -> float:
    started = time.perf_counter()
    stack = DaskStack(scene, WORKERS)
    try:
        stack.ndvi()
        return time.perf_counter() - started
    finally:
        stack.close()


def _on_elevation(folder: Path) -> list[Row]:
    """SRTM of Jacksboro, Tennessee, which matplotlib ships: 344 x 403 pixels."""
    sys.path.append(str(EXAMPLES))
    from sample_layers import elevation

    scene = elevation(folder)
    zones = _zones(scene, 64)
    stack = DaskStack(scene, WORKERS)
    sums, smooth = {"dask": lambda: stack.zonal(zones, 0)}, {"dask": stack.focal}
    return _rows(
        stack,
        [
            Job(f"real elevation in {zones.count} zones", (scene,), zonal_sums(zones, 0), sums, {}),
            Job("7 x 7 mean of real elevation", (scene,), focal, smooth, {"overlap": RADIUS}),
        ],
    )


def _zones(scene: Path, size: int) -> Zones:
    with rasterio.open(scene) as source:
        place, across = source.transform, -(-max(source.shape) // size)
    return Zones(left=place.c, top=place.f, pixel=place.a, size=size, across=across)


def _rows(stack: DaskStack, jobs: list[Job]) -> list[Row]:
    try:
        return [row for job in jobs for row in _compare(job)]
    finally:
        stack.close()


def _compare(job: Job) -> list[Row]:
    import geopod

    with geopod.connect("local") as client:
        layers = [str(path) for path in job.layers]
        environment = client.environment(
            layers=layers, nodes=WORKERS, progress=False, **job.options
        )
        try:

            def call() -> np.ndarray:
                return np.sum(environment.execute(job.function, progress=False), axis=0)

            for peer in job.peers.values():
                np.testing.assert_allclose(call(), peer(), rtol=1e-6)
            spreads = interleave({"geopod": call, **job.peers}, rounds=ROUNDS, warm=0)
            own = peak_of(lambda: find_marked(environment.id), call)
        finally:
            environment.delete(results=True)
    first = next(iter(job.peers))
    sizes = {"geopod": own, first: peak_of(descendants, job.peers[first])}
    memory = {name: spread([size]) for name, size in sizes.items()}
    notes = {"geopod": "over staged layers", **dict.fromkeys(job.peers, job.note)}
    question = f"{job.question}, {WORKERS} workers"
    gates = dict.fromkeys(job.peers, GATE) if job.gated else {}
    memory_gates = {first: MEMORY_GATE} if job.gated else {}
    return [
        Row(question, spreads, gates, notes=notes),
        Row(f"{question}: most memory", memory, memory_gates, unit="MB"),
    ]
