"""What was measured on what: versions, processor, kernel; and bytecode of all, made beforehand."""

from __future__ import annotations

import compileall
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from pathlib import Path

PEERS = (
    "geopod", "distributed", "ray", "lithops", "rasterio", "pyogrio", "rioxarray", "odc-stac",
    "dask-geopandas", "exactextract", "numpy",
)  # fmt: skip
PACKAGES = ("geopod", "geopod_gateway", "dask", "distributed", "ray", "lithops", "rioxarray", "odc")


def versions() -> str:
    """Return name and version of geopod and the peers that are installed, and of Python."""
    found = []
    for name in PEERS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} absent")
    return ", ".join([*found, f"Python {sys.version.split()[0]}"])


def machine() -> str:
    """Return processor, cores, memory and kernel."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    models = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    gibibytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    model = models[0] if models else platform.machine()
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{os.cpu_count()} cores ({model}), {gibibytes:.0f} GiB, Linux {kernel}"


def compile_all() -> None:
    """Compile geopod and its peers, so that no start pays for it; what is compiled is left."""
    for name in PACKAGES:
        spec = find_spec(name)
        for folder in [] if spec is None else spec.submodule_search_locations or []:
            compileall.compile_dir(folder, quiet=2, workers=1)


def is_installed(name: str) -> bool:
    """Say whether a peer is there; some are not in every lock."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
