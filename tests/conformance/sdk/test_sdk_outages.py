"""What a user meets when what stands between them and their results fails while a run goes on."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress

import pytest
from api_client_builders import FixedSource, a_client
from cluster_builders import FakeCluster
from cluster_request_builders import refusal
from geopod.backends.kubernetes import KubernetesBackend
from geopod.client import aio
from geopod.cluster.kinds import RUNS
from geopod.errors import AuthError, GatewayUnavailableError
from geopod.store.directory import DirectoryStore
from geopod.testing import MemoryStore
from geopod_gateway.app import Gateway
from kubernetes_builders import FakeApi, Play
from store_builders import HASTY, Faults, running, some_settings

DEADLINE_S = 90


def plain(params):
    return len(params)


@asynccontextmanager
async def playing(play):
    """Let a double serve the resources."""
    serving = asyncio.ensure_future(play.serve())
    try:
        yield play
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


class Tokens(FixedSource):
    """A token that its owner signs in for again."""

    async def load(self, before=None):
        self.loads = 0  # the same token, however often it is read
        return await super().load(before)


async def until_running(run):
    while run.phase != "Running":
        await run.next_state()


def test_token_that_expires_mid_run_ends_the_waiting_alone():
    cluster = FakeCluster()

    async def act():
        async with cluster.running() as url:
            mine, other = Tokens(url, bearer="mine"), FixedSource(url)
            async with await a_client(url, source=mine) as api, await a_client(url) as served:
                del other
                store = MemoryStore()
                async with playing(Play(served, store, script=[7], held=True)) as play:
                    return await tell(api, play)

    async def tell(api, play):
        backend = KubernetesBackend(api, "http://127.0.0.1:9", cache=None)
        client = aio.Client(backend)
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await until_running(run)
        cluster.faults = lambda seen: (
            refusal(401, "Unauthorized", RUNS, run.name, "token has expired")
            if seen.headers.get("Authorization", "").startswith("Bearer mine")
            else None
        )
        cluster.cut_watches()
        with pytest.raises(AuthError) as caught:
            await run.wait(progress=False)
        cluster.faults = lambda seen: None  # signed in again
        play.held = False
        await play._play(cluster.get(RUNS, run.name))
        again = await client.get_run(run.name)
        return str(caught.value), await again.results(progress=False)

    async def story():
        async with asyncio.timeout(DEADLINE_S):
            return await act()

    said, results = asyncio.run(story())

    assert said.startswith("GP-E002 The API server refused the token")
    assert "fix: 1)" in said
    assert results == [7]


def through_a_gateway(folder, act, *faults):
    """Run `act(client, faults)` with results behind a gateway with faults."""
    spoiled = Faults()

    async def story():
        api, storage = FakeApi(), folder / "store"
        async with (
            asyncio.timeout(DEADLINE_S),
            running(Gateway(some_settings(storage)), spoiled) as url,
            playing(Play(api, DirectoryStore(storage), script=["x" * 100_000], inline=False)),
        ):
            backend = KubernetesBackend(api, url, cache=folder / "cache", patience=HASTY)
            client = aio.Client(backend)
            env = await client.environment("e", progress=False)
            run = await (await env.submit(plain)).wait(progress=False)
            await run.records()
            spoiled.seen.clear()
            spoiled.script[:] = faults
            found = await act(run, spoiled)
            await client.close()
            return found

    return asyncio.run(story())


def test_gateway_that_disappears_mid_download_is_gone_on_with(tmp_path):
    async def act(run, spoiled):
        paths = await run.download(tmp_path / "results")
        ranges = [request.headers.get("Range") for request in spoiled.seen]
        spoiled.seen.clear()
        return paths, ranges, await run.download(tmp_path / "results"), spoiled.seen

    paths, ranges, again, asked = through_a_gateway(tmp_path, act, "cut", "drop", "drop", "ok")

    assert [json.loads(path.read_text()) for path in paths] == ["x" * 100_000]
    assert ranges == ["bytes=0-100001", *["bytes=50001-100001"] * 3]
    assert again == paths
    assert asked == []  # what is there already is not fetched again


def test_gateway_that_stays_away_is_named_and_the_download_can_be_had_later(tmp_path):
    async def act(run, spoiled):
        with pytest.raises(GatewayUnavailableError) as caught:
            await run.download(tmp_path / "results")
        left = list((tmp_path / "results").iterdir())
        spoiled.script.clear()
        return str(caught.value), left, await run.download(tmp_path / "results")

    said, left, paths = through_a_gateway(tmp_path, act, *["drop"] * 200)

    assert said.startswith("GP-E013 The gateway")
    assert "did not answer" in said
    assert "fix: 1) geopod doctor" in said
    assert left == []
    assert [path.name for path in paths] == ["0.json"]
