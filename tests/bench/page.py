"""The page: what was asked, what holds, the tables, and how to repeat it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from bench.answers import Answer
from bench.measure import Row
from bench.plot import draw
from bench.promises import LESS, PROMISES, PUBLISHED, REASONS
from bench.questions import CLUSTER, QUESTIONS
from bench.report import SCALE
from bench.versions import machine, versions

INTRODUCTION = """\
# Benchmarks

geopod beside dask, ray, Lithops, GDAL and bare Kubernetes: each question is asked of geopod and of
those that it suits, in one run, on one machine. This page is written by `make bench`; it keeps
the answers to questions that were not asked again.

{when}

* Each figure is the median of n rounds in which all take turns, so that a slow moment of the
  machine hits all. The middle 80 % of the rounds stands beside it. **Trust the ratios, not the
  milliseconds.**
* A ratio is geopod's figure divided by the peer's: below 1 geopod takes less.
* A gate is the ratio that geopod has set itself to reach. A *limit* among the peers is a plain
  number.
"""

FAIRNESS = """\
## How the peers are run

* As many workers for all, of one thread each. OpenMP, BLAS and GDAL are pinned to one thread.
* All clients live in one process per question, and dask's scheduler with its garbage in the same:
  a map takes geopod up to twice as long beside it as alone.
* Everything is compiled to bytecode beforehand. Short calls are asked a few times before they
  count, long jobs once or not at all.
* Short calls have 25 ms of idle time before them: dask's client batches its messages every 10 ms,
  and a tight loop would measure that timer.
* ray runs with as many CPUs as there are workers, and once more as `ray.init()` starts it. It is
  told that `uv run` is nothing to it: by default it starts each worker by another `uv run` then.
* One large argument goes each peer's own way: `scatter` to all workers, `put`, a keyword.
* Lithops runs its local executor in this interpreter, with its first runner, which forks the tasks
  of a job, and looks for answers every 20 ms instead of every 2 s.
* The jobs over layers work in blocks of one size on both sides. Their answers are compared before
  they are timed. geopod's layers are staged then, as they are for all calls after the first; what
  the first one takes, and dask with all of the scene in memory, has lines of its own.
* Memory is proportional (PSS): a page that four processes share counts for a quarter in each. The
  most memory of a job is looked for every 20 ms in a run that is not timed. The client is left
  out, and with it dask's scheduler, which lives there.
"""

REPEAT = """\
## Repeat it

    make bench                        # 20 minutes on two cores
    make bench QUESTIONS="warm map"   # some of them
    make bench LEVEL=cluster          # starts a Kubernetes, and ends it
    make bench WRITE=docs/reference   # writes this page, its figures as JSON and the plot
    make bench SHORT=1                # tries all questions out, without gates

Exit status 1: a gate is missed. 2: a question has no answer; the others have theirs.

What must never grow unseen is counted in the tests, on any machine, and time is never asserted:
writes, bytes, files, messages and forks of a call and of a task, and what is read of a layer
(`test_call_counts.py`, `test_data_counts.py` and `test_sources.py` in `tests/conformance`), and
writes to the API server (`tests/cluster/test_budgets.py`).
"""


@dataclass(slots=True)
class Figures:
    """All that is known: the newest answer to every question."""

    machine: str
    versions: str
    """Of the answers that do not tell theirs."""
    answers: dict[str, Answer] = field(default_factory=dict)


def keep(answers: Mapping[str, Answer], folder: Path) -> None:
    """Put answers beside what is there already and write `benchmarks.{json,md,png}`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "benchmarks.json"
    figures = _read(path)
    known = figures.answers | dict(answers)
    order = [*QUESTIONS, *CLUSTER]
    figures.answers = {it: known[it] for it in order if it in known}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    rows = [row for answer in figures.answers.values() for row in answer.rows]
    parts = list(_parts(figures, has_plot=draw(rows, folder / "benchmarks.png")))
    (folder / "benchmarks.md").write_text("\n".join(parts).rstrip() + "\n", "utf-8")


