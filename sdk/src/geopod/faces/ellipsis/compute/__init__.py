"""`ellipsis.compute`, with the functions where the genuine package has them: here and in `root`."""

from geopod.faces.ellipsis.compute.root import (
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

__all__ = [
    "addLayer",
    "addToLayer",
    "createCompute",
    "downloadFile",
    "execute",
    "getComputeInfo",
    "listComputes",
    "terminateAll",
    "terminateCompute",
]
