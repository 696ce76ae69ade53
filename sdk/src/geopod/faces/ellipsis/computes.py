"""Computes: environments under the ids and status words of Ellipsis Drive."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from geopod.api import names
from geopod.api.compact import shorten
from geopod.api.reasons import EnvironmentCondition
from geopod.api.run_report import timestamp
from geopod.api.runs import EnvironmentState
from geopod.backends import EnvironmentRecord
from geopod.client.aio import Client, Environment, Run
from geopod.client.aio.state_errors import failed_error
from geopod.errors import EnvironmentNotFoundError, InvalidInputError
from geopod.faces.ellipsis.results import read_items

MESSAGE_BYTES = 512
PAGE = 50
"""Computes on one page of `listComputes(listAll=False)`."""


def id_of(record: EnvironmentRecord) -> str:
    """Return an environment's id: the one createCompute gave it, else the resource's uid."""
    return record.labels.get(names.LABEL_COMPUTE_ID) or record.uid


async def find_compute(client: Client, compute_id: str) -> Environment:
    """Return a compute by its id or name; raises EnvironmentNotFoundError naming those there."""
    if _is_uuid(compute_id):
        try:
            return await client.get_environment(names.environment_name(compute_id))
        except EnvironmentNotFoundError:
            pass  # made by other means: the id is its uid
    return await client.get_environment(compute_id)


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


async def terminate_all(client: Client, *, wait: bool) -> None:
    """End every compute that createCompute made, all at once; other environments stay.

    One that cannot be ended keeps none of the others from it; its error is raised afterwards.
    """
    outcomes = await asyncio.gather(
        *(
            compute.terminate(wait=wait)
            for compute in await client.environments()
            if names.LABEL_COMPUTE_ID in compute.record.labels and compute.phase != "Terminated"
        ),
        return_exceptions=True,
    )
    for failure in outcomes:
        if failure is not None:
            raise failure


def status_of(record: EnvironmentRecord, newest: Run | None) -> str:
    """Return the status word of an environment whose newest run is `newest`.

    One that sleeps by its idle policy counts as awake: the next execute wakes it.
    """
    state = record.state
    is_put_to_sleep = state.phase == "Suspended" and record.spec.get("suspend", False)
    if state.phase == "Terminated" or is_put_to_sleep:
        return "stopping" if _has_nodes(state) else "stopped"
    if state.phase == "Failed":
        return "errored"
    if state.phase in {"Pending", "Starting"}:
        return "starting"
    if newest is None:
        return "available"
    return "completed" if newest.done else "executing"


def _has_nodes(state: EnvironmentState) -> bool:
    """Say whether pods are still leaving: a cluster's Suspended condition, else what is counted."""
    for condition in state.conditions:
        if condition.type == EnvironmentCondition.SUSPENDED:
            return not condition.status
    return bool(state.connected or state.ready)


def message_of(record: EnvironmentRecord, status: str) -> str | None:
    """Return what is wrong and what to do, at most 512 bytes; None when all is well."""
    if status in {"available", "executing", "completed"}:
        return None
    state = record.state
    text = str(failed_error(state)) if status == "errored" else state.message
    return shorten(text, MESSAGE_BYTES) or None


async def describe(environment: Environment, runs: Iterable[Run]) -> dict[str, Any]:
    """Return an entry of listComputes; `runs`: those of the environment, newest first."""
    record = environment.record
    newest = next((run for run in runs if _is_execution(run)), None)
    status = status_of(record, newest)
    found: dict[str, Any] = {
        "id": id_of(record),
        "status": status,
        "message": message_of(record, status),
    }
    if newest is not None and newest.done:
        found["result"] = await read_items(newest)
    return found | _additions(environment, newest)


def _is_execution(run: Run) -> bool:
    """Say whether a run called a function on every node: no map, and no publishing of results."""
    return run.order.mode == "PerNode" and bool(run.order.function.sha256)


def _additions(environment: Environment, newest: Run | None) -> dict[str, Any]:
    spec = environment.record.spec
    return {
        "name": environment.name,
        "run": None if newest is None else newest.name,
        "nodes": environment.nodes,
        "interpreter": environment.interpreter,
        "requirements": list(spec.get("requirements", ())),
        "layers": [
            {"pathId": layer["pathId"], "timestampId": layer.get("timestampId", "latest")}
            for layer in spec.get("layers", ())
        ],
        "files": environment.files,
        "largeResult": bool(spec.get("largeResult", False)),
        "enableGpu": bool(spec.get("enableGpu", False)),
        "createdAt": _moment(environment.created),
        "startedAt": None if newest is None else _moment(newest.started),
        "endedAt": None if newest is None else _moment(newest.finished),
    }


def _moment(seconds: float | None) -> str | None:
    return timestamp(seconds) if seconds else None


async def read_info(client: Client, compute_id: str) -> dict[str, Any]:
    """Return one compute's entry."""
    environment = await find_compute(client, compute_id)
    return await describe(environment, await client.runs(environment=environment.name))


async def list_page(client: Client, *, start: str | None, everything: bool) -> dict[str, Any]:
    """Return the computes from `start` on, oldest first: all, or a page and where the next starts.

    Raises InvalidInputError when `start` is no compute.
    """
    environments = await client.environments()
    ids = [id_of(environment.record) for environment in environments]
    if start is not None and start not in ids:
        raise InvalidInputError.value(
            name="pageStart", value=start, why="is no compute", fix="pageStart=None"
        )
    first = 0 if start is None else ids.index(start)
    last = len(ids) if everything else min(len(ids), first + PAGE)
    runs = await client.runs()
    found = await asyncio.gather(
        *(
            describe(chosen, [run for run in runs if run.environment == chosen.id])
            for chosen in environments[first:last]
        )
    )
    following = ids[last] if last < len(ids) else None
    return {"result": list(found), "nextPageStart": following, "size": len(found)}
