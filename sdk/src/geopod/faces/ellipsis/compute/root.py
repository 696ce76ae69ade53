"""The functions of `ellipsis.compute`: the same names, arguments and return shapes, on geopod.

Source: the documented page `compute` of the Ellipsis Drive Python package and its client 3.3.12.
What is ours is keyword-only and never required.
"""
# ruff: noqa: N802, N803, N816, FBT001, FBT002  # names, order and defaults are Ellipsis Drive's

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from geopod.api import names
from geopod.client.aio import Environment
from geopod.client.aio.state_errors import failed_error
from geopod.client.loop import shared_loop
from geopod.client.sync import Run
from geopod.errors import EnvironmentStartTimeout, InvalidInputError, WaitTimeoutError
from geopod.faces.ellipsis import arguments, computes, file_ids
from geopod.faces.ellipsis import files as file_results
from geopod.faces.ellipsis.pending import PendingResult
from geopod.faces.ellipsis.target import client_for
from geopod.faces.ellipsis.value_errors import raises_value_errors

Memfile = TypeVar("Memfile")
LONGEST = "24h"
"""A compute's ttl: how long a start and one call of `f` may take where nothing was said."""


@raises_value_errors
def createCompute(  # noqa: PLR0913, PLR0917  # the documented arguments
    layers: Iterable[Mapping[str, Any]],
    token: str | None,
    files: Iterable[str | Path] | int | None = None,
    nodes: int | None = None,
    interpreter: str = "python3.12",
    requirements: Iterable[str] | None = [],  # the documented default
    awaitTillStarted: bool = True,
    largeResult: bool = False,
    enableGpu: bool = False,
    *,
    Nodes: int | None = None,
    crs: str = "EPSG:3857",
    timeout: float | str | None = None,
) -> dict[str, str]:
    """Create a compute whose nodes share the layers; return `{'id': uuid}`.

    `layers`: dictionaries with `pathId` and `timestampId`, everything that `f` may see. `token`: a
    bearer token of the cluster; None takes the kubeconfig's. `files`: ids of stored files, or paths
    that are uploaded. `nodes` (also `Nodes`, or third): how many share the work; None: what the
    runtime says. `crs`: the CRS that nodes get the layers in; `'native'` keeps the layers' own.
    `timeout` ends the waiting, not the start.
    """
    third = files if isinstance(files, int) and not isinstance(files, bool) else None
    nodes = arguments.choose_nodes({"nodes": nodes, "Nodes": Nodes, "the third argument": third})
    wanted_files = arguments.read_files(files if third is None else None)
    wanted_layers = arguments.read_layers(layers, has_files=bool(wanted_files))
    options: dict[str, Any] = {
        "interpreter": arguments.read_interpreter(interpreter),
        "requirements": arguments.read_requirements(requirements),
        "large_result": arguments.read_flag("largeResult", largeResult),
        "enable_gpu": arguments.read_flag("enableGpu", enableGpu),
        "partitioning": {"crs": arguments.read_crs(crs)},
        "nodes": arguments.read_nodes(nodes),
    }
    is_awaited = arguments.read_flag("awaitTillStarted", awaitTillStarted)
    compute_id = str(uuid.uuid4())
    opening = client_for(arguments.read_token(token)).environment(
        names.environment_name(compute_id),
        layers=wanted_layers,
        files=wanted_files,
        labels={names.LABEL_COMPUTE_ID: compute_id},
        wait=False,
        **options,
    )
    environment = shared_loop().run(opening)
    if is_awaited:
        _wait_ready(environment, timeout)
    return {"id": compute_id}


def _wait_ready(environment: Environment, timeout: float | str | None) -> None:
    try:
        shared_loop().run(environment.wait_ready(LONGEST if timeout is None else timeout))
    except EnvironmentStartTimeout as late:
        if environment.phase == "Failed":
            raise
        raise WaitTimeoutError(
            f"Stopped waiting: {late.fact.rstrip('.')}. The start goes on.",
            fixes=(
                f"getComputeInfo({computes.id_of(environment.record)!r}, token)",
                *late.fixes,
            ),
            details=late.details,
        ) from late


