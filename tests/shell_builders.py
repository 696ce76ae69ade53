"""Environments on the fake API server, and an operator's shell without its watches."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime

from api_client_builders import a_client
from cluster_builders import FakeCluster
from geopod.cluster import kinds
from geopod_operator.__main__ import Operator, plan_settings
from geopod_operator.cluster import Cluster
from geopod_operator.probes import WatchStamps
from geopod_operator.reconciler import Clocks, Reconciler
from geopod_operator.resync import Resync, Scope
from geopod_operator.settings import Settings
from geopod_operator.stores import Stores
from geopod_operator.work import Agenda, Pace

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
IMAGE = "registry.example/{}@sha256:" + "0" * 64
SETTINGS = Settings(
    signing_key=b"0" * 32,
    agent_image=IMAGE.format("agent"),
    store="http://geopod-gateway.geopod-system.svc:8080",
    gateway_namespace="geopod-system",
)
SOON_AGAIN = Pace(backoff_s=0.05)
"""An operator's, in a test that would wait for its back-off."""


def an_environment(name="e1", *, namespace="geo", **spec):
    return {
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"runtime": "default", "nodes": 2, "interpreter": "python3.12", **spec},
    }


def a_runtime(name="default"):
    interpreter = {"name": "python3.12", "image": IMAGE.format("runtime"), "abi": "cp312"}
    interpreter |= {"python": "/usr/bin/python3", "basePackages": True}
    return {"metadata": {"name": name}, "spec": {"interpreters": [interpreter]}}


def a_run(name="r1", *, environment="e1", **status):
    run = {
        "metadata": {"name": name, "namespace": "geo"},
        "spec": {
            "environment": environment,
            "mode": "PerNode",
            "function": {"format": "source", "name": "f", "sha256": "0" * 64, "inline": "eA=="},
        },
    }
    return run | ({"status": status} if status else {})


def a_cluster(*environments):
    """A fake API server with a runtime and these environments."""
    fake = FakeCluster()
    fake.put(kinds.RUNTIMES, a_runtime())
    for environment in environments:
        fake.put(kinds.ENVIRONMENTS, environment)
    return fake


class Clock:
    """Time that tests move."""

    def __init__(self):
        self.at = 1000.0

    def __call__(self):
        return self.at


class Shell:
    """Everything of an operator but kopf and the queue: `settle` works until nothing changes."""

    def __init__(self, client, *, scope=None, now=NOW):
        self.client = client
        self.clock = Clock()
        self.stores = Stores()
        cluster = Cluster(client, instance="operator-0")
        clocks = Clocks(now=lambda: now, monotonic=self.clock)
        self.reconciler = Reconciler(
            self.stores, cluster, settings=plan_settings(SETTINGS), clocks=clocks, counts_s=0.0
        )
        self.resync = Resync(self.stores, cluster, scope or Scope())

    @classmethod
    @asynccontextmanager
    async def at(cls, base_url, *, writes=-1, **options):
        async with await a_client(base_url, writes=writes) as client:
            yield cls(client, **options)

    @property
    def writes_left(self):
        return self.client._transport.writes_left

    async def settle(self, fake):
        """List once, then reconcile until nothing changes."""
        keys = await self.turn()
        for _ in range(20):
            before = fake.version
            for key in keys:
                await self.reconciler.reconcile(key)
            if fake.version == before:
                return
        raise AssertionError("every turn changes something")

    async def ready(self, fake):
        """Work, and let the controllers work, until nothing changes."""
        for _ in range(8):
            before = fake.version
            await self.settle(fake)
            play_controllers(fake)
            if fake.version == before:
                return
        raise AssertionError("it never settles")

    async def turn(self):
        """One resync, and one reconcile of everything."""
        found = await self.resync.once()
        self.reconciler.take_stray(found.stray)
        keys = self.resync.all_keys(found)
        for key in keys:
            await self.reconciler.reconcile(key)
        return keys


