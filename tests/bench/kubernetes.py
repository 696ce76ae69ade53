"""Runs through resources beside the API server's own floor, bare Jobs and a bare StatefulSet.

Asked on a cluster with geopod in it (`make bench LEVEL=cluster` after `make cluster-up images
deploy`). The floor is POST -> watch -> PATCH -> watch of one small object by the same client.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

from bench.functions import nothing
from bench.measure import Row, Spread, interleave, spread
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import CONFIG_MAPS, JOBS, NAMESPACES, RUNTIMES, STATEFUL_SETS
from geopod.cluster.limits import Limits

NAMESPACE = "geopod-bench"
MINOR = "python3.13"
MAP_TASKS, JOB_TASKS = 10_000, 200


def runs() -> list[Row]:
    """A warm call through resources, a map of 10,000 tasks, and the start of an environment."""
    import geopod

    with asyncio.Runner() as runner, a_namespace(runner) as api, geopod.connect(
        namespace=NAMESPACE
    ) as client:  # fmt: skip
        one = client.environment("one", nodes=1, interpreter=MINOR, **SMALL)
        image = runner.run(_image(api))
        floor = Floor(api)
        runner.run(floor.open())
        jobs = (f"job-{number}" for number in itertools.count())
        calls = {
            "geopod": lambda: one.execute(nothing, progress=False),
            "floor": lambda: runner.run(floor.call()),
        }
        warm = interleave(calls, rounds=100, gap_s=0.05, warm=5)
        runner.run(floor.close())
        one.delete()  # two machines of two cores hold the four nodes, and no fifth
        bare = spread([_timed(runner, _job(api, next(jobs), image, 1)) for _ in range(3)])
        many = _timed(runner, _job(api, next(jobs), image, JOB_TASKS))
        four = client.environment("four", nodes=4, interpreter=MINOR, **SMALL)
        started = time.perf_counter()
        assert len(list(four.map(nothing, range(MAP_TASKS), progress=False))) == MAP_TASKS
        mapped = time.perf_counter() - started
        four.delete()
        return [
            Row(
                "warm execute through resources, one node",
                {**warm, "bare Job": bare},
                {"floor": 5.0, "bare Job": 0.02},
            ),
            Row(
                "99th percentile of a hundred such calls, beside the median of the floor",
                {"geopod": spread([warm["geopod"].p99]), "floor": warm["floor"]},
                {"floor": 20.0},
            ),
            Row(
                f"map of {MAP_TASKS:,} tasks on 4 nodes",
                {
                    "geopod": spread([mapped]),
                    "Indexed Job": spread([many / JOB_TASKS * MAP_TASKS]),
                },
                {"Indexed Job": 1 / 50},
                notes={"Indexed Job": f"{JOB_TASKS} took {many:.1f} s, extrapolated"},
            ),
            _start(runner, api, client, image, bare),
        ]


SMALL: dict[str, Any] = {"memory": "512Mi", "cpus": 0.4, "progress": False}


@contextmanager
def a_namespace(runner: asyncio.Runner, limits: Limits | None = None) -> Iterator[ApiClient]:
    """A namespace of its own, deleted afterwards; one of an earlier time is waited for."""
    api = runner.run(ApiClient.connect(namespace=NAMESPACE, limits=limits))
    runner.run(_until_gone(api, NAMESPACE))
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    space = {"metadata": {"name": NAMESPACE, "labels": labels}}
    runner.run(api.apply(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", **space},
                         field_manager="bench"))  # fmt: skip
    try:
        yield api
    finally:
        runner.run(api.delete(NAMESPACES, NAMESPACE))
        runner.run(api.close())


async def _until_gone(api: ApiClient, name: str) -> None:
    chosen = f"metadata.name={name}"
    async with aclosing(api.watch(NAMESPACES, field_selector=chosen)) as events:
        is_ending = False
        async for event in events:
            is_ending |= "deletionTimestamp" in event.object.get("metadata", {})
            if event.type == "DELETED" or (event.type == "SYNCED" and not is_ending):
                return


async def _image(api: ApiClient) -> str:
    """Return the image of the runtime's interpreter."""
    runtime = await api.get(RUNTIMES, "default")
    found = (it for it in runtime["spec"]["interpreters"] if it["name"] == MINOR)
    return str(next(found)["image"])