@raises_value_errors
def execute(
    computeId: str | Mapping[str, str],
    f: Callable[..., Any],
    token: str | None,
    awaitTillCompleted: bool = True,
    writeToLayer: Mapping[str, Any] | None = None,
    *,
    timeout: float | str | None = None,
) -> list[Any]:
    """Run `f(params)` on every node at once; return one element per node, in node order.

    None stands for an empty partition, `/compute/<id>/file/<file id>` for a file. The order
    `computeId, token, f` works too. With `writeToLayer` the results become a timestamp of that
    layer. `awaitTillCompleted=False` returns an empty PendingResult; its `wait()` fills it.

    Raises RunFailedError when `f` failed on a node: `.completed` holds the other nodes' elements.
    """
    function, bearer = arguments.order_execute(f, token)
    target = arguments.read_target(writeToLayer)
    is_awaited = arguments.read_flag("awaitTillCompleted", awaitTillCompleted)
    compute = _find(computeId, bearer)
    if compute.phase == "Failed":
        raise failed_error(compute.record.state)
    loop = shared_loop()
    run = loop.run(compute.submit(function, write_to=target, task_timeout=LONGEST))
    pending = PendingResult(Run(run, loop), compute_id=computes.id_of(compute.record))
    return list(pending.wait(timeout)) if is_awaited else pending


def _find(compute_id: Any, token: Any) -> Environment:
    wanted = arguments.read_compute_id(compute_id)
    client = client_for(arguments.read_token(token))
    return shared_loop().run(computes.find_compute(client, wanted))


@raises_value_errors
def terminateCompute(
    computeId: str | Mapping[str, str],
    token: str | None,
    awaitTillTerminated: bool = True,
    *,
    awaitTillCompleted: bool | None = None,
) -> dict[str, Any]:
    """End a compute's nodes and cancel what runs on them; results stay. Return `{}`."""
    is_awaited = _read_termination(awaitTillTerminated, awaitTillCompleted)
    shared_loop().run(_find(computeId, token).terminate(wait=is_awaited))
    return {}


@raises_value_errors
def terminateAll(
    token: str | None,
    awaitTillTerminated: bool = True,
    *,
    awaitTillCompleted: bool | None = None,
) -> None:
    """End every compute that createCompute made, all at once."""
    is_awaited = _read_termination(awaitTillTerminated, awaitTillCompleted)
    client = client_for(arguments.read_token(token))
    shared_loop().run(computes.terminate_all(client, wait=is_awaited))


def _read_termination(terminated: Any, completed: Any) -> bool:
    """Return the flag of the two spellings; the first one's default gives way to the second."""
    if completed is None:
        return arguments.read_flag("awaitTillTerminated", terminated)
    if terminated is False and completed is True:
        raise InvalidInputError(
            "awaitTillTerminated=False and awaitTillCompleted=True are one argument.",
            fixes=("awaitTillTerminated=False alone",),
        )
    return arguments.read_flag("awaitTillCompleted", completed)


@raises_value_errors
def getComputeInfo(computeId: str | Mapping[str, str], token: str | None) -> dict[str, Any]:
    """Return one compute: `id`, `status`, `message`, and `result` once a run has ended.

    `status`: starting, available, executing, completed, errored, stopping or stopped. `result`:
    items of `type` and `value`, in node order. `run` names the newest run for `client.get_run`.
    """
    wanted = arguments.read_compute_id(computeId)
    client = client_for(arguments.read_token(token))
    return shared_loop().run(computes.read_info(client, wanted))


@raises_value_errors
def listComputes(
    token: str | None, pageStart: str | None = None, listAll: bool = True
) -> dict[str, Any]:
    """Return `{'result': […], 'nextPageStart': …, 'size': n}`: all computes, or one page."""
    start = None if pageStart is None else arguments.read_compute_id(pageStart)
    everything = arguments.read_flag("listAll", listAll)
    client = client_for(arguments.read_token(token))
    return shared_loop().run(computes.list_page(client, start=start, everything=everything))


@raises_value_errors
def addLayer(response: Iterable[Any], pathId: str, timestampId: str, token: str | None) -> None:
    """Add the files that execute returned to a timestamp of a layer; added twice is added once.

    No byte passes this machine. Raises NotAFileResultError for anything that is no file.
    """
    arguments.check_destination_layer(pathId, timestampId)
    wanted = file_ids.read_response(response)
    client = client_for(arguments.read_token(token))
    adding = file_results.add_files(client, wanted, path_id=pathId, timestamp_id=timestampId)
    shared_loop().run(adding)


addToLayer = addLayer


@raises_value_errors
def downloadFile(
    url: str,
    token: str | None,
    filePath: str | Path | None = None,
    memfile: Memfile | None = None,
) -> Memfile | None:
    """Write a file result to `filePath`, to `memfile` or to both; return `memfile`, rewound."""
    wanted = file_ids.read_url(url)
    arguments.check_destination(filePath, memfile)
    client = client_for(arguments.read_token(token))
    found = shared_loop().run(file_results.find_file(client, wanted))
    file_results.save(found, path=filePath, memfile=memfile)
    return memfile
