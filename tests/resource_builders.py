"""ComputeRuns and run states as the API server and a coordinator hold them; hypothesis too."""

from __future__ import annotations

import string
from typing import Any

from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.results import Entry, Failure, RemoteException, TaskReason, TaskRecord
from geopod.api.runs import RetryRule, RunOrder, RunState
from hypothesis import strategies as st

SHA = "0" * 64
UID = "3c9e1f0a-5a3a-4a53-9d3e-5a1f5f0b6a11"
ENVIRONMENT_UID = "7b1c2d3e-0000-4000-8000-000000000001"
NOW = 1_750_000_000.0
CREATED = "2025-06-15T15:06:00Z"


def stored(manifest: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    """The manifest as the server keeps it: with a uid and a time of creation."""
    given = {"uid": UID, "creationTimestamp": CREATED, "generation": 1, **metadata}
    return {**manifest, "metadata": {**manifest["metadata"], **given}}


def a_state(**changes: Any) -> RunState:
    fields: dict[str, Any] = {
        "uid": UID,
        "name": "ndvi-1",
        "environment": ENVIRONMENT_UID,
        "phase": "Running",
        "created": NOW - 10,
        "started": NOW - 5,
        "epoch": 3,
        "total": 4,
        "running": 4,
    }
    return RunState(**{**fields, **changes})


def a_record(index: int = 0, **changes: Any) -> TaskRecord:
    entry = Entry(codec="json", sha256=SHA, bytes=2, key=f"{ENVIRONMENT_UID}/runs/{UID}/packs/1-0")
    fields = {"index": index, "attempt": 1, "epoch": 3, "node": index, "entry": entry}
    return TaskRecord(**{**fields, **changes})


def a_failure(index: int = 0, message: str = "no such band") -> TaskRecord:
    failure = Failure(
        reason=TaskReason.EXCEPTION,
        code="E307",
        fact=f"raised ValueError: {message}",
        exception=RemoteException(type="ValueError", message=message),
    )
    return a_record(index, entry=None, failure=failure)


names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=20)
shas = st.text("0123456789abcdef", min_size=64, max_size=64)
whole_seconds = st.integers(1, 604_800).map(float)
classes = st.lists(st.sampled_from(["Infra", "Timeout", "OOM", "Exception"]), unique=True)
functions = st.builds(
    lambda function, payload: FunctionRef(**{**function, "size": len(payload), "inline": payload}),
    st.fixed_dictionaries(
        {
            "format": st.sampled_from(["cloudpickle", "source"]),
            "name": names,
            "python": st.sampled_from(["3.11", "3.12"]),
            "sha256": shas,
        }
    ),
    st.binary(max_size=200),
) | st.builds(
    FunctionRef,
    format=st.just("cloudpickle"),
    name=names,
    python=st.just("3.12"),
    sha256=shas,
    size=st.integers(0, 1 << 40),
)
targets = st.none() | st.fixed_dictionaries(
    {"pathId": names, "timestampId": names},
    optional={"format": st.sampled_from(["tif", "parquet"]), "partial": st.just("true")},
)
common = {
    "uid": st.just(UID),
    "name": names,
    "environment": st.just(ENVIRONMENT_UID),
    "created": st.just(1_750_000_000.0 - 40.0),
    "function": functions,
    "timeout_s": whole_seconds,
    "queue_timeout_s": whole_seconds,
    "retries": st.builds(RetryRule, limit=st.integers(0, 10), on=classes.map(tuple)),
    "failure_policy": st.sampled_from(["Continue", "FailFast"]),
    "priority": st.integers(-100, 100),
    "on_empty": st.sampled_from(["skip", "call", "error"]),
    "write_to": targets,
    "tags": st.lists(st.text(max_size=10), max_size=3),
    "rerun_of": names | st.just(""),
    "rerun_tasks": st.lists(st.integers(0, 100), max_size=5),
}
per_node_orders = st.builds(
    RunOrder,
    **common,
    partitions=st.none() | st.lists(st.integers(0, 999), min_size=1, max_size=20, unique=True),
)
map_arguments = st.builds(
    ArgumentsRef,
    format=st.sampled_from(["pickle", "json"]),
    sha256=shas,
    size=st.integers(0, 1 << 40),
    count=st.integers(1, 1_000_000),
)
map_orders = st.builds(
    lambda order, arguments, batch: RunOrder(
        **{name: getattr(order, name) for name in order.__struct_fields__}
        | {"mode": "Map", "arguments": arguments, "count": arguments.count, "batch": batch}
    ),
    st.builds(RunOrder, **common),
    map_arguments,
    st.integers(0, 1000),
)
orders = per_node_orders | map_orders