@asynccontextmanager
async def operating(fake, url, *, settings=SETTINGS, clock=None, source=None, pace=None):
    """A whole operator, kopf's watches included, until the block ends.

    It has a thread and a loop of its own: kopf cancels every task that its loop has got meanwhile.
    `clock`: of its watches' stamps; `pace`: of its queue.
    """
    made, stop = [], threading.Event()

    async def operate():
        async with await a_client(url, source=source) as client:
            operator = Operator(replace(settings, metrics_port=0), client)
            if clock is not None:
                operator.stamps = WatchStamps(clock)
            if pace is not None:
                operator.queue.agenda = Agenda(pace)
            operator.loop = asyncio.get_running_loop()
            made.append(operator)
            await operator.run(stop)

    running = asyncio.ensure_future(asyncio.to_thread(asyncio.run, operate()))
    try:
        await eventually(lambda: running.done() or (made and made[0].stamps.are_open()))
        if not running.done():
            yield made[0]
    finally:
        stop.set()
        await running


async def inside(operator, coroutine):
    """Run a coroutine in the operator's own loop."""
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, operator.loop))


async def eventually(is_so):
    """Wait until something inside the operator is so; the test's time-out ends it."""
    while not is_so():  # noqa: ASYNC110  # the operator's insides tell nobody
        await asyncio.sleep(0.005)


def play_controllers(fake, *, layers_resolved=True):
    """Do what Kubernetes' controllers and the coordinators do."""
    for found in fake.all(kinds.DEPLOYMENTS):
        wanted = found["spec"]["replicas"]
        fake.set_status(kinds.DEPLOYMENTS, found["metadata"]["name"], counts(found, wanted))
    for found in fake.all(kinds.STATEFUL_SETS):
        wanted = found["spec"]["replicas"]
        status = counts(found, wanted) | {"currentReplicas": wanted, "currentRevision": "r1"}
        status |= {"updateRevision": "r1", "updatedReplicas": wanted}
        fake.set_status(kinds.STATEFUL_SETS, found["metadata"]["name"], status)
    for found in fake.all(kinds.ENVIRONMENTS):
        deployment = fake.get(kinds.DEPLOYMENTS, f"{found['metadata']['name']}-coordinator")
        if layers_resolved and deployment is not None:
            fake.set_status(
                kinds.ENVIRONMENTS,
                found["metadata"]["name"],
                coordinator_status(found),
                manager="geopod-coordinator",
            )


def counts(found, wanted):
    available = {"type": "Available", "status": "True" if wanted else "False"}
    available |= {
        "reason": "MinimumReplicasAvailable",
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    return {
        "observedGeneration": found["metadata"]["generation"],
        "replicas": wanted,
        "readyReplicas": wanted,
        "availableReplicas": wanted,
        "conditions": [available],
    }


def coordinator_status(found):
    nodes = found["spec"]["nodes"]
    resolved = {
        "type": "LayersResolved",
        "status": "True",
        "reason": "Resolved",
        "message": "headers read, plan stored.",
        "observedGeneration": found["metadata"]["generation"],
        "lastTransitionTime": "2026-03-01T12:00:00Z",
    }
    return {
        "conditions": [resolved],
        "coordinator": {
            "pod": "e1-coordinator-0",
            "epoch": 1,
            "startTime": "2026-03-01T12:00:00Z",
            "protocol": 1,
        },
        "nodes": {"connected": nodes, "ready": nodes, "busy": 0, "idle": nodes, "outdated": 0},
        "activeRuns": 0,
        "queuedRuns": 0,
        "lastActivityTime": "2026-03-01T12:00:00Z",
    }


PASSING = {"uid", "resourceVersion", "creationTimestamp", "generation", "annotations"}
TIMES = {"lastTransitionTime", "idleSince"}


def meaning_of(fake):
    """Every object but Events, without times and what follows from its environment's uid."""
    uids = [found["metadata"]["uid"] for found in fake.all(kinds.ENVIRONMENTS)]
    objects = {}
    for key, found in fake.objects.items():
        if key[0] == kinds.EVENTS.plural:
            continue
        metadata = {name: it for name, it in found["metadata"].items() if name not in PASSING}
        kept = {name: it for name, it in found.items() if name not in ("data", "status")}
        if found["kind"] == "ComputeEnvironment":
            kept["status"] = {**_timeless(found["status"]), "access": {}}
            conditions = map(_timeless, found["status"]["conditions"])
            kept["status"]["conditions"] = sorted(conditions, key=repr)
        text = json.dumps({**kept, "metadata": metadata}, sort_keys=True)
        for uid in uids:
            text = text.replace(f'"{uid}"', '"the uid"')
        objects[key] = json.loads(text)
    return objects


def _timeless(found):
    return {name: it for name, it in found.items() if name not in TIMES}
