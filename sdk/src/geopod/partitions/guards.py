"""Guards at plan time: a partition that no node could hold is refused with the numbers that fit.

Source: the project's geodata design, §3 (halo, guards).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Literal

import msgspec

from geopod.api.plan import FilePlan, Partition
from geopod.errors import InvalidInputError, PartitionError
from geopod.errors.wording import size_text
from geopod.partitions.inputs import NodeLimits
from geopod.partitions.placement import PlacedRaster
from geopod.partitions.scene import Scene
from geopod.partitions.windows import FEATURE_BYTES

Split = Callable[[int], Sequence[Partition]]
"""Node count -> the partitions there would be."""

STACK_BYTES = 220_000_000
"""Resident size of a Python process with the geo stack loaded: 181 to 210 MB were measured."""
GDAL_CACHE_BYTES = 64_000_000
"""GDAL_CACHEMAX in the agent."""
BATCH_ROWS = 65_536
"""Features the agent holds at once while it stages."""
SCRATCH_SHARE = 0.9
MOST_NODES = 1000
"""`spec.nodes` allows no more."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a partition takes of one resource of a node, in bytes."""

    resource: Literal["memory", "scratch"]
    need: Callable[[Partition], int]
    limit: int | None
    """None: not checked."""


def check_overlap(scene: Scene, partitions: Sequence[Partition], split: Split) -> None:
    """Raise `PartitionError` if the halo is more than half of the smallest core side."""
    overlap = scene.options.overlap
    if overlap == 0:
        return
    if scene.work is None:
        raise InvalidInputError.value(
            name="overlap",
            value=overlap,
            why="counts reference pixels, and no layer has pixels",
            fix="partitioning={'grid': {'resolution': …}} says how large one is",
        )
    side, node, shape = _smallest_core(scene, partitions)
    if overlap * 2 <= side:
        return

    def fits(nodes: int) -> bool:
        return overlap * 2 <= _smallest_core(scene, split(nodes))[0]

    raise PartitionError.overlap_too_large(
        overlap=overlap,
        node=node,
        smallest=shape,
        largest_overlap=side // 2,
        fitting_nodes=most_fitting(fits, below=len(partitions)),
    )


def check_nodes(
    scene: Scene, files: Sequence[FilePlan], limits: NodeLimits, split: Split, nodes: int
) -> None:
    """Raise `PartitionError` if a partition does not fit the runner's memory or scratch.

    The largest partition counts, with its halo, not the whole raster.
    """
    file_bytes = sum(file.bytes for file in files)

    def memory(partition: Partition) -> int:
        features = FEATURE_BYTES * partition.est_features
        arrays = partition.est_bytes - features
        return STACK_BYTES + ceil(scene.options.headroom * arrays) + features

    def scratch(partition: Partition) -> int:
        return ceil((partition.est_bytes + file_bytes) / SCRATCH_SHARE)

    for demand in (
        Demand("memory", memory, limits.memory),
        Demand("scratch", scratch, limits.scratch),
    ):
        _check(scene, split, nodes, demand)


def check_agent(scene: Scene, limits: NodeLimits) -> None:
    """Raise `PartitionError` if the agent cannot hold the largest block or batch it must read."""
    if limits.agent_memory is None:
        return
    reads = [(_read_bytes(raster), raster.layer.key) for raster in scene.rasters]
    reads += [
        (min(len(vector.points), BATCH_ROWS) * FEATURE_BYTES, vector.source.layer.key)
        for vector in scene.vectors
    ]
    largest, key = max(reads, default=(0, ""), key=lambda read: read[0])
    need = STACK_BYTES + GDAL_CACHE_BYTES + largest
    if need <= limits.agent_memory:
        return
    raise PartitionError(
        f"Reading {key} takes {size_text(largest)} at once, the agent needs {size_text(need)} "
        f"and has {size_text(limits.agent_memory)}.",
        fixes=("write the layer in tiles (COG)", "agentResources.memory of the ComputeRuntime"),
        details={
            "reason": "PartitionTooLarge",
            "container": "agent",
            "key": key,
            "need": need,
            "limit": limits.agent_memory,
            "nmin": None,
        },
    )


def _read_bytes(raster: PlacedRaster) -> int:
    header = raster.layer.raster
    if header is None or header.read_bytes is msgspec.UNSET:
        return raster.block[0] * raster.block[1] * raster.pixel_bytes
    return header.read_bytes


def _check(scene: Scene, split: Split, nodes: int, demand: Demand) -> None:
    limit = demand.limit
    worst = max(split(nodes), key=demand.need)
    if limit is None or demand.need(worst) <= limit:
        return

    def fits(count: int) -> bool:
        return max(map(demand.need, split(count))) <= limit

    raise PartitionError.too_large(
        partition=worst.index,
        need=demand.need(worst),
        limit=limit,
        fitting_nodes=fewest_fitting(fits, above=nodes),
        resource=demand.resource,
        details={
            "reason": "PartitionTooLarge",
            "container": "runner",
            "arrays": [_array_text(raster, worst) for raster in scene.rasters],
            "headroom": scene.options.headroom,
            "features": worst.est_features,
        },
    )


def fewest_fitting(fits: Callable[[int], bool], *, above: int) -> int | None:
    """Return the fewest nodes over `above` that fit, found by planning: doubling, then bisection.

    None: not even the most nodes allowed do.
    """
    fails, works = above, above
    while fails < MOST_NODES:
        works = min(2 * fails, MOST_NODES)
        if fits(works):
            break
        fails = works
    else:
        return None
    while works - fails > 1:
        middle = (works + fails) // 2
        fails, works = (fails, middle) if fits(middle) else (middle, works)
    return works


def most_fitting(fits: Callable[[int], bool], *, below: int) -> int | None:
    """Return the most nodes under `below` that fit: halving, then bisection; None: none do."""
    fails, works = below, below
    while fails > 1:
        works = fails // 2
        if fits(works):
            break
        fails = works
    else:
        return None
    while fails - works > 1:
        middle = (works + fails) // 2
        fails, works = (fails, middle) if fits(middle) else (middle, works)
    return works


def _smallest_core(
    scene: Scene, partitions: Sequence[Partition]
) -> tuple[int, int, tuple[int, int]]:
    """Return the shortest core side in work pixels, whose it is, and that core's shape."""
    assert scene.work is not None  # noqa: S101  # only a job with pixels has a halo
    cores = {one.index: one.core for one in partitions if one.core is not None}
    shapes = scene.work.windows(list(cores.values()))[:, 2:]
    row = int(shapes.min(axis=1).argmin())
    height, width = (int(side) for side in shapes[row])
    return min(height, width), list(cores)[row], (height, width)


def _array_text(raster: PlacedRaster, partition: Partition) -> str:
    """Return `4 x 512 x 512 uint16`."""
    header = raster.layer.raster
    assert header is not None  # noqa: S101  # a placed raster has a header
    _, _, height, width = partition.padded.get(raster.layer.key, (0, 0, 0, 0))
    return f"{len(header.band_indexes)} x {height} x {width} {header.dtype}"
