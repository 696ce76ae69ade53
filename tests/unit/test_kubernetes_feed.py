"""One watch for many followers, and the patience with resources that nobody touches."""

from __future__ import annotations

import asyncio

import pytest
from geopod.backends.kubernetes.feed import Deleted, RunFeed
from geopod.backends.kubernetes.operator_watch import OPERATOR, OperatorWatch
from geopod.cluster.client import WatchEvent
from geopod.cluster.kinds import DEPLOYMENTS, RUNS
from geopod.errors import ClusterUnreachableError, OperatorNotRunningError
from kubernetes_builders import FakeApi

SPEC = {"environment": "e"}


def told(work):
    async def within():
        async with asyncio.timeout(60):
            return await work()

    return asyncio.run(within())


class ScriptedWatch(FakeApi):
    """Its watch tells a script, then waits for ever or raises."""

    def __init__(self, *events, error=None):
        super().__init__()
        self.events, self.error = events, error
        self.ended = asyncio.Event()

    async def watch(self, kind, **chosen):
        self.calls["watch"] += 1
        try:
            for event in self.events:
                yield event
            if self.error is not None:
                raise self.error
            await asyncio.Event().wait()
        finally:
            self.ended.set()


def a_run(name, phase="Running"):
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "spec": SPEC, "status": phase}


def test_followers_hear_of_their_own_run_alone():
    async def work():
        api = ScriptedWatch(*(WatchEvent("MODIFIED", a_run(name)) for name in "abc"))
        feed = RunFeed(api, "e")
        with feed.following("b") as first, feed.following("b") as second:
            feed.start("1")
            return [(await it.next())["metadata"]["name"] for it in (first, second)], api.calls

    names, calls = told(work)
    assert names == ["b", "b"]
    assert calls["watch"] == 1


def test_follower_that_does_not_read_hears_the_latest():
    async def work():
        api = ScriptedWatch(
            *(WatchEvent("MODIFIED", a_run("a", phase)) for phase in ("Queued", "Running", "Done"))
        )
        feed = RunFeed(api, "e")
        with feed.following("a") as follower, feed.following("b"):
            feed.start("1")
            await asyncio.sleep(0.01)
            return (await follower.next())["status"]

    assert told(work) == "Done"


def test_run_that_a_new_list_leaves_out_is_gone():
    async def work():
        api = ScriptedWatch(WatchEvent("ADDED", a_run("a")), WatchEvent("SYNCED", {}))
        feed = RunFeed(api, "e")
        with feed.following("gone") as follower:
            feed.start("1")
            await follower.next()

    with pytest.raises(Deleted):
        told(work)


def test_run_that_was_made_after_the_list_is_not_gone():
    async def work():
        api = ScriptedWatch(WatchEvent("SYNCED", {}))
        await api.put(RUNS, "young", spec=SPEC)
        feed = RunFeed(api, "e")
        with feed.following("young") as follower:
            feed.start("1")
            return (await follower.next())["metadata"]["name"]

    assert told(work) == "young"


def test_error_of_the_watch_reaches_every_follower_and_the_next_one_starts_anew():
    error = ClusterUnreachableError.no_answer(cluster="prod", timeout_s=30, tries=3)

    async def work():
        api = ScriptedWatch(error=error)
        feed = RunFeed(api, "e")
        with feed.following("a") as first, feed.following("b") as second:
            feed.start("1")
            found = await asyncio.gather(first.next(), second.next(), return_exceptions=True)
        api.ended.clear()
        with feed.following("a"):
            feed.start("1")
            await api.ended.wait()
        await feed.close()
        return found, api.calls["watch"]

    found, watches = told(work)
    assert found == [error, error]
    assert watches == 2


def test_watch_that_nobody_needs_ends_after_a_while():
    async def work():
        api = ScriptedWatch()
        feed = RunFeed(api, "e", linger_s=0.01)
        with feed.following("a"):
            feed.start("1")
            await asyncio.sleep(0.05)
            assert not api.ended.is_set()
        await api.ended.wait()
        with feed.following("a"):
            feed.start("1")
            await asyncio.sleep(0)
        await feed.close()
        return api.calls["watch"]

    assert told(work) == 2


def test_watch_that_is_just_being_ended_is_started_anew():
    async def work():
        api = ScriptedWatch(WatchEvent("MODIFIED", a_run("a")))
        feed = RunFeed(api, "e", linger_s=60)
        with feed.following("a") as follower:
            feed.start("1")
            await follower.next()
        feed._stop()
        with feed.following("a") as follower:
            feed.start("1")
            found = await follower.next()
        await feed.close()
        return found["metadata"]["name"], api.calls["watch"]

    assert told(work) == ("a", 2)


async def nothing():
    await asyncio.Event().wait()
    yield {}


async def untouched(api, **changed):
    watch = OperatorWatch(api, untouched_s=0.02)
    values = {"is_touched": bool, "first": {}, **changed}
    return [item async for item in watch.patient(nothing(), name="e", **values)]


def test_untouched_resource_without_an_operator_is_said():
    with pytest.raises(OperatorNotRunningError, match=r"'e' was created .* nothing picked it up"):
        told(lambda: untouched(FakeApi()))


def test_untouched_resource_is_said_where_deployments_may_not_be_read():
    api = FakeApi()
    api.forbidden.add("get deployments")
    with pytest.raises(OperatorNotRunningError):
        told(lambda: untouched(api))


def test_resource_waits_on_while_an_operator_runs():
    async def work():
        api = FakeApi()
        await api.put(DEPLOYMENTS, OPERATOR, spec={"replicas": 1}, status={"availableReplicas": 1})
        async with asyncio.timeout(0.2):
            await untouched(api)

    with pytest.raises(TimeoutError):
        asyncio.run(work())


def test_touched_resource_is_waited_for_without_looking():
    async def work():
        api = FakeApi()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await untouched(api, first={"status": 1})
        return api.calls

    assert not told(work)