def _timed(runner: asyncio.Runner, work: Any) -> float:
    started = time.perf_counter()
    runner.run(work)
    return time.perf_counter() - started


class Floor:
    """POST an object, hear of it, PATCH it, hear of that: over one open watch."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._events = api.watch(CONFIG_MAPS, label_selector="bench=floor")
        self._names = (f"floor-{number}" for number in itertools.count())

    async def open(self) -> None:
        """Begin to listen."""
        await _until(self._events, lambda event: event.type == "SYNCED")

    async def call(self) -> None:
        """Make one round."""
        name = next(self._names)
        metadata = {"name": name, "labels": {"bench": "floor"}}
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        await self._api.create(
            CONFIG_MAPS, {**manifest, "data": {"a": "x" * 2000}}, field_manager="bench"
        )
        await _until(self._events, lambda event: event.type == "ADDED")
        await self._api.patch(CONFIG_MAPS, name, {"data": {"b": "1"}})
        await _until(self._events, lambda event: event.type == "MODIFIED")

    async def close(self) -> None:
        """Hang up."""
        await self._events.aclose()


async def _job(api: ApiClient, name: str, image: str, tasks: int) -> None:
    """Run an Indexed Job of one no-op per index, four at once, to its end."""
    spec: dict[str, Any] = {
        "completions": tasks,
        "parallelism": min(tasks, 4),
        "completionMode": "Indexed",
        "template": _template(image, ["python3", "-c", "pass"], {"job": name}, ["main"]),
    }
    spec["template"]["spec"]["restartPolicy"] = "Never"
    manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec}
    async with aclosing(api.watch(JOBS, field_selector=f"metadata.name={name}")) as events:
        await api.create(JOBS, manifest, field_manager="bench")
        await _until(
            events, lambda event: event.object.get("status", {}).get("succeeded", 0) == tasks
        )


def _start(runner: asyncio.Runner, api: ApiClient, client: Any, image: str, job: Spread) -> Row:
    """An environment of two nodes from nothing to Ready beside a StatefulSet of such pods."""
    figures: dict[str, list[float]] = {"geopod": [], "bare StatefulSet + 2 s": []}
    # a node's share of a processor by default, which a start uses; the bare pods have no limit
    usual = SMALL | {"cpus": 1.0}
    for turn in range(3):
        started = time.perf_counter()
        environment = client.environment(f"start-{turn}", nodes=2, interpreter=MINOR, **usual)
        figures["geopod"].append(time.perf_counter() - started)
        environment.delete()
        bare = _timed(runner, _stateful_set(api, f"bare-{turn}", image))
        figures["bare StatefulSet + 2 s"].append(1.5 * bare + 2.0)
    spreads = {name: spread(values) for name, values in figures.items()} | {"bare Job": job}
    notes = {"bare StatefulSet + 2 s": "1.5 x the time of two such pods, and 2 s"}
    question = "environment of 2 nodes to Ready, images there"
    return Row(question, spreads, {"bare StatefulSet + 2 s": 1.0}, notes=notes)


async def _stateful_set(api: ApiClient, name: str, image: str) -> None:
    labels = {"set": name}
    spec = {
        "replicas": 2,
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": labels},
        "template": _template(image, ["sleep", "infinity"], labels, ["agent", "runner"]),
    }
    head = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}}
    async with aclosing(api.watch(STATEFUL_SETS, field_selector=f"metadata.name={name}")) as events:
        await api.create(STATEFUL_SETS, {**head, "spec": spec}, field_manager="bench")
        await _until(
            events, lambda event: event.object.get("status", {}).get("readyReplicas", 0) == 2
        )
    await api.delete(STATEFUL_SETS, name)


def _template(
    image: str, command: list[str], labels: dict[str, str], names: list[str]
) -> dict[str, Any]:
    """Return a pod of these containers that passes Restricted."""
    limits = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": True,
        "runAsUser": 10002,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    containers = [
        {"name": name, "image": image, "command": command, "securityContext": limits}
        for name in names
    ]
    spec = {"containers": containers, "terminationGracePeriodSeconds": 0}
    return {"metadata": {"labels": labels}, "spec": spec}


async def _until(events: AsyncIterator[Any], holds: Any) -> None:
    async for event in events:
        if holds(event):
            return
