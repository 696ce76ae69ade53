"""What is told of a layer once it is planned: where it lies, and how it is read. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from geopod.api.plan import LayerPlan, Plan

_OWN_COLUMNS = {"owned": ("_fid",), "intersects": ("_fid", "_owned")}
_CLIP_COLUMNS = ("_fid", "_owned", "_fraction")


def report_layer(layer: LayerPlan, plan: Plan) -> dict[str, Any]:
    """Return `timestamp`, `state`, and what is known of `crs`, `bbox` and `reason`.

    `bbox`: xMin, yMin, xMax, yMax in the layer's CRS; `reason`: what is worth knowing.
    """
    told: dict[str, Any] = {"timestamp": layer.timestamp, "state": "Resolved"}
    header = layer.raster or layer.vector
    if header is not None and header.crs:
        told["crs"] = header.crs
    bounds = header.bounds if header is not None else None
    if bounds is not None:
        told["bbox"] = list(bounds)
    notes = reading_notes(layer, plan)
    return {**told, "reason": f"{'; '.join(notes)}."} if notes else told


def reading_notes(layer: LayerPlan, plan: Plan) -> list[str]:
    """Return what a user may want to know of how a layer is read."""
    vector = layer.vector
    if vector is None:
        return []
    notes = []
    if vector.bbox_source == "scan":
        notes.append("every node reads it whole: it has no bounding boxes to go by")
    if count := plan.totals.empty_geometries.get(layer.key):
        keeps = plan.options.get("keepEmpty")
        whose = "node 0 gets them" if keeps else "no node gets them without keepEmpty"
        notes.append(f"{count} features have no geometry: {whose}")
    if count := plan.totals.linearised.get(layer.key):
        notes.append(f"{count} geometries have arcs, which are read as straight lines")
    names = delivered_names(vector.columns, str(plan.options.get("features", "owned")))
    notes += [f"its column {name} is called {new}" for name, new in names.items() if name != new]
    return notes


def own_columns(mode: str) -> tuple[str, ...]:
    """Return the columns that geopod itself gives a vector layer in a mode of `features`."""
    return _OWN_COLUMNS.get(mode, _CLIP_COLUMNS)


def delivered_names(columns: Iterable[str], mode: str) -> Mapping[str, str]:
    """Return what a source's columns are called on a node: one of geopod's name gets a line."""
    own, names = own_columns(mode), list(columns)
    taken = {*names, *own}
    delivered = {}
    for name in names:
        delivered[name] = free_name(name, taken) if name in own else name
        taken.add(delivered[name])
    return delivered


def free_name(name: str, taken: Collection[str]) -> str:
    """Return a name, or with as many lines below behind it as make it one that is not taken."""
    while name in taken:
        name += "_"
    return name
