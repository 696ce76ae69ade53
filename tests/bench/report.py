"""The table on the terminal."""

from __future__ import annotations

from bench.answers import Answer
from bench.measure import Row

SCALE = {"ms": 1e3, "MB": 1e-6}


def print_answer(name: str, answer: Answer) -> None:
    """Print the rows of one question, or why there are none."""
    for row in answer.rows:
        _print_row(row)
    if answer.failure:
        print(f"  FAILED {name}: {answer.failure}")
    print(f"  ({answer.seconds:.0f} s)", flush=True)


def _print_row(row: Row) -> None:
    print(f"\n{row.question}")
    scale = SCALE.get(row.unit, 1.0)
    for name, times in row.spreads.items():
        note = f"  [{row.notes[name]}]" if name in row.notes else ""
        print(
            f"  {name:<22} {times.median * scale:10.2f} {row.unit}  "
            f"({times.low * scale:.2f} .. {times.high * scale:.2f}, n={times.rounds}){note}"
        )
    for peer, limit in row.gates.items():
        word = "MISSED" if peer in row.missed else "holds"
        print(f"  geopod / {peer} = {row.ratio(peer):.3f}, gate {limit:.3f}: {word}")
