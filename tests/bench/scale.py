"""500 environments and one of 1,000 nodes on simulated nodes, with the operator as a process.

Asked of a process cluster: `make cluster-up UP="--simulated 10 --fast-controllers"`, then
`make bench LEVEL=cluster QUESTIONS=scale`. No image of geopod is needed.
"""

from __future__ import annotations

import asyncio
import random
import sys
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
from geopod.cluster.limits import Limits

ENVIRONMENTS_COUNT, LARGE = 500, 1000
CHANGES, PACE_S = 200, 0.2
"""A change is three writes, and the operator's own limit is 50 a second."""
FIRST = 20
REST_S, QUIET_S = 60.0, 3.0
TOLD_EVERY = 50
RUNTIME = "bench-scale"
WITHOUT_A_LIMIT = {"GEOPOD_API_QPS": "1000", "GEOPOD_API_BURST": "1000"}
"""Of the operator that makes what the measured one, with the usual limits, finds."""
LIMITS = Limits(qps=1000, burst=1000)


class Diary:
    """Says what goes on, and since when: nine silent minutes look like a hang."""

    def __init__(self) -> None:
        self._began = time.perf_counter()

    def say(self, line: str) -> None:
        """Print one line beside the table."""
        print(f"{time.perf_counter() - self._began:5.0f} s  {line}", file=sys.stderr, flush=True)

    def tell(self, operator: Process, what: str) -> None:
        """Say what an operator has cost since its start: a busy machine does not change it."""
        spent = psutil.Process(operator.child.pid).cpu_times()
        looks = operator.counted("geopod_reconcile_duration_seconds_count")
        requests = operator.counted("geopod_api_requests_total")
        cost = f"{spent.user + spent.system:.1f} s of CPU, {looks} looks, {requests} requests"
        self.say(f"{what}: {cost}")


def scale() -> list[Row]:
    """Start, latency, memory and rest of one operator."""
    diary = Diary()
    with (
        asyncio.Runner() as runner,
        a_namespace(runner, LIMITS) as api,
        _simulated() as kubectl,
        tempfile.TemporaryDirectory() as folder,
    ):
        diary.say(f"an operator makes {ENVIRONMENTS_COUNT} environments and one of {LARGE} nodes")
        with operating(kubectl, Path(folder), **WITHOUT_A_LIMIT) as operator:
            runner.run(_create(api, diary))
            _until_quiet(operator)
            diary.tell(operator, "made all of them")
        return _rows(runner, api, kubectl, Path(folder), diary)


def _rows(
    runner: asyncio.Runner, api: ApiClient, kubectl: Kubectl, folder: Path, diary: Diary
) -> list[Row]:
    before = _versions(kubectl)
    diary.say("another operator starts and applies all of them once")
    started = time.perf_counter()
    with operating(kubectl, folder) as operator:
        start = time.perf_counter() - started
        diary.tell(operator, "started")
        _until_quiet(operator)
        after = _versions(kubectl)
        diary.tell(operator, f"applied all; it rests for {REST_S:.0f} s")
        busy = _busy_s(operator)
        diary.tell(operator, f"rested; {FIRST} environments, one after the other")
        first = [runner.run(_first_pod(api, f"first-{number}")) for number in range(FIRST)]
        _until_quiet(operator)
        diary.tell(operator, f"made them; {CHANGES} changes")
        changes = runner.run(_changes(api))
        memory = psutil.Process(operator.child.pid).memory_info().rss
        diary.tell(operator, "changed them")
    changed = sum(after.get(name) != version for name, version in before.items())
    slowest = sorted(changes)[-1 - len(changes) // 100]
    return [
        _row("first node pod after `apply`, coordinators that start at once", spread(first), 0.5),
        _row("p99 of 200 changes to applied, 500 environments", spread([slowest]), 2.0),
        _row("start with all of them there", spread([start]), 10.0),
        _row("CPU of a minute at rest", spread([busy]), 0.02 * REST_S),
        _row("memory after all of this", spread([float(memory)]), 250e6, unit="MB"),
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


async def _create(api: ApiClient, diary: Diary) -> None:
    """Create all environments, say what their coordinators would, and return when all are Ready."""
    sizes = {"large": LARGE} | {f"e{number}": 1 for number in range(ENVIRONMENTS_COUNT)}
    waited = set(sizes)
    async with aclosing(api.watch(ENVIRONMENTS)) as events, asyncio.TaskGroup() as group:
        async for event in events:
            if event.type == "SYNCED":
                group.create_task(_create_each(api, sizes))
            if event.object and _is_ready(event.object):
                waited.discard(event.object["metadata"]["name"])
                if len(waited) % TOLD_EVERY == 0:
                    diary.say(f"{len(sizes) - len(waited)} of {len(sizes)} are Ready")
            if not waited:
                return


async def _create_each(api: ApiClient, sizes: dict[str, int]) -> None:
    for name, nodes in sizes.items():
        await _apply(api, an_environment(RUNTIME, name, nodes=nodes))
        resolved = {"type": "LayersResolved", "status": "True", "reason": "Resolved"}
        resolved |= {"observedGeneration": 1, "lastTransitionTime": "2026-03-01T12:00:00Z"}
        resolved |= {"message": "headers read, plan stored."}
        told = {"metadata": {"name": name, "namespace": NAMESPACE}}
        told["status"] = {"conditions": [resolved]}
        await api.apply(
            ENVIRONMENTS, told, field_manager="geopod-coordinator", subresource="status"
        )


def _is_ready(environment: dict[str, Any]) -> bool:
    conditions = environment.get("status", {}).get("conditions", ())
    return any((it["type"], it["status"]) == ("Ready", "True") for it in conditions)


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
