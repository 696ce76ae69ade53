"""`make bench`: all questions, or those named by `QUESTIONS="warm map"`."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.measure import load
from bench.questions import CLUSTER, QUESTIONS
from bench.report import print_rows, write_page

PEERS = ("geopod", "distributed", "ray", "rasterio", "rioxarray", "dask-geopandas")


def main() -> int:
    """Print the table; exit status 1 when a gate is missed."""
    parser = argparse.ArgumentParser(prog="bench")
    asked = QUESTIONS | CLUSTER
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help=", ".join(asked))
    parser.add_argument("--level", choices=["local", "cluster"], default="local")
    parser.add_argument("--write", type=Path, help="folder for page, figures and plot")
    options = parser.parse_args()
    unknown = [name for name in options.questions if name not in asked]
    if unknown:
        parser.error(f"no question {unknown[0]!r}; there are {', '.join(asked)}")
    # One thread per worker for all: what is compared is the systems, not BLAS and GDAL.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    heading = f"{', '.join(versions())}; Python {sys.version.split()[0]}; {load()}"
    print(heading)
    rows = []
    for name in options.questions or (CLUSTER if options.level == "cluster" else QUESTIONS):
        answered = asked[name]()
        print_rows(answered)
        sys.stdout.flush()
        rows.extend(answered)
    if options.write is not None:
        write_page(rows, heading, options.write)
    return 0 if all(row.holds for row in rows) else 1


def versions() -> list[str]:
    """Return name and version of geopod and the peers that are installed."""
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
