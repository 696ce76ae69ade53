"""A ComputeRun as a coordinator's order, and the other way round. Pure.

Dicts in, dicts out: the API server has checked the manifest and filled in its defaults; those of
one that was written by hand are filled in here. No pydantic: a coordinator starts faster without.
The status has a module of its own, `run_report`; its two functions are offered here too.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any

from geopod.api import names
from geopod.api.bundles import ArgumentsRef, FunctionRef
from geopod.api.compact import join_ranges, parse_ranges
from geopod.api.run_report import RunReport, run_state, seconds, status_from_state
from geopod.api.runs import RetryRule, RunOrder
from geopod.errors import InvalidInputError

__all__ = [
    "MAX_INLINE_BYTES",
    "RunReport",
    "cancelled_tasks",
    "inline_arguments",
    "order_from_resource",
    "resource_from_order",
    "run_state",
    "status_from_state",
]

MAX_INLINE_BYTES = 128 << 10
"""A function or arguments up to this size may ride in the resource; larger ones go to the store."""
MAX_PARTITIONS = 1000
MAX_TASKS = 1_000_000


def order_from_resource(
    manifest: Mapping[str, Any], *, environment_uid: str, large_result: bool = False
) -> RunOrder:
    """Return the order in a ComputeRun of mode PerNode or Map; `large_result`: of its environment.

    Raises InvalidInputError for what the schema cannot refuse. `write_to` lacks the layer's kind,
    which only the catalogue knows.
    """
    metadata, spec = manifest["metadata"], manifest["spec"]
    mode = spec.get("mode", "PerNode")
    if mode not in {"PerNode", "Map"}:
        raise InvalidInputError.value(name="spec.mode", value=mode, why="has no function to run")
    if mode == "PerNode" and "arguments" in spec:
        why = "goes with mode Map alone: bind them, as functools.partial(f, scale=2) does"
        raise InvalidInputError.value(name="spec.arguments", value="…", why=why)
    run_timeout = spec.get("runTimeoutSeconds")
    arguments = _read_arguments(spec) if mode == "Map" else None
    return RunOrder(
        uid=metadata["uid"],
        name=metadata["name"],
        environment=environment_uid,
        created=seconds(metadata.get("creationTimestamp")) or 0.0,
        function=_read_function(spec["function"]),
        mode=mode,
        arguments=arguments,
        count=arguments.count if arguments is not None else 0,
        partitions=_read_partitions(spec),
        batch=(spec.get("map") or {}).get("batch", 0),
        timeout_s=float(spec.get("timeoutSeconds", 1800)),
        queue_timeout_s=float(spec.get("queueTimeoutSeconds", 3600)),
        run_timeout_s=None if run_timeout is None else float(run_timeout),
        retries=_read_retries(spec.get("retries", {})),
        failure_policy=spec.get("failurePolicy", "Continue"),
        priority=spec.get("priority", 0),
        on_empty=spec.get("onEmpty", "skip"),
        large_result=large_result,
        write_to=_read_target(spec.get("writeToLayer")),
        tags=_read_tags(metadata),
        rerun_of=(metadata.get("labels") or {}).get(names.LABEL_RERUN_OF, ""),
        rerun_tasks=_annotated_indexes(metadata, names.ANNOTATION_RERUN_TASKS),
    )


def resource_from_order(order: RunOrder, *, environment: str, namespace: str) -> dict[str, Any]:
    """Return the ComputeRun to create for an order; `environment`: the environment's name.

    The server gives it uid and creation time; `order_from_resource` reads back all the rest, but
    what only the environment knows (`large_result`) and the layer's kind.
    """
    metadata: dict[str, Any] = {
        "name": order.name,
        "namespace": namespace,
        "labels": {names.LABEL_ENVIRONMENT: environment},
    }
    if order.rerun_of:
        metadata["labels"][names.LABEL_RERUN_OF] = order.rerun_of
    annotations = {}
    if order.tags:
        annotations[names.ANNOTATION_TAGS] = json.dumps(order.tags, ensure_ascii=False)
    if order.rerun_tasks:
        annotations[names.ANNOTATION_RERUN_TASKS] = join_ranges(order.rerun_tasks)
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ComputeRun",
        "metadata": metadata,
        "spec": _write_spec(order, environment),
    }


def inline_arguments(manifest: Mapping[str, Any]) -> bytes | None:
    """Return arguments that ride in a ComputeRun; they belong under `names.arguments_key`."""
    inline = (manifest["spec"].get("arguments") or {}).get("inline")
    return None if inline is None else b64decode(inline)


def cancelled_tasks(manifest: Mapping[str, Any]) -> list[int]:
    """Return the tasks that the annotation `cancel-tasks` names; text of no sense: none."""
    return _annotated_indexes(manifest["metadata"], names.ANNOTATION_CANCEL_TASKS)


def _write_spec(order: RunOrder, environment: str) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "environment": environment,
        "function": _write_function(order.function),
        "mode": order.mode,
        "timeoutSeconds": max(1, math.ceil(order.timeout_s)),
        "queueTimeoutSeconds": math.ceil(order.queue_timeout_s),
        "retries": {"limit": order.retries.limit, "on": list(order.retries.on)},
        "failurePolicy": order.failure_policy,
        "priority": order.priority,
        "onEmpty": order.on_empty,
    }
    if order.run_timeout_s is not None:
        spec["runTimeoutSeconds"] = max(spec["timeoutSeconds"], math.ceil(order.run_timeout_s))
    if order.partitions is not None:
        spec["partitions"] = join_ranges(order.partitions)
    if order.arguments is not None:
        artifact = {"sha256": order.arguments.sha256, "bytes": order.arguments.size}
        batch = {"batch": order.batch} if order.batch else {}
        spec["map"] = {"artifact": artifact, "count": order.arguments.count, **batch}
        spec["arguments"] = {
            "format": order.arguments.format,
            "sha256": order.arguments.sha256,
            "artifact": artifact,
        }
    if order.write_to is not None:
        spec["writeToLayer"] = write_target(order.write_to)
    return spec


def _read_function(function: Mapping[str, Any]) -> FunctionRef:
    inline = b64decode(function["inline"]) if "inline" in function else None
    return FunctionRef(
        format=function["format"],
        name=function["name"],
        python=function["pythonVersion"],
        sha256=function["sha256"],
        size=function["artifact"]["bytes"] if inline is None else len(inline),
        inline=inline,
    )


def _write_function(function: FunctionRef) -> dict[str, Any]:
    written: dict[str, Any] = {
        "format": function.format,
        "name": function.name,
        "sha256": function.sha256,
        "pythonVersion": function.python,
    }
    if function.inline is not None and len(function.inline) <= MAX_INLINE_BYTES:
        written["inline"] = b64encode(function.inline).decode()
    else:
        written["artifact"] = {"sha256": function.sha256, "bytes": function.size}
    return written


def _read_arguments(spec: Mapping[str, Any]) -> ArgumentsRef:
    """Return what a map runs over; without `arguments` its blobs are JSON: text is safe to open."""
    mapped, described = spec["map"], spec.get("arguments") or {}
    return ArgumentsRef(
        format=described.get("format", "json"),
        sha256=mapped["artifact"]["sha256"],
        size=mapped["artifact"]["bytes"],
        count=mapped["count"],
    )


def _read_partitions(spec: Mapping[str, Any]) -> list[int] | None:
    if "partitions" not in spec:
        return None
    try:
        return parse_ranges(spec["partitions"], limit=MAX_PARTITIONS)
    except ValueError as error:
        raise InvalidInputError.value(
            name="spec.partitions",
            value=spec["partitions"][:80],
            why=f"names more than {MAX_PARTITIONS} partitions",
        ) from error


def _read_retries(retries: Mapping[str, Any]) -> RetryRule:
    return RetryRule(limit=retries.get("limit", 2), on=tuple(retries.get("on", ("Infra",))))


def _read_target(target: Mapping[str, Any] | None) -> dict[str, str] | None:
    if target is None:
        return None
    kept = {name: target[name] for name in ("pathId", "timestampId", "format") if name in target}
    return kept | ({"partial": "true"} if target.get("partial") else {})


def write_target(target: Mapping[str, str]) -> dict[str, Any]:
    """Return `spec.writeToLayer` of an order's `write_to`."""
    kept = {name: target[name] for name in ("pathId", "timestampId", "format") if name in target}
    return kept | ({"partial": True} if target.get("partial") == "true" else {})


def _read_tags(metadata: Mapping[str, Any]) -> list[str]:
    """Return the tags; an annotation that is no list of strings is nobody's tags."""
    try:
        tags = json.loads((metadata.get("annotations") or {}).get(names.ANNOTATION_TAGS, "[]"))
    except ValueError:
        return []
    return [tag for tag in tags if isinstance(tag, str)] if isinstance(tags, list) else []


def _annotated_indexes(metadata: Mapping[str, Any], annotation: str) -> list[int]:
    text = (metadata.get("annotations") or {}).get(annotation, "")
    try:
        return parse_ranges(text, limit=MAX_TASKS)
    except ValueError:
        return []
