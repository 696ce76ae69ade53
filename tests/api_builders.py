"""Valid specs of the four resources as a user would write them; a test changes one thing."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

SHA = "0" * 64
IMAGE = f"ghcr.io/geopod/runtime-py312@sha256:{SHA}"


def an_environment_spec(**changes: Any) -> dict[str, Any]:
    return {"layers": [{"pathId": "dem", "timestampId": "2024"}], "nodes": 4, **changes}


def a_function(**changes: Any) -> dict[str, Any]:
    return {
        "format": "cloudpickle",
        "name": "ndvi",
        "sha256": SHA,
        "pythonVersion": "3.12",
        "inline": "aGVsbG8=",
        **changes,
    }


def a_run_spec(**changes: Any) -> dict[str, Any]:
    return {"environment": "ndvi-env", "function": a_function(), **changes}


def a_layer_spec(**changes: Any) -> dict[str, Any]:
    return {"type": "raster", "timestamps": [{"id": "2024", "uri": "/data/dem.tif"}], **changes}


def a_runtime_spec(**changes: Any) -> dict[str, Any]:
    return {"interpreters": [{"name": "python3.12", "image": IMAGE}], **changes}


def without(values: dict[str, Any], *keys: str) -> dict[str, Any]:
    """Return a copy that lacks some keys."""
    return {key: value for key, value in deepcopy(values).items() if key not in keys}
