"""The SDK against a real API server: resources are made, watched and deleted; statuses are played.

No operator serves here: a double writes what an operator and a coordinator would, by server-side
apply, and results ride along in the status.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager, suppress

import pytest
from cluster.simulated_builders import without_the_installed_one
from cluster.testcluster.image_contexts import PROJECT
from geopod.api import names
from geopod.backends.kubernetes import KubernetesBackend
from geopod.backends.kubernetes.backend import gateway_route
from geopod.client import aio
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS
from geopod.errors import (
    EnvironmentTerminatedError,
    InvalidInputError,
    PermissionDeniedError,
    ProtocolMismatchError,
    RunNotFoundError,
)
from geopod.testing import MemoryStore
from kubernetes_builders import Play

DEADLINE_S = 180


def plain(params):
    return len(params)


@pytest.fixture(scope="session")
def served(kubectl):
    """The definitions of this tree, served."""
    kubectl("apply", "--server-side", "--force-conflicts", f"--filename={PROJECT / 'crds'}")
    kubectl("wait", "crd", "--all", "--for=condition=Established", "--timeout=110s")


@pytest.fixture(scope="module", autouse=True)
def alone(kubectl, served):
    """An operator that serves here would write over what is played."""
    with without_the_installed_one(kubectl):
        yield


@pytest.fixture
def story(served, namespace, cluster, tmp_path, monkeypatch):
    """Runs `act(client, api)` as one client's whole life, in a namespace of its own."""
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))

    @asynccontextmanager
    async def connected(play, script):
        api = await ApiClient.connect(namespace=namespace.namespace)
        backend = KubernetesBackend(api, gateway_route(api, None), cache=tmp_path)
        player = Play(api, MemoryStore(), **script)
        serving = asyncio.ensure_future(player.serve()) if play else None
        try:
            yield aio.Client(backend), api
        finally:
            if serving is not None:
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving
            await backend.close()

    def tell(act, *, play=True, **script):
        async def told():
            async with asyncio.timeout(DEADLINE_S), connected(play, script) as parts:
                return await act(*parts)

        return asyncio.run(told())

    return tell


def test_execute_through_resources(story):
    async def act(client, api):
        env = await client.environment("e", nodes=2, interpreter=None, progress=False)
        first = await env.execute(plain, progress=False)
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await env.execute(plain, progress=False)
            times.append(time.perf_counter() - began)
        (run, *_) = (await api.list(RUNS, field_selector="spec.environment=e")).items
        found = await (await client.get_run(run["metadata"]["uid"])).results(progress=False)
        return first, found, len(await client.runs()), sorted(times)[2]

    first, found, count, median_s = story(act, script=["a", None])
    assert first == found == ["a", None]
    assert count == 6
    print(f"warm execute through resources, statuses played: {1000 * median_s:.1f} ms")


def test_environment_is_applied_changed_terminated_woken_and_deleted(story):
    async def act(client, api):
        env = await client.environment("e", nodes=2, labels={"team": "a"}, progress=False)
        await env.scale(3)
        await env.refresh()
        changed = await api.get(ENVIRONMENTS, "e")
        again = await client.environment("e", nodes=1, memory="1Gi", progress=False)
        await again.terminate()
        ended = await api.get(ENVIRONMENTS, "e")
        with pytest.raises(EnvironmentTerminatedError):
            await again.submit(plain)
        woken = await client.environment("e", progress=False)
        same = woken.id == env.id
        await woken.delete(results=True)
        return changed, ended, same, (await api.list(ENVIRONMENTS)).items

    changed, ended, same, left = story(act)
    assert changed["spec"]["nodes"] == 3
    assert names.ANNOTATION_REFRESH in changed["metadata"]["annotations"]
    assert changed["metadata"]["labels"] == {"team": "a"}
    assert ended["spec"]["resources"] == {"memory": "1Gi"}
    assert ended["spec"]["nodes"] == 1
    assert "user" in json.loads(ended["metadata"]["annotations"][names.ANNOTATION_TERMINATED])
    assert same
    assert left == []


def test_runs_are_cancelled_named_once_and_deleted(story):
    async def act(client, api):
        env = await client.environment("e", nodes=4, progress=False)
        run = await env.submit(plain, name="mine")
        again = await env.submit(plain, name="mine")
        await run.cancel(tasks=[3])
        await run.cancel(tasks=[0, 1])
        marked = (await api.get(RUNS, "mine"))["metadata"]["annotations"]
        await run.cancel()
        await run.wait(progress=False)
        waiting = asyncio.ensure_future((await env.submit(plain, name="gone")).wait())
        await asyncio.sleep(0)
        await api.delete(RUNS, "gone")
        with pytest.raises(RunNotFoundError):
            await waiting
        await run.delete()
        return run.id == again.id, run.phase, marked, (await api.list(RUNS)).items

    same, phase, marked, left = story(act, held=True)
    assert (same, phase) == (True, "Cancelled")
    assert marked[names.ANNOTATION_CANCEL_TASKS] == "0-1,3"
    assert left == []


def test_layers_join_their_timestamps(story):
    async def act(client, api):
        await client.add_layer("dem", "s3://bucket/2023.tif", timestamp="2023")
        added = await client.add_layer("dem", "s3://bucket/2024.tif", timestamp="2024")
        return added.timestamps, (await api.get(LAYERS, "dem"))["spec"]["type"]

    assert story(act, play=False) == (("2023", "2024"), "raster")


def test_what_the_server_refuses_is_the_callers_error(story):
    async def act(client, _api):
        spec = {"nodes": 1, "interpreter": "python3.12", "nonsense": True}
        with pytest.raises(ProtocolMismatchError, match="nonsense"):
            await client._backend.apply_environment("e", spec, labels={}, sources={})
        spec = {"nodes": 1, "gpu": {"count": 1}}
        with pytest.raises(InvalidInputError, match="enableGpu"):
            await client._backend.apply_environment("e", spec, labels={}, sources={})

    story(act, play=False)


def test_user_without_rights_is_told_which_one(story, kubectl, namespace, monkeypatch):
    kubectl.within(namespace.namespace)("create", "serviceaccount", "ana")
    token = kubectl.within(namespace.namespace)("create", "token", "ana").strip()

    async def act(_client, api):
        own = await ApiClient.connect(namespace=api.namespace, token=token)
        backend = KubernetesBackend(own, gateway_route(own, None), cache=None)
        async with aio.Client(backend) as ana:
            with pytest.raises(PermissionDeniedError, match=r"may not patch computeenvironments"):
                await ana.environment("e", interpreter="python3.12")
            return await ana.doctor()

    found = story(act, play=False)
    assert not found.ok
    assert any("rolebinding" in fix for fix in found.fixes)