def _read(path: Path) -> Figures:
    """Return the answers that were written before, as far as they can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Figures)
    except (OSError, msgspec.MsgspecError):
        return Figures(machine(), versions())


def _parts(figures: Figures, *, has_plot: bool) -> Iterator[str]:
    yield INTRODUCTION.format(when="\n\n".join(_when(figures)))
    yield from _summary(figures.answers)
    if has_plot:
        yield "![geopod's figure divided by each peer's](benchmarks.png)\n"
    for title, names in (("On one machine", QUESTIONS), ("On a cluster", CLUSTER)):
        answers = {name: figures.answers[name] for name in names if name in figures.answers}
        if answers:
            yield f"## {title}\n"
            yield from _table(answers)
            yield ""
    yield "## What others publish of their start on a cluster\n"
    yield "Not measured here: other machines, other images. Read them as orders of magnitude.\n"
    yield from (f"* **{peer}**: {words}" for peer, words in PUBLISHED.items())
    yield "\n## What the peers promise less\n"
    yield from (f"* **{peer}**: {words}" for peer, words in PROMISES.items())
    yield f"\n{FAIRNESS}"
    yield from _busy(figures.answers)
    yield REPEAT


def _when(figures: Figures) -> Iterator[str]:
    """Say what was measured on what, and, where that differs, which questions."""
    groups: dict[tuple[str, str], list[str]] = {}
    for name, answer in figures.answers.items():
        place = (answer.machine or figures.machine, answer.versions or figures.versions)
        groups.setdefault(place, []).append(name)
    for (where, what), names in groups.items():
        dates = sorted({figures.answers[name].date for name in names})
        which = "" if len(groups) == 1 else f" ({', '.join(f'`{name}`' for name in names)})"
        yield f"Measured on {' and '.join(dates)}{which}: {where}. {what}."


def _summary(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Say how many gates hold, and why the others do not."""
    rows = [(name, row) for name, answer in answers.items() for row in answer.rows]
    gates = sum(len(row.gates) for _, row in rows)
    missed = [(name, row, peer) for name, row in rows for peer in row.missed]
    yield f"## What holds, and what does not\n\n{gates - len(missed)} of {gates} gates hold."
    if missed:
        yield "Missed, with [where the time goes](performance.md):\n"
    for name, row, peer in missed:
        ratio = f"{row.ratio(peer):.2f} of {peer}, the gate is {row.gates[peer]:.2f}"
        yield f"* **{row.question}**: {ratio}. {REASONS.get(name, '')}".rstrip()
    for name, answer in answers.items():
        if answer.failure:
            yield f"* **`{name}` could not be answered**: `{answer.failure[:200]}`"
    yield ""


def _table(answers: Mapping[str, Answer]) -> Iterator[str]:
    yield "| question | who | median | middle 80 % | n | geopod / it | gate | less, or otherwise |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, answer in answers.items():
        if answer.failure:
            yield f"| `{name}` | | **not answered** | | | | | |"
        for row in answer.rows:
            yield from _lines(row)


def _lines(row: Row) -> Iterator[str]:
    scale = SCALE.get(row.unit, 1.0)
    for place, (name, found) in enumerate(row.spreads.items()):
        ratio = "" if name == "geopod" or "geopod" not in row.spreads else f"{row.ratio(name):.2f}"
        mark = "✗" if name in row.missed else "✓"
        gate = f"≤ {row.gates[name]:.2f} {mark}" if name in row.gates else ""
        words = "; ".join(filter(None, (row.notes.get(name), LESS.get(name))))
        spread = f"{found.low * scale:,.2f} … {found.high * scale:,.2f}" if found.rounds > 1 else ""
        yield (
            f"| {row.question if place == 0 else ''} | {name} | {found.median * scale:,.2f} "
            f"{row.unit} | {spread} | {found.rounds} | {ratio} | {gate} | {words} |"
        )


def _busy(answers: Mapping[str, Answer]) -> Iterator[str]:
    """Say how busy the machine was before each question."""
    yield "## How busy the machine was\n"
    yield "| question | on | before it | took |"
    yield "|---|---|---|---|"
    for name, answer in answers.items():
        yield f"| `{name}` | {answer.date} | {answer.load} | {answer.seconds:.0f} s |"
    yield ""
