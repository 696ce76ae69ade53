"""Copy one node's rows of a vector layer into an Arrow file, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import shapely

from geopod.api.layer_report import delivered_names, free_name, own_columns
from geopod.api.plan import LayerPlan, Partition, Plan, VectorHeader
from geopod.errors import LayerAccessError
from geopod.layers.access import OWN_MACHINE, Access
from geopod.layers.arrow import row_writer
from geopod.layers.crs import canonical_crs, query_boxes
from geopod.layers.features import Features
from geopod.layers.selection import Chosen, Region, choose_rows, count_owned, region_of
from geopod.layers.sources import LayerSource, planned_source
from geopod.layers.vector import VectorLayer, open_vector, told_what_is_wrong, without_covering
from geopod.layers.versions import library_versions


def stage_vector(
    layer: LayerPlan,
    plan: Plan,
    partition: Partition,
    path: Path,
    *,
    access: Access = OWN_MACHINE,
) -> dict[str, Any]:
    """Write the rows that `partition` gets from `layer` to `path` and return their record.

    Raises LayerAccessError.
    """
    header = _header(layer)
    vector = open_planned(layer, header, access=access)
    region = None if partition.core is None else region_of(plan, partition)
    mode = plan.options["features"]
    names = delivered_names(vector.columns, mode)
    geometry = free_name("geometry", {*names.values(), *own_columns(mode)})
    schema = _row_schema(vector, names, geometry=geometry, mode=mode)
    found = 0
    with told_what_is_wrong(layer.path_id), row_writer(path, schema) as rows:
        if region is not None:
            for features in _read_near(vector, region, header):
                chosen = choose_rows(features, region, crs=header.crs)
                found += chosen.placed
                if len(chosen.rows):
                    rows.write(_build_batch(features, chosen, vector.columns, schema))
    _check_found(layer, plan, partition, found)
    stays = region is None or region.keeps_layer_crs
    crs = header.crs if stays or plan.work is None else plan.work.crs
    return {
        "key": layer.key,
        "kind": "vector",
        "pathId": layer.path_id,
        "timestamp": layer.timestamp,
        "date": layer.date,
        "crs": canonical_crs(crs, path_id=layer.path_id),
        "geometry": geometry,
        "mode": mode,
        "rows": rows.rows,
    }


def _check_found(layer: LayerPlan, plan: Plan, partition: Partition, found: int) -> None:
    """Raise LayerAccessError if the plan, which read all rows, knows of more or fewer here.

    Libraries of other versions may place a feature otherwise: then nothing is known.
    """
    owned = {} if partition.owned is msgspec.UNSET else partition.owned
    told = owned.get(layer.key, found)
    if found == told or plan.planner != library_versions(with_rasters="gdal" in plan.planner):
        return
    raise LayerAccessError.unreachable(
        path_id=layer.path_id,
        words=f"node {partition.index} owns {told:,} of its features by the plan and found "
        f"{found:,}: what the file says of where its features are is wrong; write it anew",
        details={"planned": told, "found": found, "node": partition.index},
    )


def count_features(layer: LayerPlan, region: Region, *, access: Access = OWN_MACHINE) -> int:
    """Return how many features of `layer` a region owns, by the rule that staging follows."""
    header = _header(layer)
    vector = open_planned(layer, header, access=access)
    region = replace(region, mode="owned")
    batches = _read_near(vector, region, header, with_attributes=False)
    with told_what_is_wrong(layer.path_id):
        return sum(count_owned(features, region, crs=header.crs) for features in batches)


def open_planned(
    layer: LayerPlan, header: VectorHeader, *, access: Access = OWN_MACHINE
) -> VectorLayer:
    """Return the layer of a plan ready to be read."""
    source = LayerSource(
        key=layer.key,
        path_id=layer.path_id,
        timestamp=layer.timestamp,
        hrefs=layer.hrefs,
        kind="vector",
        crs=header.crs,
    )
    files = [
        planned_source(href, "vector", layer.driver, path_id=layer.path_id, access=access)
        for href in layer.hrefs
    ]
    vector = open_vector(source, files)
    return without_covering(vector) if header.bbox_source == "scan" else vector


def _read_near(
    vector: VectorLayer, region: Region, header: VectorHeader, *, with_attributes: bool = True
) -> Any:
    """Return batches that hold every row the region can get."""
    boxes = None
    if not region.keeps_empty:
        # Where the rows are does not matter as long as no box of a row in the region is missed.
        whole = (-720.0, -90.0, 720.0, 90.0)
        boxes = query_boxes(region.halo, region.crs, header.crs, within=whole)
    return vector.read(boxes, with_attributes=with_attributes)


def _row_schema(
    vector: VectorLayer, names: Mapping[str, str], *, geometry: str, mode: str
) -> pa.Schema:
    fields = [
        pa.field(new, _plain_type(vector.schema.field(name).type)) for name, new in names.items()
    ]
    fields += [pa.field("_fid", pa.int64()), pa.field(geometry, pa.binary())]
    own = own_columns(mode)
    if "_owned" in own:
        fields.append(pa.field("_owned", pa.bool_()))
    if "_fraction" in own:
        fields.append(pa.field("_fraction", pa.float64()))
    return pa.schema(fields)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """Return the type of a dictionary's values: a file of batches has one dictionary, rows many."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _build_batch(
    features: Features, chosen: Chosen, columns: tuple[str, ...], schema: pa.Schema
) -> pa.RecordBatch:
    indices = pa.array(chosen.rows)
    attributes = features.attributes.select(list(columns)).take(indices)
    arrays = [
        column.cast(field.type) for field, column in zip(schema, attributes.columns, strict=False)
    ]
    arrays.append(pa.array(features.fids[chosen.rows], pa.int64()))
    if chosen.geometries is None:
        arrays.append(features.wkb.take(indices))
    else:
        arrays.append(pa.array(shapely.to_wkb(chosen.geometries), pa.binary()))
    own = schema.names[len(arrays) :]
    if "_owned" in own:
        arrays.append(pa.array(chosen.owned, pa.bool_()))
    if "_fraction" in own:
        fraction = np.ones(len(chosen.rows)) if chosen.fraction is None else chosen.fraction
        arrays.append(pa.array(fraction, pa.float64()))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _header(layer: LayerPlan) -> VectorHeader:
    if layer.vector is None:
        raise ValueError(f"{layer.key} is not a vector layer")
    return layer.vector
