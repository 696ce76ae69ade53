"""`make bench`: all questions, or those named (`python -m bench warm map`)."""

from __future__ import annotations

import sys
from importlib.metadata import version

from bench.measure import print_rows, quiet
from bench.questions import QUESTIONS


def main(chosen: list[str]) -> int:
    """Print the table; exit status 1 when a gate is missed."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("geopod", "distributed", "ray"))
    print(f"{versions}; Python {sys.version.split()[0]}; {quiet()}")
    good = True
    for name in chosen or list(QUESTIONS):
        good &= print_rows(QUESTIONS[name]())
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
