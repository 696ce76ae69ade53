"""Results of finished runs into a layer: a run of mode Publish, named by what it publishes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from geopod.api.runs import RunState
from geopod.backends.kubernetes.environments import Environments
from geopod.backends.kubernetes.manifests import publish_manifest, terminated_mark
from geopod.backends.kubernetes.runs import Runs
from geopod.errors import (
    EnvironmentTerminatedError,
    GeopodError,
    RunFailedError,
    from_condition,
)


async def publish(
    runs: Runs, environments: Environments, named: Sequence[str], target: Mapping[str, str]
) -> None:
    """Return when the layer timestamp `target` (pathId, timestampId…) is there.

    Publishing the same twice is publishing once. Raises EnvironmentTerminatedError before anything
    is sent, and what ended the publishing run.
    """
    orders = [(await runs.get(name))[0] for name in named]
    environment = await environments.read(orders[0].environment)
    name = environment["metadata"]["name"]
    mark = terminated_mark(environment)
    if mark is not None:
        at = datetime.fromtimestamp(mark[0], UTC)
        raise EnvironmentTerminatedError.terminated(environment=name, at=at, by=mark[1])
    uids = sorted(order.uid for order in orders)
    tag = hashlib.sha256(repr((uids, sorted(target.items()))).encode()).hexdigest()[:12]
    state = await runs.publish(
        publish_manifest(
            f"publish-{tag}",
            environment=name,
            runs=uids,
            target=target,
            namespace=environment["metadata"]["namespace"],
        )
    )
    if state.phase != "Succeeded":
        raise _error(state)


def _error(state: RunState) -> GeopodError:
    if state.phase == "Cancelled":
        return RunFailedError.ended(run=state.name, reason="Cancelled", message=state.message)
    return from_condition(state.reason, state.message, during="run")
