"""500 environments and one of 1,000 nodes on simulated nodes, with the operator as a process.

Asked of a process cluster: `make cluster-up UP="--simulated 10 --fast-controllers"`, then
`make bench LEVEL=cluster QUESTIONS=scale`. No image of geopod is needed.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import psutil
from bench.kubernetes import NAMESPACE, a_namespace
from bench.measure import Row, spread
from cluster.process_builders import until
from cluster.simulated_builders import (
    Process,
    a_placement,
    a_runtime,
    an_environment,
    operating,
    places_pods,
    without_the_installed_one,
)
from cluster.testcluster.image_contexts import PROJECT
from cluster.testcluster.kubectl import Kubectl
from cluster.testcluster.places import Places, cluster_name
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import ENVIRONMENTS, PODS, STATEFUL_SETS

ENVIRONMENTS_COUNT, LARGE = 500, 1000
CHANGES, PACE_S = 200, 0.2
"""A change is three writes, and the operator's own limit is 50 a second."""
REST_S, QUIET_S = 60.0, 3.0
RUNTIME = "bench-scale"


def scale() -> list[Row]:
    """Start, latency, memory and rest of one operator."""
    with (
        asyncio.Runner() as runner,
        a_namespace(runner) as api,
        _simulated() as kubectl,
        tempfile.TemporaryDirectory() as folder,
    ):
        return _rows(runner, api, kubectl, Path(folder))


def _rows(runner: asyncio.Runner, api: ApiClient, kubectl: Kubectl, folder: Path) -> list[Row]:
    with operating(kubectl, folder) as operator:
        first = [runner.run(_first_pod(api, f"first-{number}")) for number in range(20)]
        runner.run(_create(api))
        _until_quiet(operator)
        changes = runner.run(_changes(api))
        _until_quiet(operator)
    before = _versions(kubectl)
    started = time.perf_counter()
    with operating(kubectl, folder) as operator:
        start = time.perf_counter() - started
        _until_quiet(operator)
        busy = _busy_s(operator)
        memory = psutil.Process(operator.child.pid).memory_info().rss
    after = _versions(kubectl)
    changed = sum(after.get(name) != version for name, version in before.items())
    slowest = sorted(changes)[-1 - len(changes) // 100]
    return [
        _row("first node pod after `apply`, coordinators that start at once", spread(first), 0.5),
        _row("p99 of 200 changes to applied, 500 environments", spread([slowest]), 2.0),
        _row("start with all of them there", spread([start]), 10.0),
        _row("CPU of a minute at rest", spread([busy]), 0.02 * REST_S),
        _row("memory after the start", spread([float(memory)]), 250e6, unit="MB"),
        _row("objects that a restart changes", spread([float(changed)]), 50.0, unit="objects"),
    ]


def _row(question: str, figure: Any, limit: float, *, unit: str = "ms") -> Row:
    spreads = {"geopod": figure, "limit": spread([limit])}
    return Row(question, spreads, {"limit": 1.0}, unit=unit)


@contextmanager
def _simulated() -> Iterator[Kubectl]:
    """A ComputeRuntime, and a policy that puts every pod on a simulated node."""
    places = Places.of(cluster_name())
    kubectl = Kubectl(str(places.commands / "kubectl"), places.kubeconfig, NAMESPACE)
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(PROJECT / "crds"))
    placement = a_placement(RUNTIME, NAMESPACE)
    kubectl.apply(a_runtime(RUNTIME), *placement)
    try:
        until(lambda: places_pods(kubectl))
        with without_the_installed_one(kubectl):
            yield kubectl
    finally:
        kubectl("delete", "computeruntime", RUNTIME)
        for each in placement:
            kubectl("delete", each["kind"].lower(), RUNTIME)


async def _first_pod(api: ApiClient, name: str) -> float:
    """Return the seconds from the creation of an environment to that of its first node's pod."""
    selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=node"
    async with aclosing(api.watch(PODS, label_selector=selector)) as events:
        async for event in events:
            if event.type == "SYNCED":
                started = time.perf_counter()
                await _apply(api, an_environment(RUNTIME, name, nodes=1))
            if event.type == "ADDED":
                return time.perf_counter() - started
    raise AssertionError("the watch ended")


async def _create(api: ApiClient) -> None:
    """Create all environments and return when each has its nodes."""
    sizes = {"large": LARGE} | {f"e{number}": 1 for number in range(ENVIRONMENTS_COUNT)}
    waited = set(sizes)
    for name, nodes in sizes.items():
        await _apply(api, an_environment(RUNTIME, name, nodes=nodes))
    async with aclosing(api.watch(STATEFUL_SETS)) as events:
        async for event in events:
            name = event.object.get("metadata", {}).get("name", "").removesuffix("-node")
            there = event.object.get("status", {}).get("readyReplicas", 0)
            if there == sizes.get(name, -1):
                waited.discard(name)
            if not waited:
                return


async def _changes(api: ApiClient) -> list[float]:
    """Return the seconds from each change of a spec to that of its StatefulSet."""
    chance = random.Random(7)  # noqa: S311  # a seeded choice, no secret
    chosen = chance.sample(range(ENVIRONMENTS_COUNT), CHANGES)
    began: dict[str, float] = {}
    took: dict[str, float] = {}
    async with aclosing(api.watch(STATEFUL_SETS)) as events, asyncio.TaskGroup() as group:
        async for event in events:
            if event.type == "SYNCED":
                group.create_task(_change(api, chosen, began))
            name = event.object.get("metadata", {}).get("name", "").removesuffix("-node")
            if name in began and event.object["spec"]["replicas"] == 2:
                took.setdefault(name, time.perf_counter() - began[name])
            if len(took) == CHANGES:
                return list(took.values())
    raise AssertionError("the watch ended")


async def _change(api: ApiClient, chosen: list[int], began: dict[str, float]) -> None:
    for number in chosen:
        name = f"e{number}"
        began[name] = time.perf_counter()
        await _apply(api, an_environment(RUNTIME, name, nodes=2))
        await asyncio.sleep(PACE_S)


async def _apply(api: ApiClient, manifest: dict[str, Any]) -> None:
    manifest["metadata"]["namespace"] = NAMESPACE
    await api.apply(ENVIRONMENTS, manifest, field_manager="bench")


def _until_quiet(operator: Process) -> None:
    """Wait until the operator writes nothing for a while."""
    while True:
        before = operator.writes()
        time.sleep(QUIET_S)  # noqa: TID251  # nothing tells of nothing
        if operator.writes() == before:
            return


def _busy_s(operator: Process) -> float:
    """Return the CPU seconds of a minute in which nothing happens."""
    process = psutil.Process(operator.child.pid)
    before = process.cpu_times()
    time.sleep(REST_S)  # noqa: TID251  # the rest is what is measured
    after = process.cpu_times()
    return max(after.user + after.system - before.user - before.system, 0.0)


def _versions(kubectl: Kubectl) -> dict[tuple[str, str], str]:
    """Return the version of every object that the operator writes and nobody else does."""
    kinds = "services,serviceaccounts,roles,rolebindings,networkpolicies,secrets"
    found = kubectl.get(kinds, "--selector=app.kubernetes.io/managed-by=geopod")["items"]
    return {(it["kind"], it["metadata"]["name"]): it["metadata"]["resourceVersion"] for it in found}
