"""Describe a published timestamp as a STAC Item, with where it came from.

Source: https://github.com/radiantearth/stac-spec/blob/v1.1.0/item-spec/item-spec.md and the
extensions named in `_EXTENSIONS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from pyproj.exceptions import ProjError

from geopod.layers.crs import Box, transformer
from geopod.layers.grids import shift_transform
from geopod.layers.headers import OpenedHeader

_EXTENSIONS = [
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
]
_MEDIA_TYPES = {
    "GTiff": "image/tiff; application=geotiff; profile=cloud-optimized",
    "Parquet": "application/vnd.apache.parquet",
    "GPKG": "application/geopackage+sqlite3",
    "FlatGeobuf": "application/vnd.flatgeobuf",
    "GeoJSON": "application/geo+json",
}
_COMPLEX = {"complex64": "cfloat32", "complex128": "cfloat64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Which run made a timestamp, of what."""

    run: str
    function_sha256: str
    created: str
    """RFC 3339, UTC."""
    image: str = ""
    """Digest of the image that ran the function; empty on a machine without images."""
    derived_from: tuple[str, ...] = ()
    """uris of the inputs that the function touched."""


def build_item(
    opened: OpenedHeader,
    lineage: Lineage,
    *,
    item_id: str,
    hrefs: Sequence[str],
    missing: Sequence[int] = (),
) -> dict[str, Any]:
    """Return the STAC Item of a timestamp; `hrefs` are relative to the item.

    `missing`: tasks of the run that have no result in it.
    """
    bounds, projection, bands = _describe(opened)
    box = None if bounds is None else _in_degrees(bounds, opened.header.crs)
    asset: dict[str, Any] = {
        "roles": ["data"],
        "type": _MEDIA_TYPES.get(opened.driver, "application/octet-stream"),
    }
    if bands:
        asset["bands"] = bands
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _EXTENSIONS,
        "id": item_id,
        "geometry": None if box is None else _rectangle(box),
        **({} if box is None else {"bbox": list(box)}),
        "properties": {
            "datetime": lineage.created,
            "created": lineage.created,
            "processing:lineage": f"geopod run {lineage.run}",
            "processing:software": {"geopod": lineage.image or "local"},
            "geopod:run": lineage.run,
            "geopod:function_sha256": lineage.function_sha256,
            **({"geopod:missing_tasks": list(missing)} if missing else {}),
            **projection,
        },
        "links": [{"rel": "derived_from", "href": href} for href in lineage.derived_from],
        "assets": {
            "data" if number == 0 else f"data-{number}": {"href": href, **asset, **place}
            for number, (href, place) in enumerate(zip(hrefs, _places(opened), strict=True))
        },
    }


def _places(opened: OpenedHeader) -> list[dict[str, Any]]:
    """Return the `proj:` fields of each file of a mosaic; those of a single one are the item's."""
    tiles = () if opened.raster is None else opened.raster.header.tiles
    if opened.raster is None or not tiles:
        return [{} for _ in opened.source.hrefs]
    transform = opened.raster.header.transform
    return [
        {
            "proj:shape": [height, width],
            "proj:transform": list(shift_transform(transform, row=row, column=column)),
        }
        for row, column, height, width in tiles
    ]


def _describe(opened: OpenedHeader) -> tuple[Box | None, dict[str, Any], list[dict[str, Any]]]:
    """Return bounds, `proj:` fields and bands."""
    crs = opened.header.crs
    projection: dict[str, Any] = (
        {"proj:code": crs} if ":" in crs and "[" not in crs else {"proj:wkt2": crs}
    )
    if opened.raster is not None:
        header = opened.raster.header
        projection |= {
            "proj:shape": list(header.shape),
            "proj:transform": list(header.transform),
        }
        nodata = {} if header.nodata is None else {"nodata": header.nodata}
        values = {"data_type": _COMPLEX.get(header.dtype, header.dtype), **nodata}
        bands = [{"name": name, **values} for name in header.bands]
        return opened.raster.bounds, projection, bands
    boxes = None if opened.vector is None else opened.vector.boxes
    if boxes is None or not len(boxes):
        return None, projection, []
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    return (float(low[0]), float(low[1]), float(high[0]), float(high[1])), projection, []


def _in_degrees(bounds: Box, crs: str) -> Box | None:
    """Return the bounds; None where they have none, off the projection or off the Earth."""
    try:
        west, south, east, north = transformer(crs, "OGC:CRS84").transform_bounds(*bounds)
    except ProjError:
        return None
    return (west, south, east, north) if all(map(isfinite, (west, south, east, north))) else None


def _rectangle(box: Box) -> dict[str, Any]:
    """Return the box as GeoJSON, in two halves where it crosses the antimeridian."""
    west, south, east, north = box
    halves = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    rings = [
        [[[low, south], [high, south], [high, north], [low, north], [low, south]]]
        for low, high in halves
    ]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}
