"""The partition plan: written once by the coordinator, canonical JSON, named by its sha256.

Nodes never re-derive it. No credential, token or signed URL ever enters it. Source of the layout:
the plan block of the project's geodata design (§3).
"""

from __future__ import annotations

from hashlib import sha256
from math import inf
from typing import Any, Literal

import msgspec

PLAN_VERSION = 1
NOWHERE = (inf, inf, -inf, -inf)
"""A core that no point lies in."""
Number = int | float


class WarpGrid(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The fixed grid a layer of another CRS is warped to; read in whole blocks only."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    shape: tuple[int, int]
    resampling: str
    block: int = 512


def corner_bounds(
    transform: tuple[float, float, float, float, float, float], shape: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return xMin, yMin, xMax, yMax of the corners of a grid of rows and columns."""
    a, b, c, d, e, f = transform
    rows, columns = shape
    corners = [(0, 0), (columns, 0), (0, rows), (columns, rows)]
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    return (min(x), min(y), max(x), max(y))


class RasterHeader(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a raster's header says; no pixel has been read."""

    crs: str
    transform: tuple[float, float, float, float, float, float]
    """Affine coefficients a, b, c, d, e, f of the upper-left corner."""
    shape: tuple[int, int]
    """(rows, cols)"""
    dtype: str
    nodata: Number | str | None = None
    """`"nan"`, `"inf"`, `"-inf"` as strings: JSON has no word for them."""
    bands: tuple[str, ...]
    band_indexes: tuple[int, ...]
    """1-based source bands delivered, in this order."""
    block_shape: tuple[int, int]
    read_bytes: int | msgspec.UnsetType = msgspec.UNSET
    """What an array takes to be read, at least; unset: a block of all bands."""
    mask: Literal["nodata", "alpha", "perDataset", "allValid"] = "allValid"
    south_up: bool = False
    """The source's rows run south to north; staging flips them, `transform` is north-up."""
    scales: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    warp: WarpGrid | None = None
    tiles: tuple[tuple[int, int, int, int], ...] = ()
    """Of a mosaic: row, column, height, width of each file on `transform`, in the order of the
    layer's `hrefs`. Empty: one file."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """xMin, yMin, xMax, yMax of its corners, in `crs`."""
        return corner_bounds(self.transform, self.shape)


class VectorHeader(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a vector layer's header says."""

    crs: str
    columns: tuple[str, ...]
    feature_count: int
    bbox_source: Literal["covering", "index", "scan"]
    bounds: tuple[float, float, float, float] | None = None
    """xMin, yMin, xMax, yMax in `crs`; None: no feature has a place."""


class LayerPlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One key of `params` and where its bytes come from."""

    key: str
    path_id: str
    timestamp: str
    kind: Literal["raster", "vector"]
    hrefs: tuple[str, ...]
    driver: str
    version: dict[str, str]
    """`etag`, `versionId`, or `mtime` and `size`, per href: a change is SourceChanged."""
    date: str | None = None
    raster: RasterHeader | None = None
    vector: VectorHeader | None = None
    refreshed: str | msgspec.UnsetType = msgspec.UNSET
    """The refresh after which it is read anew, of a layer whose `version` may stay the same though
    its bytes change (Zarr): with it the plan has another name, and nodes stage it again."""


class FilePlan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A plain file, whole on every node."""

    key: str
    href: str
    sha256: str
    bytes: int


class WorkGrid(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The grid that partitions are cut on. Without a raster `transform` and `shape` are None."""

    crs: str
    transform: tuple[float, float, float, float, float, float] | None
    shape: tuple[int, int] | None
    unit: int
    """Lattice cell in pixels; 0 without a raster."""
    extent: tuple[float, float, float, float]
    """xMin, yMin, xMax, yMax of the job in `crs`."""
    polygon: tuple[tuple[float, float], ...] | None = None
    """Ring of the job's polygon in `crs`: features outside it belong to no partition, the raster
    key `mask` says which work pixels lie inside. None: the job is `extent`."""


class Partition(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What one node gets."""

    index: int
    core: tuple[float, float, float, float] | None
    """xMin, yMin, xMax, yMax in the work CRS; None: this node has no part."""
    inclusive: tuple[bool, bool] = (False, False)
    """(right, bottom) edge of the job extent: a point on it belongs to this core."""
    windows: dict[str, tuple[int, int, int, int]] = {}
    """Raster key -> owned row, col, height, width on the layer's delivered grid, as if it had no
    end: a layer that covers only a part of the core is filled up, so that layers of one grid have
    one shape."""
    padded: dict[str, tuple[int, int, int, int]] = {}
    """The same with halo; may reach outside the layer (negative offsets)."""
    cost: int = 0
    est_bytes: int = 0
    est_features: int = 0
    owned: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    """Vector key -> features that lie in the core, of layers whose ownership points the planner
    was given: a node that finds another number does not believe the file's index."""

    def owns(self, x: Any, y: Any) -> Any:
        """Say which points (work CRS; scalars or arrays) this partition owns.

        `xMin <= x < xMax` and `yMin < y <= yMax`; the job extent's own right and bottom edges
        count as just inside, so that every point of the extent has exactly one owner.
        """
        x_min, y_min, x_max, y_max = self.core or NOWHERE
        right = (x <= x_max) if self.inclusive[0] else (x < x_max)
        bottom = (y >= y_min) if self.inclusive[1] else (y > y_min)
        return (x >= x_min) & right & bottom & (y <= y_max)


class Totals(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Sums over the whole job, by layer key: what a user can check the parts against."""

    pixels: dict[str, int] = {}
    """Of the layer, inside the job extent."""
    features: dict[str, int] = {}
    """By the centres of their boxes, unless the planner was given the ownership points."""
    features_outside: dict[str, int] = {}
    empty_geometries: dict[str, int] = {}
    blocks_decoded: dict[str, int] = {}
    """Blocks read by all nodes; one that two nodes read counts twice."""
    features_uncovered: dict[str, int] = {}
    """With `cover: features`: owned features that reach beyond their node's windows."""
    linearised: dict[str, int] = {}
    """Features with arcs, which nodes get as straight lines."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole plan."""

    version: int = PLAN_VERSION
    planner: dict[str, str]
    nodes: int
    options: dict[str, Any]
    work: WorkGrid | None
    """None: the environment has no layers."""
    layers: tuple[LayerPlan, ...]
    files: tuple[FilePlan, ...] = ()
    partitions: tuple[Partition, ...]
    totals: Totals


def encode_plan(plan: Plan) -> bytes:
    """Return the plan's canonical JSON: sorted keys, no spaces, shortest floats."""
    return msgspec.json.encode(plan, order="sorted")


def decode_plan(data: bytes) -> Plan:
    """Return the plan in `data`; raises `msgspec.ValidationError` on another layout."""
    return msgspec.json.decode(data, type=Plan)


def plan_sha256(data: bytes) -> str:
    """Return the name of an encoded plan."""
    return sha256(data).hexdigest()
