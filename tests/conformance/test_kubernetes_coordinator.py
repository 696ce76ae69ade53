"""The SDK and a real coordinator on the same resources; agents and the operator are played."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from pathlib import Path

import pytest
from coordinator_builders import LINK_KEY, ScriptedAgent, a_failure, done, failed
from coordinator_pod_builders import Counting, local_settings
from geopod.api import names, tokens
from geopod.backends.kubernetes import KubernetesBackend
from geopod.client import aio
from geopod.cluster.kinds import ENVIRONMENTS, RUNS
from geopod.coordinator.pod.office import Office
from geopod.coordinator.pod.settings import PodSettings
from geopod.coordinator.pod.tokens import TokenMint
from geopod.coordinator.pod.world import ResourceWorld
from geopod.coordinator.process import CoordinatorProcess
from geopod.errors import PythonVersionMismatchError, RunFailedError
from geopod.store.directory import DirectoryStore
from geopod_gateway.app import Gateway
from kubernetes_builders import HASTY, SIGNING_KEY, FakeApi, ready_status
from store_builders import running, some_settings

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(params):
    return len(params)


class Town:
    """API server, gateway and coordinator of one environment, and the client that made it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.api = FakeApi()
        self.agents: list[ScriptedAgent] = []

    @contextlib.asynccontextmanager
    async def living(self, nodes: int):
        storage = self.folder / "store"
        async with running(Gateway(some_settings(storage))) as url:
            backend = KubernetesBackend(self.api, url, cache=self.folder / "cache", patience=HASTY)
            async with aio.Client(backend) as client:
                env = await client.environment(
                    "ndvi", nodes=nodes, interpreter=f"python{PYTHON}", wait=False
                )
                await self._accept()
                async with self._coordinated(env.id, DirectoryStore(storage), nodes):
                    await env.wait_ready(progress=False)
                    yield client, env

    async def _accept(self) -> None:
        """Say what an operator says of an environment whose pods run."""
        manifest = await self.api.get(ENVIRONMENTS, "ndvi")
        status = ready_status(manifest)
        del status["nodes"]
        await self.api.say(ENVIRONMENTS, "ndvi", status)

    @contextlib.asynccontextmanager
    async def _coordinated(self, uid: str, store: DirectoryStore, nodes: int):
        key = tokens.environment_key(SIGNING_KEY, uid)
        pod = PodSettings(
            namespace=self.api.namespace,
            environment="ndvi",
            environment_uid=uid,
            pod_name="ndvi-coordinator-x",
            store=str(self.folder / "store"),
            cache=self.folder / "coordinator",
            environment_key=key,
            link_key=LINK_KEY.hex(),
        )
        office = Office(self.api, pod, TokenMint(key, uid), Counting())
        world = await ResourceWorld.begin(office, self.api, store)
        settings = local_settings(world, self.folder)
        process = await CoordinatorProcess.start(settings, store, world)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(process.close)
            for index in range(nodes):
                agent = await stack.enter_async_context(ScriptedAgent(settings, index))
                await agent.ready(python=PYTHON)
                self.agents.append(agent)
            yield


def told(folder, act, *, nodes=2):
    async def story():
        async with asyncio.timeout(120):
            town = Town(folder)
            async with town.living(nodes) as (client, env):
                return await act(town, client, env)

    return asyncio.run(story())


def answering(agent, value):
    agent.answer = lambda assign: [done(assign, agent.index, value=json.dumps(value).encode())]


def test_execute_goes_through_the_coordinator_and_comes_back_in_node_order(tmp_path):
    async def act(town, client, env):
        for agent in town.agents:
            answering(agent, agent.index)
        results = await env.execute(plain, progress=False)
        (run,) = await client.runs()
        return results, run.phase, run.counts["succeeded"], env.nodes_ready

    assert told(tmp_path, act)[:3] == ([0, 1], "Succeeded", 2)


def test_failure_of_one_node_keeps_the_others_results(tmp_path):
    async def act(town, _client, env):
        answering(town.agents[0], "fine")
        town.agents[1].answer = lambda assign: failed(assign, 1, a_failure())
        with pytest.raises(RunFailedError) as caught:
            await env.execute(plain, progress=False)
        return caught.value

    error = told(tmp_path, act)
    assert list(error.exceptions) == [1]
    assert error.counts == {"total": 2, "succeeded": 1, "failed": 1}


def test_map_runs_each_argument_once(tmp_path):
    async def act(town, _client, env):
        for agent in town.agents:
            answering(agent, "x")
        return [value async for value in env.map(plain, range(7), progress=False)]

    assert told(tmp_path, act) == ["x"] * 7


def test_function_of_another_minor_is_refused_by_name(tmp_path):
    async def act(town, client, env):
        answering(town.agents[0], 1)
        run = await env.submit(plain, name="mine")
        await run.wait(progress=False)
        manifest = await town.api.get(RUNS, "mine")
        manifest["metadata"] = {"name": "older", "namespace": "geo"}
        manifest["spec"]["function"]["pythonVersion"] = "3.9"
        del manifest["status"]
        await town.api.create(RUNS, manifest, field_manager="test")
        with pytest.raises(PythonVersionMismatchError) as caught:
            await (await client.get_run("older")).results(timeout=90, progress=False)
        return caught.value

    error = told(tmp_path, act, nodes=1)
    assert "3.9" in error.fact
    assert error.fixes


def test_token_of_a_run_opens_its_folder_at_the_gateway(tmp_path):
    async def act(town, client, env):
        for agent in town.agents:
            answering(agent, 1)
        run = await env.submit(plain)
        await run.wait(progress=False)
        status = (await town.api.get(RUNS, run.name))["status"]
        backend = client._backend
        backend._book.forget(env.id)
        prefix = names.run_prefix(env.id, run.id)
        return status["results"]["token"], await backend._store.names(prefix)

    token, found = told(tmp_path, act)
    assert token
    assert any("manifest" in key for key in found)
