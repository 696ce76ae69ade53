"""What is imported once, before the fork: agents and children of many nodes share it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from geopod.errors import GeopodError
from geopod.layers.lean import never_load_pandas

Drivers = frozenset[tuple[str, str]]
"""(kind, driver) of every layer's files."""
_STAGING = {"raster": "geopod.layers.stage_rasters", "vector": "geopod.layers.stage_vectors"}
_ENCODING = {"raster": "geopod.codecs.raster", "vector": "geopod.codecs.features"}
_VECTOR_SUFFIXES = {
    ".fgb": "FlatGeobuf",
    ".geojson": "GeoJSON",
    ".gpkg": "GPKG",
    ".parquet": "Parquet",
    ".shp": "ESRI Shapefile",
}
_THREADS = "OPENBLAS_NUM_THREADS"


def find_drivers(sources: Iterable[Mapping[str, Any]]) -> Drivers:
    """Return what the layers are; one that cannot be read is left to planning, which says so.

    Files elsewhere are told by their names: the caller has no time to ask for them.
    """
    from geopod.layers.remote import ELSEWHERE
    from geopod.layers.sources import find_source

    found: set[tuple[str, str]] = set()
    for source in sources:
        href = source["hrefs"][0]
        if href.partition("://")[0] in ELSEWHERE:
            found.add(_likely(href, source.get("kind")))
            continue
        try:
            file = find_source(href, path_id=source["pathId"])
        except (GeopodError, OSError):
            continue
        found.add((file.kind, file.driver))
    return frozenset(found)


def _likely(href: str, kind: str | None) -> tuple[str, str]:
    """Return what a file elsewhere most likely is."""
    from geopod.layers.sources import PARQUET

    suffix = PurePosixPath(urlsplit(href).path).suffix.lower()
    if kind == "raster" or (kind is None and suffix not in _VECTOR_SUFFIXES):
        return "raster", "GTiff"
    return "vector", _VECTOR_SUFFIXES.get(suffix, PARQUET)


def agent_modules(drivers: Drivers) -> list[str]:
    """Return what agents need to stage these layers and to encode results like them."""
    from geopod.layers.sources import PARQUET
    from geopod.layers.variables import ARRAYS

    modules = ["geopod.agent.node"]
    if drivers:
        modules.append("geopod.layers.stage")
    for kind in sorted({kind for kind, _ in drivers}):
        modules += [_STAGING[kind], _ENCODING[kind]]
    if any(kind == "vector" and driver != PARQUET for kind, driver in drivers):
        modules.append("geopod.layers.ogr")
    if any(driver in ARRAYS for _, driver in drivers):
        modules.append("geopod.layers.arrays")
    return modules


def runner_modules(drivers: Drivers) -> list[str]:
    """Return what users' functions are likely to need: arrays, and the libraries of `params`.

    A child lives for one run: what it had to import itself would be paid for by every run.
    """
    from geopod.agent.staging import MODULES

    kinds = sorted({kind for kind, _ in drivers})
    return list(dict.fromkeys(["numpy", *(name for kind in kinds for name in MODULES[kind])]))


def load(modules: Iterable[str]) -> None:
    """Import modules without starting the threads that linear algebra keeps: a fork loses them."""
    never_load_pandas()
    with _variable(_THREADS, "1"):
        for name in modules:
            importlib.import_module(name)


@contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a while."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
