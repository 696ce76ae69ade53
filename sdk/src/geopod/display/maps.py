"""Maps as inline SVG: partitions where they lie, coloured by their state, or states as a strip.

Drawn from the plan and the bounded status alone; no pixel, no library, no network.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from geopod.api.plan import Partition, Plan
from geopod.display.html import QUIET, escape
from geopod.display.states import look
from geopod.errors.wording import size_text

WIDTH, HEIGHT = 420.0, 220.0
"""The room of a map in pixels; a plan keeps its shape inside it."""
MOST_LABELS = 100
"""More partitions are drawn without numbers and without words of their own."""
MOST_CELLS = 1000
"""More tasks are counted, not drawn."""
CELL, GAP, PER_ROW = 12, 2, 40
SVG = 'xmlns="http://www.w3.org/2000/svg" role="img"'
LINE = 'stroke="currentColor" stroke-opacity="0.55" stroke-width="0.7"'
TEXT = 'fill="currentColor" font-size="11" font-family="sans-serif" text-anchor="middle"'


def partition_map(plan: Plan, states: Mapping[int, str], *, noun: str = "node") -> str:
    """Return a map of the plan's partitions; nothing for a plan without any.

    `states`: partition index -> its state; partitions that it does not name are grey.
    """
    filled = [part for part in plan.partitions if part.core is not None]
    if not filled:
        return ""
    scale = _Scale.of(filled)
    words = states_text(states.values())
    label = f"Map of {len(filled)} partitions: {words}"
    body = _single(filled, states, scale, noun) if len(filled) <= MOST_LABELS else ""
    body = body or _grouped(filled, states, scale)
    return _svg(body, scale.width, scale.height, label) + legend(states.values())


def state_strip(states: Mapping[int, str], *, noun: str = "task") -> str:
    """Return one small square per task, in rows of 40; nothing for none or for very many."""
    if not states or len(states) > MOST_CELLS:
        return ""
    step = CELL + GAP
    paths: dict[str, list[str]] = {}
    for place, state in enumerate(states.values()):
        x, y = place % PER_ROW * step, place // PER_ROW * step
        paths.setdefault(state, []).append(f"M{x} {y}h{CELL}v{CELL}h-{CELL}z")
    body = "".join(
        f'<path d="{"".join(pieces)}" fill="{look(state).colour}">'
        f"<title>{escape(state)}: {len(pieces)}</title></path>"
        for state, pieces in paths.items()
    )
    width = min(len(states), PER_ROW) * step - GAP
    height = -(-len(states) // PER_ROW) * step - GAP
    label = f"{len(states)} {noun}s: {states_text(states.values())}"
    return _svg(body, width, height, label) + legend(states.values())


def states_text(states: Iterable[str]) -> str:
    """Return states with their numbers: `3 succeeded, 1 failed`."""
    return ", ".join(f"{count} {state}" for state, count in Counter(states).most_common())


def legend(states: Iterable[str]) -> str:
    """Return what the colours mean, in words and numbers."""
    parts = (
        f'<span style="color:{look(state).colour}" aria-hidden="true">{look(state).mark}</span> '
        f"{count} {escape(state)}"
        for state, count in Counter(states).most_common()
    )
    return f'<div style="{QUIET}">{" &nbsp; ".join(parts)}</div>'


class _Scale:
    """From coordinates of the work CRS, north up, to pixels, down."""

    def __init__(
        self, west: float, north: float, per_unit: float, size: tuple[float, float]
    ) -> None:
        self._west, self._north, self._per_unit = west, north, per_unit
        self.width, self.height = size

    @classmethod
    def of(cls, parts: list[Partition]) -> _Scale:
        cores = [part.core for part in parts if part.core is not None]
        west, south = min(core[0] for core in cores), min(core[1] for core in cores)
        east, north = max(core[2] for core in cores), max(core[3] for core in cores)
        wide, high = max(east - west, 1e-12), max(north - south, 1e-12)
        per_unit = min(WIDTH / wide, HEIGHT / high)
        return cls(west, north, per_unit, (max(wide * per_unit, 8.0), max(high * per_unit, 8.0)))

    def box(self, core: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """Return x, y, width, height in pixels."""
        x, y = (core[0] - self._west) * self._per_unit, (self._north - core[3]) * self._per_unit
        return x, y, (core[2] - core[0]) * self._per_unit, (core[3] - core[1]) * self._per_unit


def _single(parts: list[Partition], states: Mapping[int, str], scale: _Scale, noun: str) -> str:
    """Return partitions one by one, each with its number and its words."""
    drawn = []
    for part in parts:
        x, y, width, height = scale.box(part.core or (0, 0, 0, 0))
        state = states.get(part.index, "pending")
        features = f", {part.est_features} features" if part.est_features else ""
        words = f"{noun} {part.index}: {state}, {size_text(part.est_bytes)}{features}"
        number = str(part.index)
        fits = width > 8 * len(number) and height > 12  # noqa: PLR2004  # pixels of a digit
        text = f'<text x="{x + width / 2:.1f}" y="{y + height / 2 + 4:.1f}" {TEXT}>{number}</text>'
        drawn.append(
            f'<g><title>{escape(words)}</title><rect x="{x:.1f}" y="{y:.1f}" '
            f'width="{width:.1f}" height="{height:.1f}" fill="{look(state).colour}" '
            f'fill-opacity="0.4" {LINE}/>{text if fits else ""}</g>'
        )
    return "".join(drawn)


def _grouped(parts: list[Partition], states: Mapping[int, str], scale: _Scale) -> str:
    """Return partitions of one state as one shape: a thousand stay under 100 kB."""
    paths: dict[str, list[str]] = {}
    for part in parts:
        x, y, width, height = scale.box(part.core or (0, 0, 0, 0))
        piece = f"M{x:.1f} {y:.1f}h{width:.1f}v{height:.1f}h{-width:.1f}z"
        paths.setdefault(states.get(part.index, "pending"), []).append(piece)
    return "".join(
        f'<path d="{"".join(pieces)}" fill="{look(state).colour}" fill-opacity="0.4" {LINE}>'
        f"<title>{escape(state)}: {len(pieces)}</title></path>"
        for state, pieces in paths.items()
    )


def _svg(body: str, width: float, height: float, label: str) -> str:
    return (
        f'<svg {SVG} aria-label="{escape(label)}" width="{width + 2:.0f}" '
        f'height="{height + 2:.0f}" viewBox="-1 -1 {width + 2:.0f} {height + 2:.0f}" '
        f'style="max-width:100%;height:auto;display:block;margin:.4em 0">{body}</svg>'
    )
