"""`spec.partitioning`: how an environment's layers are cut into one part per node.

What each option does: the project's geodata design, §3.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StringConstraints

from geopod.api.common import AS_WHOLE, EpsgCode, KeyText, Model, Rule

Coordinates = Annotated[tuple[float, ...], Field(json_schema_extra=AS_WHOLE)]


class Extent(Model):
    """The ground that the job covers."""

    mode: Literal["reference", "intersection", "union", "bbox"] = "reference"
    """Extent of the reference layer, of what all layers share, of all together, or a given box."""
    bbox: Annotated[Coordinates, Field(min_length=4, max_length=4)] | None = None
    """xMin, yMin, xMax, yMax in the work CRS, or in `crs`; with mode bbox only."""
    crs: EpsgCode | None = None
    """CRS of `bbox` and `polygon`, `EPSG:4326`; absent: the work CRS."""
    polygon: (
        Annotated[
            tuple[Annotated[Coordinates, Field(min_length=2, max_length=2)], ...],
            Field(min_length=3, max_length=1000, json_schema_extra=AS_WHOLE),
        ]
        | None
    ) = None
    """Ring of x, y pairs: cells outside it are skipped, `params` gets a key `mask`."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.bbox) == (self.mode == 'bbox')",
            "bbox goes with mode bbox: give both or neither.",
            lambda it: (it.bbox is not None) == (it.mode == "bbox"),
        ),
    )


class Grid(Model):
    """Another work grid than the reference layer's own: give one of like, resolution, preset."""

    like: KeyText | None = None
    """timestampId of the raster layer whose grid is taken."""
    resolution: Annotated[float, Field(gt=0)] | None = None
    """Pixel size in units of the work CRS."""
    anchor: Annotated[Coordinates, Field(min_length=2, max_length=2)] | None = None
    """x, y of a pixel corner, with `resolution`; absent: 0, 0."""
    preset: Literal["ellipsis"] | None = None
    """ellipsis: EPSG:3857 and a 0/1 validity band appended last."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "[has(self.like), has(self.resolution), has(self.preset)].filter(x, x).size() == 1",
            "give exactly one of like, resolution and preset.",
            lambda it: [it.like, it.resolution, it.preset].count(None) == 2,  # noqa: PLR2004  # of 3
        ),
        Rule(
            "!has(self.anchor) || has(self.resolution)",
            "anchor goes with resolution: give both or drop anchor.",
            lambda it: it.anchor is None or it.resolution is not None,
        ),
    )


class Partitioning(Model):
    """How the layers are cut into one part per node."""

    overlap: Annotated[int, Field(ge=0, le=4096)] = 0
    """Halo around each part, in pixels of the reference layer."""
    features: Literal["owned", "intersects", "clip"] = "owned"
    """Which features a node gets: those it owns, all that touch its part, or these clipped."""
    balance: Literal["mixed", "bytes", "features", "area"] = "mixed"
    """What the parts have an equal share of."""
    crs: Annotated[str, StringConstraints(pattern=r"^(native|EPSG:[0-9]{4,6})$", max_length=64)] = (
        "native"
    )
    """Work CRS: native is the reference layer's own, else a code like EPSG:3857."""
    extent: Extent = Extent()
    """The ground that the job covers."""
    grid: Grid | None = None
    """Another work grid than the reference layer's own."""
    cover: Literal["core", "features"] = "core"
    """features: raster windows grow to the bounds of the features that the node owns."""
    max_cover: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """With cover features: pixels by which a window may grow on each side; absent: no limit."""
    align: bool = False
    """Put all rasters on the reference grid."""
    skip_nodata: bool = False
    """A part of nodata pixels alone counts as empty."""
    keep_empty: bool = False
    """Features without geometry go to node 0 instead of being counted and dropped."""
    feature_weight: Annotated[int, Field(ge=0, le=1_000_000)] = 2000
    """What one feature costs beside the pixels of the reference layer."""
    headroom: Annotated[float, Field(ge=1, le=64)] = 3
    """Memory that the function may need, as a multiple of its raster windows."""
    vector_crs: Literal["work", "native"] = "work"
    """CRS that features are delivered in: the work CRS, or each layer's own."""
