"""The options of `spec.partitioning`, with their defaults filled in: they go into the plan as read.

Source: the option list of the project's operator design (§1), explained in its geodata design (§3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from geopod.errors import InvalidInputError

Point = tuple[float, float]


class _Options(
    msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True
):
    """Frozen, camelCase outside, strict about names."""


class ExtentOptions(_Options, frozen=True, kw_only=True):
    """Which part of the layers the job covers."""

    mode: Literal["reference", "intersection", "union", "bbox"] = "reference"
    bbox: tuple[float, float, float, float] | None = None
    """xMin, yMin, xMax, yMax; with mode `bbox`."""
    polygon: tuple[Point, ...] | None = None
    """One ring; the job is what lies inside it, whatever the mode."""
    crs: str | None = None
    """CRS of `bbox` and `polygon`; None: the work CRS."""


class GridOptions(_Options, frozen=True, kw_only=True):
    """The work grid, if it is not the reference layer's own."""

    like: str | None = None
    """Key of the raster layer whose grid is the work grid."""
    resolution: Annotated[float, Meta(gt=0)] | None = None
    """Pixel side in units of the work CRS; `frame.MOST_PIXELS_IN_ONE` says how large it may be."""
    anchor: Point | None = None
    """A pixel corner of a grid that no layer has; None: the origin of the CRS."""
    preset: Literal["ellipsis"] | None = None
    """`ellipsis`: Web Mercator, pixels of the 256-px zoom grid, a validity band appended last."""


class PartitionOptions(_Options, frozen=True, kw_only=True):
    """All options of the split."""

    overlap: Annotated[int, Meta(ge=0, le=4096)] = 0
    """Halo in reference pixels."""
    features: Literal["owned", "intersects", "clip"] = "owned"
    balance: Literal["mixed", "bytes", "features", "area"] = "mixed"
    crs: str = "native"
    extent: ExtentOptions = ExtentOptions()
    grid: GridOptions | None = None
    cover: Literal["core", "features"] = "core"
    max_cover: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    """With `cover: features`: work pixels by which a window may grow on each side; None: any."""
    align: bool = False
    skip_nodata: bool = False
    keep_empty: bool = False
    feature_weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 2000
    """What one feature costs, in reference pixels."""
    headroom: Annotated[float, Meta(ge=1, le=64)] = 3.0
    """Memory that `f` needs, in multiples of the node's arrays."""
    vector_crs: Literal["work", "native"] = "work"


def read_options(spec: Mapping[str, Any]) -> PartitionOptions:
    """Return the options of a `spec.partitioning` object; absent fields take their defaults.

    Raises `InvalidInputError` for an unknown field, a wrong type or a value out of range.
    """
    given = {name: value for name, value in spec.items() if value is not None}
    try:
        return msgspec.convert(given, PartitionOptions)
    except msgspec.ValidationError as error:
        raise InvalidInputError.value(
            name="partitioning", value=dict(spec), why=f"cannot be used: {error}"
        ) from error


def options_record(options: PartitionOptions) -> dict[str, Any]:
    """Return the options as the plan stores them: every field, JSON values only."""
    record: dict[str, Any] = msgspec.to_builtins(options)
    return record
