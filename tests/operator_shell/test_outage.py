"""The API server is away, comes back ill, and its watches stay silent: one operator outlives it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from api_client_builders import FAST, a_client
from cluster_request_builders import refusal
from geopod.cluster import kinds, transport
from geopod.errors import ClusterUnreachableError
from geopod_operator import handlers
from geopod_operator.handlers import kopf_settings
from shell_builders import (
    SOON_AGAIN,
    Clock,
    Shell,
    a_cluster,
    an_environment,
    eventually,
    inside,
    meaning_of,
    operating,
    play_controllers,
)

OUTAGE_S = 30
ILL_ANSWERS = 20
"""So many requests a server refuses that has just come back."""
BUDGET = 30
"""Writes that an environment may cost from its creation until it is Ready."""


def change_everything(fake):
    """What users do, of which no watch tells."""
    found = fake.get(kinds.ENVIRONMENTS, "e1")
    fake.put(kinds.ENVIRONMENTS, {**found, "spec": {**found["spec"], "nodes": 3}})
    fake.remove(kinds.ENVIRONMENTS, "e2")
    fake.put(kinds.ENVIRONMENTS, an_environment("e3"))


def change_once_more(fake):
    found = fake.get(kinds.ENVIRONMENTS, "e3")
    fake.put(kinds.ENVIRONMENTS, {**found, "spec": {**found["spec"], "nodes": 5}})


async def undisturbed():
    """The objects of a life in which the server always answers."""
    fake = a_cluster(an_environment(), an_environment("e2"))
    async with fake.running() as url, Shell.at(url) as shell:
        await shell.ready(fake)
        change_everything(fake)
        await shell.ready(fake)
        change_once_more(fake)
        await shell.ready(fake)
        return meaning_of(fake)


def ill_at_first(fake):
    left = [ILL_ANSWERS]

    def fault(seen):
        if left[0] == 0:
            return None
        left[0] -= 1
        return refusal(503, "ServiceUnavailable", kinds.DEPLOYMENTS, seen.name)

    fake.faults = fault


def without_roles_at_first(fake):
    """Refuse every right once, as a server does that has not read the roles yet."""
    refused = set()

    def fault(seen):
        right = (seen.verb, seen.kind, seen.subresource)
        if right in refused:
            return None
        refused.add(right)
        return refusal(403, "Forbidden", kinds.DEPLOYMENTS, seen.name, 'User "geopod" cannot')

    fake.faults = fault
    return refused


async def until(fake, is_so):
    """Let the controllers work until something is so."""
    while not is_so():  # the operator works beside them
        play_controllers(fake)
        await asyncio.sleep(0.01)


def is_ready(fake, name):
    found = fake.get(kinds.ENVIRONMENTS, name)
    conditions = (found.get("status") or {}).get("conditions", ())
    return any(
        (it["type"], it["status"]) == ("Ready", "True")
        and it["observedGeneration"] == found["metadata"]["generation"]
        for it in conditions
    )


def nodes_of(fake, name):
    return fake.get(kinds.STATEFUL_SETS, f"{name}-node")["spec"]["replicas"]


@pytest.fixture
def eager_watches(monkeypatch):
    """Let kopf ask a lost server again at once: its own back-off is seconds long."""

    def settings(**options):
        made = kopf_settings(**options)
        made.networking.error_backoffs = (0.1,) * 1000
        return made

    monkeypatch.setattr(handlers, "kopf_settings", settings)


@pytest.mark.usefixtures("eager_watches")
def test_outage_and_dead_watches_end_in_the_objects_of_an_undisturbed_life():
    async def drive():
        expected = await undisturbed()
        fake, clock = a_cluster(an_environment(), an_environment("e2")), Clock()
        async with fake.running() as url:
            running = operating(fake, url, clock=clock, pace=SOON_AGAIN)
            operator = await running.__aenter__()
            await until(fake, lambda: is_ready(fake, "e1") and is_ready(fake, "e2"))
        try:
            with pytest.raises(ClusterUnreachableError):
                await inside(operator, operator.resyncer.once())
            clock.at += OUTAGE_S
            assert operator.health.illness() == ""
            fake.forget_history()
            change_everything(fake)
            ill_at_first(fake)
            before = fake.writes()
            async with fake.running(url.port):
                await until(fake, lambda: is_ready(fake, "e1") and is_ready(fake, "e3"))
                fake.is_silent = True
                change_once_more(fake)
                await inside(operator, operator.resyncer.once())
                await until(fake, lambda: nodes_of(fake, "e3") == 5)
                fake.is_silent = False
                fake.cut_watches()
                await until(fake, lambda: meaning_of(fake) == expected)
                assert fake.writes() - before - ILL_ANSWERS <= 2 * BUDGET
                await eventually(lambda: operator.health.illness() == "")
        finally:
            await running.__aexit__(None, None, None)

    asyncio.run(asyncio.wait_for(drive(), 180))


def test_server_that_has_read_no_roles_yet_is_no_cause_on_any_resource(monkeypatch):
    monkeypatch.setattr(transport, "BACKOFF_S", 0.001)

    async def lived(*, is_just_started):
        fake = a_cluster(an_environment())
        refused = without_roles_at_first(fake) if is_just_started else set()
        limits = replace(FAST, rights_are_given=True)
        async with fake.running() as url, await a_client(url, limits=limits) as client:
            await Shell(client).ready(fake)
        refused_writes = sum(verb in ("create", "patch", "delete") for verb, *_ in refused)
        return meaning_of(fake), fake.writes() - refused_writes, len(refused)

    async def drive():
        expected, writes, _ = await lived(is_just_started=False)
        found, written, refused = await lived(is_just_started=True)
        assert (found, written) == (expected, writes)
        assert refused > 10

    asyncio.run(drive())
