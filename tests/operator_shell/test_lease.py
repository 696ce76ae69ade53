"""One operator at a time: who holds the Lease works, whoever else waits and says so."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partialmethod

import pytest
from api_client_builders import a_client
from cluster_builders import FakeCluster
from cluster_request_builders import refusal
from geopod.cluster import kinds
from geopod_operator.cluster import Cluster
from geopod_operator.lease import Lease, Terms
from shell_builders import (
    SETTINGS,
    Clock,
    a_cluster,
    an_environment,
    eventually,
    operating,
)

WHERE = ("geopod-system", "geopod-operator")
QUICK = Terms(lasts_s=30, renew_s=0.01, look_s=0.01)


class Clocks:
    """A time of day, and seconds that a test moves."""

    def __init__(self):
        self.monotonic = Clock()

    def now(self):
        return datetime(2026, 3, 1, 12, 0, tzinfo=UTC) + timedelta(seconds=self.monotonic.at)


@asynccontextmanager
async def holders(fake, *names):
    """Leases of several operators on one server."""
    clocks = Clocks()
    async with fake.running() as url, await a_client(url) as client:
        cluster = Cluster(client, instance="any")
        leases = [Lease(cluster, WHERE, holder=it, clocks=clocks, terms=QUICK) for it in names]
        yield clocks.monotonic, leases


def spec_of(fake):
    return fake.get(kinds.LEASES, "geopod-operator", "geopod-system")["spec"]


def holder_of(fake):
    return spec_of(fake)["holderIdentity"]


def looks(fake):
    return fake.count("get", "Lease")


def drive(scenario):
    async def limited():
        async with asyncio.timeout(180):
            await scenario()

    asyncio.run(limited())


def test_second_operator_waits_says_so_once_and_follows_at_once_when_it_is_released(caplog):
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "one", "two") as (_, (one, two)):
            await one.acquire()
            waiting = asyncio.create_task(two.acquire())
            before = looks(fake)
            await fake.until(lambda: looks(fake) > before + 3)
            assert holder_of(fake) == "one"
            await one.release()
            await waiting
            assert holder_of(fake) == "two"
            assert spec_of(fake)["leaseTransitions"] == 2

    with caplog.at_level(logging.WARNING):
        drive(scenario)
    assert caplog.messages == ["the operator one works already; this one waits"]


def test_lease_of_a_dead_operator_is_taken_when_it_has_stood_still_for_its_time():
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "dead", "two") as (clock, (dead, two)):
            await dead.acquire()
            waiting = asyncio.create_task(two.acquire())
            await fake.until(lambda: looks(fake) > 3)
            clock.at += 29
            before = looks(fake)
            await fake.until(lambda: looks(fake) > before + 2)
            assert holder_of(fake) == "dead"
            clock.at += 1
            await waiting
            assert holder_of(fake) == "two"

    drive(scenario)


def test_renewed_lease_stays_whatever_the_clocks_say():
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "one", "two") as (clock, (one, two)):
            await one.acquire()
            keeping = asyncio.create_task(one.keep())
            waiting = asyncio.create_task(two.acquire())
            for _ in range(5):
                clock.at += 20
                version = fake.version
                await fake.until(lambda at=version: fake.version > at)
                before = looks(fake)
                await fake.until(lambda at=before: looks(fake) > at + 3)
            assert holder_of(fake) == "one"
            keeping.cancel()
            waiting.cancel()

    drive(scenario)


def test_operator_that_lost_its_lease_ends_and_takes_nothing_back():
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "one", "two") as (clock, (one, two)):
            await one.acquire()
            waiting = asyncio.create_task(two.acquire())
            await fake.until(lambda: looks(fake) > 3)
            clock.at += 30
            await waiting
            await one.keep()
            await one.release()
            assert holder_of(fake) == "two"

    drive(scenario)


def test_server_that_is_away_costs_nobody_the_lease():
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "one", "two") as (clock, (one, two)):
            await one.acquire()
            keeping = asyncio.create_task(one.keep())
            waiting = asyncio.create_task(two.acquire())
            await fake.until(lambda: looks(fake) > 4)
            fake.faults = lambda seen: refusal(
                429, "TooManyRequests", kinds.LEASES, seen.name, headers={"Retry-After": "0"}
            )
            before = looks(fake)
            await fake.until(lambda: looks(fake) > before + 25)
            clock.at += 100
            fake.faults = lambda _: None
            version = fake.version
            await fake.until(lambda: fake.version > version)
            assert holder_of(fake) == "one"
            keeping.cancel()
            waiting.cancel()

    drive(scenario)


class Writes:
    """What a Cluster says; `around` is called with each write instead of it."""

    def __init__(self, cluster, around):
        self.get, self._write = cluster.get, cluster.write_lease
        self._around = around

    async def write_lease(self, lease):
        return await self._around(self._write, lease)

    def may_answer_later(self, error):
        return False


def test_operator_that_is_ended_while_it_takes_the_lease_gives_it_back():
    async def scenario():
        fake, begun, go_on = FakeCluster(), asyncio.Event(), asyncio.Event()

        async def slowly(write, lease):
            begun.set()
            await go_on.wait()
            return await write(lease)

        async with fake.running() as url, await a_client(url) as client:
            leases = Writes(Cluster(client, instance="any"), slowly)
            one = Lease(leases, WHERE, holder="one", clocks=Clocks(), terms=QUICK)
            taking = asyncio.create_task(one.acquire())
            await begun.wait()
            taking.cancel()
            asyncio.get_running_loop().call_soon(go_on.set)
            with pytest.raises(asyncio.CancelledError):
                await taking
        assert holder_of(fake) == ""
        assert spec_of(fake)["leaseTransitions"] == 1

    drive(scenario)


def test_lease_is_given_back_though_its_last_renewal_comes_late():
    async def scenario():
        fake, late = FakeCluster(), []

        async def after_a_renewal(write, lease):
            while late:
                await write(late.pop())
            return await write(lease)

        async with fake.running() as url, await a_client(url) as client:
            leases = Writes(Cluster(client, instance="any"), after_a_renewal)
            one = Lease(leases, WHERE, holder="one", clocks=Clocks(), terms=QUICK)
            await one.acquire()
            held = await leases.get(WHERE[0], ("Lease", WHERE[1]))
            late.append({"metadata": held["metadata"], "spec": {**held["spec"], "renewTime": None}})
            await one.release()
        assert holder_of(fake) == ""

    drive(scenario)


def test_connection_that_hangs_costs_nobody_the_lease(caplog):
    class OneHangs:
        """What a Cluster says, but for one question that nobody answers."""

        def __init__(self, cluster):
            self.cluster, self.hangs = cluster, False

        def __getattr__(self, name):
            return getattr(self.cluster, name)

        async def get(self, *where):
            if self.hangs:
                self.hangs = False
                await asyncio.Event().wait()
            return await self.cluster.get(*where)

    async def scenario():
        fake = FakeCluster()
        async with fake.running() as url, await a_client(url) as client:
            leases = OneHangs(Cluster(client, instance="any"))
            terms = replace(QUICK, answer_s=1.0)
            one = Lease(leases, WHERE, holder="one", clocks=Clocks(), terms=terms)
            await one.acquire()
            leases.hangs = True
            keeping = asyncio.create_task(one.keep())
            await eventually(lambda: not leases.hangs)
            before = fake.count("patch", "Lease")
            await fake.until(lambda: fake.count("patch", "Lease") > before)
            keeping.cancel()

    with caplog.at_level(logging.WARNING):
        drive(scenario)
    assert "the Lease is renewed later: no answer in 1 s" in caplog.messages


@pytest.mark.parametrize("status", [429, 500, 503])
def test_server_that_is_ill_at_the_start_is_asked_again(status):
    async def scenario():
        fake, ill = FakeCluster(), [12]

        def fault(seen):
            ill[0] -= 1
            headers = {"Retry-After": "0"}
            return ill[0] > 0 and refusal(status, "Ill", kinds.LEASES, seen.name, headers=headers)

        fake.faults = lambda seen: fault(seen) or None
        async with holders(fake, "one") as (_, (one,)):
            await one.acquire()
        assert holder_of(fake) == "one"

    drive(scenario)


def test_server_that_takes_no_lease_is_not_asked_without_a_pause():
    async def scenario():
        fake = FakeCluster()
        fake.faults = lambda seen: refusal(404, "NotFound", kinds.LEASES, seen.name)
        async with fake.running() as url, await a_client(url) as client:
            terms = Terms(look_s=60)
            cluster = Cluster(client, instance="any")
            one = Lease(cluster, WHERE, holder="one", clocks=Clocks(), terms=terms)
            waiting = asyncio.create_task(one.acquire())
            await fake.until(lambda: fake.count("create", "Lease"))
            await asyncio.wait({waiting}, timeout=0.2)
            assert len(fake.seen) == 2
            waiting.cancel()

    drive(scenario)


def test_lease_is_renewed_during_the_first_lists_and_they_end_when_it_is_lost(monkeypatch):
    monkeypatch.setattr(Lease, "__init__", partialmethod(Lease.__init__, terms=QUICK))

    async def scenario():
        fake = a_cluster(an_environment())
        settings = replace(SETTINGS, lease="geopod-operator", instance="one")

        def fault(seen):
            if seen.verb != "list":
                return None
            return refusal(429, "Busy", kinds.LEASES, "", headers={"Retry-After": "0"})

        fake.faults = fault
        async with fake.running() as url:
            taking = operating(fake, url, settings=settings)
            begun = asyncio.ensure_future(taking.__aenter__())
            await fake.until(lambda: fake.count("patch", "Lease") > 3)
            spec = {**spec_of(fake), "holderIdentity": "two"}
            meta = {"name": "geopod-operator", "namespace": "geopod-system"}
            fake.put(kinds.LEASES, {"metadata": meta, "spec": spec})
            with pytest.raises(RuntimeError, match="didn't yield"):  # it ended by itself
                await begun
        assert holder_of(fake) == "two"
        assert fake.count("patch", "Deployment") == 0

    drive(scenario)


@pytest.mark.parametrize("image", ["same", "other"])
def test_second_operator_changes_nothing_until_the_first_one_ends(image):
    async def scenario():
        fake = a_cluster(an_environment())
        first = replace(SETTINGS, lease="geopod-operator", instance="one")
        agent = {"same": SETTINGS.agent_image, "other": "registry.example/agent@sha256:1"}[image]
        second = replace(first, instance="two", agent_image=agent)
        async with fake.running() as url:
            async with operating(fake, url, settings=first):
                await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
                taking = operating(fake, url, settings=second)
                begun = asyncio.ensure_future(taking.__aenter__())
                before = looks(fake)
                await fake.until(lambda: looks(fake) > before)
                assert holder_of(fake) == "one"
                assert not begun.done()
            await begun
            try:
                await eventually(lambda: image_of(fake) == agent)
                assert holder_of(fake) == "two"
            finally:
                await taking.__aexit__(None, None, None)
        assert holder_of(fake) == ""

    drive(scenario)


def test_operator_that_waits_ends_when_it_is_asked_to(tmp_path):
    async def scenario():
        fake = FakeCluster()
        async with holders(fake, "one") as (_, (one,)):
            await one.acquire()
            before = looks(fake)
            waiting = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "geopod_operator"),
                env=variables(tmp_path, one._leases._client.base_url),
            )
            await fake.until(lambda: looks(fake) > before)
            waiting.terminate()
            assert await waiting.wait() == 0
        assert holder_of(fake) == "one"

    drive(scenario)


def variables(folder, url):
    (folder / "key").write_bytes(bytes(32))
    cluster = {"name": "c", "cluster": {"server": url}}
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    user = {"name": "u", "user": {"token": "t"}}
    config = {"current-context": "c", "clusters": [cluster], "contexts": [context]}
    (folder / "config").write_text(json.dumps(config | {"users": [user]}), "utf-8")
    return {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(folder / "config"),
        "GEOPOD_SIGNING_KEY_FILE": str(folder / "key"),
        "GEOPOD_AGENT_IMAGE": SETTINGS.agent_image,
        "GEOPOD_STORE": SETTINGS.store,
        "GEOPOD_GATEWAY_NAMESPACE": WHERE[0],
        "GEOPOD_LEASE": WHERE[1],
        "GEOPOD_METRICS_PORT": "0",
        "HOSTNAME": "two",
    }


def image_of(fake):
    deployment = fake.get(kinds.DEPLOYMENTS, "e1-coordinator")
    return deployment["spec"]["template"]["spec"]["containers"][0]["image"]
