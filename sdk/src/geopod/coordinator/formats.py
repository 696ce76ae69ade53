"""Which file formats results may have in a layer."""

from __future__ import annotations

from collections.abc import Mapping

from geopod.errors import InvalidInputError

FORMATS: Mapping[str, tuple[str, ...]] = {
    "raster": ("tif",),
    "vector": ("parquet", "gpkg", "fgb", "geojson"),
}
"""By the kind of layer; the first one unless asked otherwise."""


def chosen_format(kind: str, wanted: str | None) -> str:
    """Return the format of results for a layer; raises InvalidInputError for one it cannot have."""
    formats = FORMATS[kind]
    if wanted and wanted not in formats:
        raise InvalidInputError(
            f"A {kind} layer cannot be written as {wanted!r}.",
            fixes=tuple(f"write_to={{…, 'file': {{'format': {one!r}}}}}" for one in formats),
            details={"format": wanted, "formats": list(formats)},
        )
    return wanted or formats[0]
