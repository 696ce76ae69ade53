"""`make bench`: all questions, or those named by `QUESTIONS="warm map"`."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path

import msgspec
from bench.answers import LIMIT_S, Answer, ask
from bench.around import a_cluster
from bench.measure import load
from bench.page import keep
from bench.questions import CLUSTER, QUESTIONS
from bench.report import print_answer
from bench.versions import compile_all, versions

FAILED, MISSED = 2, 1
QUESTION_S = {"map": 900.0, "work": 600.0, "runs": 600.0, "scale": 720.0}
"""Questions that may take longer than the others."""


def main() -> int:
    """Print the table; exit status 1 when a gate is missed, 2 when a question has no answer."""
    parser = _parser()
    options = parser.parse_args()
    asked = QUESTIONS | CLUSTER
    unknown = [name for name in options.questions if name not in asked]
    if unknown:
        parser.error(f"no question {unknown[0]!r}; there are {', '.join(asked)}")
    if options.rows is not None:
        options.rows.write_bytes(msgspec.json.encode(asked[options.questions[0]]()))
        return 0
    _set_up(is_short=options.short)
    names = options.questions or list(CLUSTER if options.level == "cluster" else QUESTIONS)
    with a_cluster() if CLUSTER.keys() & set(names) else nullcontext({}) as variables:
        os.environ.update(variables)
        answers = dict(_answers(names))
    if options.write is not None and not options.short:
        keep(answers, options.write)
    if any(answer.failure for answer in answers.values()):
        return FAILED
    missed = any(row.missed for answer in answers.values() for row in answer.rows)
    return MISSED if missed and not options.short else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bench")
    questions = ", ".join(QUESTIONS | CLUSTER)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=questions)
    parser.add_argument("--level", choices=["local", "cluster"], default="local")
    parser.add_argument("--write", type=Path, help="folder for page, figures and plot")
    parser.add_argument("--short", action="store_true", help="try out: few rounds, no gates")
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    return parser


def _set_up(*, is_short: bool) -> None:
    """Make the machine the same for all: one thread per worker, bytecode compiled beforehand."""
    # Who ends the bench ends its question, too, and a cluster that was started for it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "GDAL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    if is_short:
        os.environ["GEOPOD_BENCH_SHORT"] = "1"
    else:
        compile_all()
    print(versions(), flush=True)


def _answers(names: list[str]) -> list[tuple[str, Answer]]:
    """Ask one question after the other, and say how it goes."""
    answers = []
    for number, name in enumerate(names, start=1):
        before = load()
        print(f"\n[{number} of {len(names)}] {name}: {before}", flush=True)
        answer = ask(name, before, limit_s=QUESTION_S.get(name, LIMIT_S))
        print_answer(name, answer)
        answers.append((name, answer))
    return answers


if __name__ == "__main__":
    sys.exit(main())
