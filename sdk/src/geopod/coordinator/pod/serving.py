"""One coordinator in its pod, from the first variable to the last status."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack

from geopod.api import deployment
from geopod.cluster.client import ApiClient
from geopod.cluster.limits import Limits
from geopod.coordinator.epochs import Fenced
from geopod.coordinator.pod.doors import Doors, open_doors
from geopod.coordinator.pod.health import HealthServer
from geopod.coordinator.pod.metrics import Metrics
from geopod.coordinator.pod.office import Office
from geopod.coordinator.pod.settings import read_pod
from geopod.coordinator.pod.tokens import TokenMint
from geopod.coordinator.pod.world import ResourceWorld
from geopod.coordinator.process import CoordinatorProcess
from geopod.process.pod import Pod
from geopod.store import open_store

EXIT_GONE = 3
"""The environment is another one by now, or none: do not start again."""

LIMITS = Limits(qps=200.0, burst=400, rights_are_given=True)
"""Runs of milliseconds take a write each; progress and counts are throttled where they arise."""

log = logging.getLogger(__name__)
Attend = Callable[[CoordinatorProcess], Awaitable[int]]
"""Lets a coordinator serve to its end; returns the exit code."""


async def serve_pod(attend: Attend, *, doors: Doors | None = None) -> int:
    """Serve the environment that the pod names; returns the exit code.

    `doors`: where agents and probes wait already.
    """
    pod = read_pod(Pod())
    doors = open_doors(pod) if doors is None else doors
    mint = TokenMint(pod.environment_key, pod.environment_uid)
    store = open_store(
        pod.store,
        token_file=mint.store_token,
        cache=pod.cache,
        cache_bytes=deployment.CACHE_BYTES,
    )
    async with AsyncExitStack() as stack:
        api = await ApiClient.connect(namespace=pod.namespace, limits=LIMITS)
        await stack.enter_async_context(api)
        if isinstance(store, AbstractAsyncContextManager):  # one that holds connections
            await stack.enter_async_context(store)
        metrics = Metrics()
        office = Office(api, pod, mint, metrics)
        try:
            world = await ResourceWorld.begin(office, api, store)
            health = HealthServer(ready=world.ready, render=metrics.render)
            await health.start(doors.health)
            stack.push_async_callback(health.close)
            process = await CoordinatorProcess.start(
                world.settings(), store, world, listening=doors.agents
            )
        except Fenced:
            log.warning("Environment %s is another one by now.", pod.environment)
            return EXIT_GONE
        metrics.watch(process.coordinator)
        return await attend(process)
