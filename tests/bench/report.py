"""The table on the terminal, and the page, the figures and the plot that `--write` leaves."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.measure import Row

SCALE = {"ms": 1e3, "MB": 1e-6, "objects": 1.0}
PROMISES = {
    "dask": "tasks share a process; results in memory only; pickle between all parts",
    "ray": "tasks share a process; results in memory only; pickle between all parts",
    "lithops": "a process per task; results in storage",
}


def print_rows(rows: Sequence[Row]) -> bool:
    """Print the table; return whether every gate holds."""
    for row in rows:
        print(f"\n{row.question}")
        scale = SCALE[row.unit]
        for name, times in row.spreads.items():
            note = f"  [{row.notes[name]}]" if name in row.notes else ""
            print(
                f"  {name:<22} {times.median * scale:10.2f} {row.unit}  "
                f"({times.low * scale:.2f} .. {times.high * scale:.2f}, n={times.rounds}){note}"
            )
        for peer, limit in row.gates.items():
            word = "holds" if row.ratio(peer) <= limit else "MISSED"
            print(f"  geopod / {peer} = {row.ratio(peer):.3f}, gate {limit:.3f}: {word}")
    return all(row.holds for row in rows)


def write_page(rows: Sequence[Row], heading: str, folder: Path) -> None:
    """Write `benchmarks.md`, `benchmarks.json` and, with matplotlib, `benchmarks.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"heading": heading, "rows": [asdict(row) for row in rows]}
    (folder / "benchmarks.json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")
    lines = [
        "# Benchmarks",
        "",
        f"Written by `make bench` on {time.strftime('%Y-%m-%d')}. {heading}. Medians of",
        "interleaved rounds with the middle 80 % beside them; trust ratios, not milliseconds.",
        "",
        "| question | peer | median | middle 80 % | n | geopod / peer | gate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.extend(_lines(row))
    lines += ["", "What the peers promise less:", ""]
    lines += [f"* {peer}: {words}." for peer, words in PROMISES.items() if _asked(rows, peer)]
    if _draw(rows, folder / "benchmarks.png"):
        lines += ["", "![geopod's time divided by each peer's](benchmarks.png)"]
    (folder / "benchmarks.md").write_text("\n".join(lines) + "\n", "utf-8")


def _asked(rows: Sequence[Row], peer: str) -> bool:
    return any(peer in row.spreads for row in rows)


def _lines(row: Row) -> list[str]:
    lines = []
    scale = SCALE[row.unit]
    for place, (name, times) in enumerate(row.spreads.items()):
        ratio = "" if name == "geopod" else f"{row.ratio(name):.2f}"
        gate = row.gates.get(name)
        verdict = "" if gate is None else f"≤ {gate:.2f} {'✓' if row.ratio(name) <= gate else '✗'}"
        lines.append(
            f"| {row.question if place == 0 else ''} | {name} | {times.median * scale:.2f} "
            f"{row.unit} | {times.low * scale:.2f} … {times.high * scale:.2f} | {times.rounds} "
            f"| {ratio} | {verdict} |"
        )
    return lines


def _draw(rows: Sequence[Row], path: Path) -> bool:
    """Draw geopod's figure divided by each peer's; left of the line geopod is ahead."""
    try:
        import matplotlib as mpl
    except ImportError:
        return False
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    bars = [
        (f"{row.question} / {peer}", row.ratio(peer))
        for row in rows
        for peer in row.spreads
        if peer != "geopod"
    ]
    if not bars:
        return False
    figure, axes = plt.subplots(figsize=(9, 0.4 + 0.32 * len(bars)), layout="constrained")
    names, ratios = zip(*reversed(bars), strict=True)
    axes.barh(names, ratios, color=["#2a7f62" if ratio <= 1 else "#b5534c" for ratio in ratios])
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_xlabel("geopod / peer (logarithmic; less is better)")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return True
