"""Plan an environment's layers: open their headers, let the planner split them.

Runs as a process of its own (`python -m geopod.coordinator.planning`): the coordinator stays small
and never loads GDAL. Request JSON on stdin; on stdout `{"plan": …}` with the plan's own canonical
bytes, or `{"error": …}` as `GeopodError.to_wire` says it.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from geopod.api.plan import FilePlan, LayerPlan, Partition, Plan, encode_plan
from geopod.errors import DuplicateKeyError, GeopodError, InvalidInputError, LayerAccessError
from geopod.layers.access import OWN_MACHINE, Access, read_access
from geopod.layers.headers import OpenedHeader, read_header
from geopod.layers.lean import never_load_pandas
from geopod.layers.remote import is_folder_like
from geopod.layers.sources import LayerSource
from geopod.layers.variables import STORES
from geopod.layers.versions import library_versions
from geopod.partitions import NodeLimits, RasterInput, VectorInput, make_plan, read_options


class PlanRequest(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a plan is made of: layers with their timestamps resolved, options, and limits."""

    layers: tuple[LayerSource, ...] = ()
    """In the order of the environment's `layers`."""
    files: tuple[FilePlan, ...] = ()
    nodes: int
    options: dict[str, Any] = {}
    """`spec.partitioning`"""
    memory_bytes: int | None = None
    """Of the container that runs `f`; None: not checked, as for the next two."""
    scratch_bytes: int | None = None
    agent_memory_bytes: int | None = None
    refreshed: str = ""
    """Names the last time that the layers were asked to be read anew; empty: never."""


def plan_layers(request: PlanRequest, access: Access = OWN_MACHINE) -> tuple[Plan, bytes]:
    """Return the plan and its canonical bytes.

    `access`: the keys of the layers, and where their files may lie; nothing of it is in the plan.
    Raises the errors E121 to E129 of the layer that is wrong, before any node is started.
    """
    _refuse_equal_keys(request)
    options = read_options(request.options)
    opened = [read_header(_newest(source, access), access) for source in request.layers]
    has_rasters = any(header.kind == "raster" for header in opened)
    plan = make_plan(
        [_planner_input(header, request.refreshed) for header in opened],
        options,
        request.nodes,
        files=request.files,
        planner=library_versions(with_rasters=has_rasters),
        limits=NodeLimits(
            memory=request.memory_bytes,
            scratch=request.scratch_bytes,
            agent_memory=request.agent_memory_bytes,
        ),
    )
    plan = _count_exactly(plan, opened, access)
    return plan, encode_plan(plan)


def main() -> int:
    """Answer the request on stdin; the process of this module."""
    never_load_pandas()
    try:
        try:
            request = msgspec.json.decode(sys.stdin.buffer.read(), type=PlanRequest)
        except msgspec.MsgspecError as error:
            raise InvalidInputError(f"The request for a plan cannot be read: {error}.") from error
        answer = b'{"plan":' + plan_layers(request, read_access(os.environ))[1] + b"}"
    except GeopodError as error:
        answer = msgspec.json.encode({"error": error.to_wire()})
    sys.stdout.buffer.write(answer)
    sys.stdout.flush()
    return 0


def _newest(source: LayerSource, access: Access) -> LayerSource:
    """Return the source with every folder that runs published to replaced by its newest files."""
    hrefs = [file for href in source.hrefs for file in _published(source, href, access)]
    return msgspec.structs.replace(source, hrefs=tuple(hrefs))


def _published(source: LayerSource, href: str, access: Access) -> tuple[str, ...]:
    if "://" in href and not href.startswith("file://"):
        return _uploaded(source, href, access)
    folder = Path(href.removeprefix("file://"))
    if not folder.is_absolute() or not any(folder.glob("revision-*.json")):
        return (href,)
    if access.volumes is not None and not folder.resolve().is_relative_to(access.volumes):
        return (href,)  # refused by name when it is opened
    from geopod.layers.publish import read_revision  # loads GDAL

    revision = read_revision(folder)
    return (href,) if revision is None else revision.hrefs(folder)


def _uploaded(source: LayerSource, href: str, access: Access) -> tuple[str, ...]:
    """Return the newest files of a folder of an object store; what is none stays as it is."""
    if not is_folder_like(href):
        return (href,)
    from geopod.layers.buckets import open_shelf  # loads obstore
    from geopod.layers.publish import read_revision  # loads GDAL

    try:
        shelf = open_shelf(href, path_id=source.path_id, access=access)
        revision = read_revision(shelf)
    except LayerAccessError:
        return (href,)  # said in full when it is opened
    return (href,) if revision is None else revision.hrefs(shelf)


def _refuse_equal_keys(request: PlanRequest) -> None:
    """Raise DuplicateKeyError before a file is opened for nothing."""
    keys = [source.key for source in request.layers] + [file.key for file in request.files]
    for key, times in Counter(keys).items():
        if times > 1:
            raise DuplicateKeyError.repeated(key=key, times=times)


def _planner_input(opened: OpenedHeader, refreshed: str) -> RasterInput | VectorInput:
    source, raster, vector = opened.source, opened.raster, opened.vector
    layer = LayerPlan(
        key=source.key,
        path_id=source.path_id,
        timestamp=source.timestamp,
        kind=opened.kind,
        hrefs=source.hrefs,
        driver=opened.driver,
        version=opened.version,
        date=source.date,
        raster=None if raster is None else raster.header,
        vector=None if vector is None else vector.header,
        refreshed=refreshed if refreshed and opened.driver in STORES else msgspec.UNSET,
    )
    if raster is not None:
        return RasterInput(
            layer=layer,
            resampling=source.resampling,
            is_rectified=raster.is_rectified,
            written=raster.written,
        )
    assert vector is not None  # noqa: S101  # a header has one of the two
    return VectorInput(
        layer=layer,
        boxes=vector.boxes,
        points=vector.points,
        empty_geometries=vector.empty_geometries,
        linearised=vector.linearised,
    )


def _count_exactly(plan: Plan, opened: list[OpenedHeader], access: Access) -> Plan:
    """Return the plan with its feature counts by the rule of ownership, not by box centres."""
    features, outside = dict(plan.totals.features), dict(plan.totals.features_outside)
    for header, layer in zip(opened, plan.layers, strict=True):
        vector = header.vector
        if vector is None or vector.points is not None or plan.work is None:
            continue
        from geopod.layers.selection import region_of
        from geopod.layers.stage_vectors import count_features

        whole = Partition(index=-1, core=plan.work.extent, inclusive=(True, True))
        count = count_features(layer, region_of(plan, whole), access=access)
        features[layer.key] = count
        outside[layer.key] = len(vector.boxes) - count
    totals = msgspec.structs.replace(plan.totals, features=features, features_outside=outside)
    return msgspec.structs.replace(plan, totals=totals)


if __name__ == "__main__":
    raise SystemExit(main())
