"""The plan: headers, options and a node count in, one partition per node out. Pure.

Source: the project's geodata design, §3. The same headers and options give the same bytes: integer
costs, first-minimum ties, no order that depends on a hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from geopod.api.plan import FilePlan, Partition, Plan, Totals, WorkGrid
from geopod.errors import DuplicateKeyError
from geopod.partitions.cover import cover_features
from geopod.partitions.cutting import cut_scene
from geopod.partitions.guards import check_agent, check_nodes, check_overlap
from geopod.partitions.inputs import NodeLimits, RasterInput, VectorInput
from geopod.partitions.options import PartitionOptions, options_record
from geopod.partitions.ownership import with_owned
from geopod.partitions.scene import Scene, place_layers
from geopod.partitions.windows import decoded_blocks, describe_parts

NO_LIMITS = NodeLimits()
MASK_KEY = "mask"
"""The key under which a job with a polygon says which pixels lie inside."""


def make_plan(
    inputs: Sequence[RasterInput | VectorInput],
    options: PartitionOptions,
    nodes: int,
    *,
    files: Sequence[FilePlan] = (),
    planner: Mapping[str, str],
    limits: NodeLimits = NO_LIMITS,
) -> Plan:
    """Return the plan of a job: who owns which pixels and features, and what each node reads.

    `inputs` in the order of the environment's `layers`; `planner`: versions of what computed it.
    Raises `DuplicateKeyError`, `NoOverlapError`, `LayerCRSError`, `InvalidInputError`, and
    `PartitionError` for a halo or a partition that is too large for a node.
    """
    _refuse_equal_keys(inputs, files, options)
    plan = Plan(
        planner=dict(planner),
        nodes=nodes,
        options=options_record(options),
        work=None,
        layers=(),
        files=tuple(files),
        partitions=tuple(Partition(index=index, core=None) for index in range(nodes)),
        totals=Totals(),
    )
    if not inputs:
        return plan
    scene = place_layers(inputs, options)
    unit, partitions, uncovered = _split(scene, nodes)

    def split(count: int) -> Sequence[Partition]:
        return partitions if count == nodes else _split(scene, count)[1]

    check_overlap(scene, partitions, split)
    check_nodes(scene, files, limits, split, nodes)
    check_agent(scene, limits)
    return msgspec.structs.replace(
        plan,
        work=_work_grid(scene, unit),
        layers=scene.layers,
        partitions=with_owned(scene, partitions),
        totals=_totals(scene, partitions, uncovered),
    )


def _refuse_equal_keys(
    inputs: Sequence[RasterInput | VectorInput],
    files: Sequence[FilePlan],
    options: PartitionOptions,
) -> None:
    keys = [layer.layer.key for layer in inputs] + [file.key for file in files]
    if options.extent.polygon is not None:
        keys.append(MASK_KEY)
    for key, times in Counter(keys).items():
        if times > 1:
            raise DuplicateKeyError.repeated(key=key, times=times)


def _split(scene: Scene, nodes: int) -> tuple[int, tuple[Partition, ...], dict[str, int]]:
    unit, parts = cut_scene(scene, nodes)
    if scene.options.cover != "features" or not scene.rasters:
        return unit, describe_parts(scene, parts), {}
    reach, uncovered = cover_features(scene, parts)
    return unit, describe_parts(scene, parts, reach), uncovered


def _work_grid(scene: Scene, unit: int) -> WorkGrid:
    work = scene.work
    return WorkGrid(
        crs=scene.crs,
        transform=None if work is None else work.transform,
        shape=None if work is None else (work.rows, work.cols),
        unit=unit,
        extent=scene.extent,
        polygon=scene.polygon,
    )


def _totals(scene: Scene, partitions: Sequence[Partition], uncovered: Mapping[str, int]) -> Totals:
    pixels, blocks = {}, {}
    for raster in scene.rasters:
        key = raster.layer.key
        filled = [partition for partition in partitions if partition.core is not None]
        owned = np.array([partition.windows[key] for partition in filled]).reshape(-1, 4)
        padded = np.array([partition.padded[key] for partition in filled]).reshape(-1, 4)
        pixels[key] = int(raster.grid.inside(owned)[:, 2:].prod(axis=1).sum())
        blocks[key] = decoded_blocks(raster, padded)
    inside = {
        vector.source.layer.key: int(np.count_nonzero(vector.inside)) for vector in scene.vectors
    }
    return Totals(
        pixels=pixels,
        features=inside,
        features_outside={
            vector.source.layer.key: len(vector.inside) - inside[vector.source.layer.key]
            for vector in scene.vectors
        },
        empty_geometries={
            vector.source.layer.key: vector.source.empty_geometries for vector in scene.vectors
        },
        blocks_decoded=blocks,
        features_uncovered=dict(uncovered),
        linearised={vector.source.layer.key: vector.source.linearised for vector in scene.vectors},
    )
