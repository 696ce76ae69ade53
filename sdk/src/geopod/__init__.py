"""geopod: a Python function on warm nodes, each over its own spatial partition of your layers.

    import geopod

    with geopod.connect("local") as client:
        with client.environment(layers=["dem.tif", "roads.gpkg"], nodes=4) as env:
            results = env.execute(my_function)

Names are loaded at first use: `import geopod` itself reads none of the libraries it works with.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geopod import errors, testing
    from geopod.capture import CaptureReport
    from geopod.client.aio.submission import Retry
    from geopod.client.function import RemoteFunction, function
    from geopod.client.layerlike import LayerRef
    from geopod.client.sync import (
        Client,
        Environment,
        Run,
        Task,
        as_completed,
        connect,
        gather,
        wait,
    )
    from geopod.runner.context import Context, current_context

__version__ = "0.1.0"
__all__ = [
    "CaptureReport",
    "Client",
    "Context",
    "Environment",
    "LayerRef",
    "RemoteFunction",
    "Retry",
    "Run",
    "Task",
    "__version__",
    "as_completed",
    "connect",
    "current_context",
    "errors",
    "function",
    "gather",
    "testing",
    "wait",
]

_HOMES = {
    "CaptureReport": "geopod.capture",
    "Client": "geopod.client.sync",
    "Context": "geopod.runner.context",
    "Environment": "geopod.client.sync",
    "LayerRef": "geopod.client.layerlike",
    "RemoteFunction": "geopod.client.function",
    "Retry": "geopod.client.aio.submission",
    "Run": "geopod.client.sync",
    "Task": "geopod.client.sync",
    "as_completed": "geopod.client.sync",
    "connect": "geopod.client.sync",
    "current_context": "geopod.runner.context",
    "function": "geopod.client.function",
    "gather": "geopod.client.sync",
    "wait": "geopod.client.sync",
}
_MODULES = frozenset({"errors", "testing"})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"geopod.{name}")
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'geopod' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
