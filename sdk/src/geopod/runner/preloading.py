"""Modules imported before the fork: children share their pages and need not wait for them."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Sequence


def preload(modules: Sequence[str]) -> None:
    """Import modules that children will want; one that is missing or broken is the child's matter.

    What lives now is kept out of the garbage collector, so that children share its pages.
    """
    for name in modules:
        _import(name)
    gc.collect()
    gc.freeze()


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except Exception as refused:  # noqa: BLE001  # recorded: a child meets it again, by name
        print(f"geopod.runner: cannot preload {name}: {refused!r}", file=sys.stderr)  # noqa: T201  # the container's log
