"""The plot: geopod's figure divided by each peer's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.measure import Row

AHEAD, BEHIND = "#2a7f62", "#b5534c"


def draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw a bar for every peer of every row; return whether there was one, and matplotlib.

    Left of the line geopod takes less.
    """
    bars = [
        (f"{row.question} / {peer}", row.ratio(peer))
        for row in rows
        for peer in row.spreads
        if peer != "geopod" and "geopod" in row.spreads
    ]
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    if not bars:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(10, 0.4 + 0.3 * len(bars)), layout="constrained")
    names, ratios = zip(*reversed(bars), strict=True)
    axes.barh(names, ratios, color=[AHEAD if ratio <= 1 else BEHIND for ratio in ratios])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("geopod / peer (logarithmic; less is better)")
    axes.margins(y=0.01)
    figure.savefig(path, dpi=100)
    plt.close(figure)
    return True
