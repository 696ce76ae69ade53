"""The compute part of the Ellipsis Drive Python package, on geopod: change the import.

    import geopod.faces.ellipsis as el

    computeId = el.compute.createCompute(layers, token=None, nodes=4)["id"]
    results = el.compute.execute(computeId, f, token=None)
    el.compute.terminateCompute(computeId, token=None)

The functions stand here too: `from geopod.faces.ellipsis import createCompute`. `token` is a bearer
token of the cluster; None takes the kubeconfig's. `connect("local")` or `GEOPOD_TARGET=local` run
everything on this machine.
"""

from __future__ import annotations

from typing import Any

from geopod.faces.ellipsis import compute
from geopod.faces.ellipsis.compute import (
    addLayer,
    addToLayer,
    createCompute,
    downloadFile,
    execute,
    getComputeInfo,
    listComputes,
    terminateAll,
    terminateCompute,
)
from geopod.faces.ellipsis.pending import PendingResult
from geopod.faces.ellipsis.target import connect

__all__ = [
    "PendingResult",
    "addLayer",
    "addToLayer",
    "compute",
    "connect",
    "createCompute",
    "downloadFile",
    "execute",
    "getComputeInfo",
    "listComputes",
    "terminateAll",
    "terminateCompute",
]

_INSTEAD = {
    "account": "tokens come from the cluster: token=None takes your kubeconfig's, and "
    "`kubectl create token ana` makes one",
    "path": "layers are geopod's: geopod.connect().add_layer('ndvi', 's3://bucket/ndvi.tif')",
    "util": "`import ellipsis` beside it, also in f with requirements=['ellipsis']",
    "user": "the cluster knows its users: kubectl auth whoami",
    "apiManager": "connect('my-context') chooses the cluster, connect('local') this machine",
}
"""Modules of the genuine package that have no counterpart here, and what to do."""


def __getattr__(name: str) -> Any:
    if name in _INSTEAD:
        raise AttributeError(
            f"geopod.faces.ellipsis is compute alone and has no {name!r}: {_INSTEAD[name]}."
        )
    raise AttributeError(f"module 'geopod.faces.ellipsis' has no attribute {name!r}")
