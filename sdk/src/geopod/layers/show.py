"""Show a plan's partitions: as features for a map, as a picture, as text in a terminal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray

from geopod.api.plan import Partition, Plan
from geopod.errors import MissingExtraError
from geopod.errors.wording import size_text
from geopod.layers.crs import parse_crs

if TYPE_CHECKING:
    import geopandas

_TEXT_ROWS = 20
_TEXT_COLUMNS = 60
# A character is about twice as high as wide.
_CHARACTER_SHAPE = 2.0
_MARKS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_INCHES = 8.0
_MOST_LABELS = 100
_DARK = 0.6
"""Part of the colours from which on black letters cannot be read."""


def partitions_frame(plan: Plan) -> geopandas.GeoDataFrame:
    """Return one row per partition: its core as a polygon in the work CRS, and what it holds.

    Columns: `partition` (index of the frame), `cost` (bytes), `share` (of the mean cost),
    `est_bytes`, `est_features`, `geometry` (None: the partition is empty).
    """
    import geopandas

    rows = plan.partitions
    mean = float(np.mean([row.cost for row in rows])) if rows else 0.0
    return geopandas.GeoDataFrame(
        {
            "cost": [row.cost for row in rows],
            "share": [row.cost / mean if mean else 0.0 for row in rows],
            "est_bytes": [row.est_bytes for row in rows],
            "est_features": [row.est_features for row in rows],
        },
        index=[row.index for row in rows],
        geometry=[None if row.core is None else shapely.box(*row.core) for row in rows],
        crs=None if plan.work is None else plan.work.crs,
    ).rename_axis("partition")


def draw_partitions(plan: Plan, path: Path) -> Path:
    """Write a picture of the partitions, coloured by their cost, and return its path.

    Raises MissingExtraError where matplotlib is not installed; `partitions_text` needs nothing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError(
            "Drawing partitions needs matplotlib, which is not installed.",
            fixes=("pip install matplotlib", "geopod plan shows them as text"),
        ) from error
    filled = [row for row in plan.partitions if row.core is not None]
    boxes = np.array([row.core for row in filled], dtype=float).reshape(-1, 4)
    stretch = _stretch(plan, boxes)
    figure = Figure(figsize=(_INCHES, _height(boxes, stretch)), layout="constrained")
    axes = figure.add_subplot()
    if filled:
        _draw_cores(figure, axes, filled, boxes)
    axes.set_aspect(stretch)
    axes.ticklabel_format(style="plain", useOffset=False)
    axes.set_title(summary(plan))
    figure.savefig(path)
    return path


def partitions_text(
    plan: Plan, *, columns: int = _TEXT_COLUMNS, most_rows: int = _TEXT_ROWS
) -> str:
    """Return the partitions as a map of characters, one mark per partition, and a line of facts.

    Partitions from 62 on use the marks again; a dot lies in no partition.
    """
    cores = np.array([row.core for row in plan.partitions if row.core is not None], dtype=float)
    if plan.work is None or not len(cores):
        return summary(plan)
    x_min, y_min, x_max, y_max = plan.work.extent
    rows = round(columns * (y_max - y_min) / max(x_max - x_min, 1e-9) / _CHARACTER_SHAPE)
    rows = min(max(rows, 1), most_rows)
    x = x_min + (np.arange(columns) + 0.5) * (x_max - x_min) / columns
    y = y_max - (np.arange(rows) + 0.5) * (y_max - y_min) / rows
    indexes = [row.index for row in plan.partitions if row.core is not None]
    marks = np.full((rows, columns), ".")
    for index, (left, bottom, right, top) in zip(indexes, cores, strict=True):
        inside = np.outer((y > bottom) & (y <= top), (x >= left) & (x < right))
        marks[inside] = _MARKS[index % len(_MARKS)]
    return "\n".join(["".join(line) for line in marks] + [summary(plan)])


def summary(plan: Plan) -> str:
    """Return the plan in one line: partitions, balance, bytes, features."""
    filled = [row for row in plan.partitions if row.core is not None]
    if not filled:
        return f"{plan.nodes} nodes, no partitions: the environment has no layers"
    costs = np.array([row.cost for row in filled], dtype=float)
    balance = costs.max() / costs.mean() if costs.sum() else 1.0
    largest = max(row.est_bytes for row in filled)
    empty = f", {plan.nodes - len(filled)} empty" if len(filled) < plan.nodes else ""
    return (
        f"{plan.nodes} partitions{empty}; largest {size_text(largest)}, "
        f"most / mean cost {balance:.2f}; {sum(row.est_features for row in filled)} features"
    )


def _stretch(plan: Plan, boxes: NDArray[np.float64]) -> float:
    """Return how much longer a unit is drawn upwards: degrees are narrower towards the poles."""
    if plan.work is None or not len(boxes) or not parse_crs(plan.work.crs).is_geographic:
        return 1.0
    middle = math.radians((boxes[:, 1].min() + boxes[:, 3].max()) / 2)
    return 1.0 / max(math.cos(middle), 0.1)


def _height(boxes: NDArray[np.float64], stretch: float) -> float:
    """Return the inches that a picture of these boxes is high."""
    if not len(boxes):
        return _INCHES / 2
    width = boxes[:, 2].max() - boxes[:, 0].min()
    height = (boxes[:, 3].max() - boxes[:, 1].min()) * stretch
    return float(np.clip(_INCHES * height / width, _INCHES / 3, _INCHES * 2))


def _draw_cores(
    figure: Any, axes: Any, filled: list[Partition], boxes: NDArray[np.float64]
) -> None:
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    costs = np.array([row.cost for row in filled], dtype=float)
    shares = costs / (costs.mean() or 1.0)
    patches = [
        Rectangle((left, bottom), right - left, top - bottom) for left, bottom, right, top in boxes
    ]
    shapes = PatchCollection(patches, edgecolor="black", linewidth=0.5, cmap="YlGnBu")
    shapes.set_array(shares)
    # From nothing to twice the mean: an even plan looks even.
    shapes.set_clim(0.0, max(2.0, shares.max()))
    axes.add_collection(shapes)
    axes.set_xlim(boxes[:, 0].min(), boxes[:, 2].max())
    axes.set_ylim(boxes[:, 1].min(), boxes[:, 3].max())
    figure.colorbar(shapes, label="cost against the mean", shrink=0.8)
    if len(filled) > _MOST_LABELS:
        return
    for row, share, (left, bottom, right, top) in zip(filled, shares, boxes, strict=True):
        axes.text(
            (left + right) / 2,
            (bottom + top) / 2,
            str(row.index),
            ha="center",
            va="center",
            color="white" if share > _DARK * shapes.get_clim()[1] else "black",
        )
