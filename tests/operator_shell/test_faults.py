"""What goes wrong around an operator: it ends in the objects of an undisturbed life."""

from __future__ import annotations

import asyncio

import pytest
from geopod.cluster import kinds
from geopod_operator.handlers import Inbox
from geopod_operator.stores import ENVIRONMENT
from shell_builders import Shell, a_cluster, an_environment, meaning_of

WRITES = ("create", "patch", "delete")


def edit(fake):
    found = fake.get(kinds.ENVIRONMENTS, "e1")
    fake.put(kinds.ENVIRONMENTS, {**found, "spec": {**found["spec"], "nodes": 3}})


def delete(fake):
    fake.remove(kinds.ENVIRONMENTS, "e1")


def replace(fake):
    delete(fake)
    fake.put(kinds.ENVIRONMENTS, an_environment(nodes=3))


def at_write(fake, number, change):
    """Let something happen just before the operator's so-many-th write reaches the server."""
    left = [number]

    def fault(seen):
        if seen.verb in WRITES:
            left[0] -= 1
            if left[0] == 0:
                fake.faults = lambda _: None
                change(fake)

    fake.faults = fault


def collect_garbage(fake):
    """Remove what an owner that is gone left behind, as Kubernetes does."""
    alive = {found["metadata"]["uid"] for found in fake.objects.values()}
    for (plural, namespace, name), found in list(fake.objects.items()):
        owners = found["metadata"].get("ownerReferences", ())
        if any(owner["uid"] not in alive for owner in owners):
            fake.remove(next(it for it in kinds.ALL if it.plural == plural), name, namespace)


async def lived(change, *, before=0):
    """Create an environment and change it afterwards, or just before a write of its creation."""
    fake = a_cluster(an_environment())
    async with fake.running() as url, Shell.at(url) as shell:
        if before:
            at_write(fake, before, change)
        await shell.ready(fake)
        writes = fake.writes()
        if not before:
            change(fake)
        collect_garbage(fake)
        await shell.ready(fake)
        collect_garbage(fake)
        return meaning_of(fake), writes


@pytest.mark.parametrize("change", [edit, delete, replace])
def test_change_in_the_midst_of_a_creation_ends_as_one_afterwards(change):
    async def drive():
        expected, writes = await lived(change)
        for number in range(1, writes + 1):
            found, _ = await lived(change, before=number)
            assert found == expected, f"changed before write {number}"

    asyncio.run(drive())


def report(fake):
    """What a coordinator does."""
    counts = {"connected": 2, "ready": 2, "busy": 0, "idle": 2, "outdated": 0}
    fake.set_status(kinds.ENVIRONMENTS, "e1", {"nodes": counts}, manager="geopod-coordinator")


def get_ready(fake):
    """What a controller does."""
    fake.set_status(kinds.STATEFUL_SETS, "e1-node", {"replicas": 2, "readyReplicas": 1})


@pytest.mark.parametrize(
    ("is_new", "change", "kind", "name"),
    [
        pytest.param(True, edit, kinds.ENVIRONMENTS, "e1", id="created: the spec"),
        pytest.param(True, report, kinds.ENVIRONMENTS, "e1", id="created: a report"),
        pytest.param(False, edit, kinds.ENVIRONMENTS, "e1", id="scaled: the spec"),
        pytest.param(False, report, kinds.ENVIRONMENTS, "e1", id="scaled: a report"),
        pytest.param(False, get_ready, kinds.STATEFUL_SETS, "e1-node", id="scaled: pods"),
    ],
)
def test_change_just_before_an_own_write_is_news_when_the_watch_tells_it(
    is_new, change, kind, name
):
    key = (ENVIRONMENT, "geo", "e1")

    async def added_after(number):
        """Return what is to be looked at; None: the plan has not so many writes."""
        fake, told, added = a_cluster(an_environment()), [], []
        async with fake.running() as url, Shell.at(url) as shell:
            if not is_new:
                await shell.ready(fake)
                found = fake.get(kinds.ENVIRONMENTS, "e1")
                fake.put(kinds.ENVIRONMENTS, {**found, "spec": {**found["spec"], "nodes": 5}})
            await shell.resync.once()
            at_write(fake, number, lambda fake: (change(fake), told.append(fake.get(kind, name))))
            await shell.reconciler.reconcile(key)
            if not told:
                return None
            inbox = Inbox(
                stores=shell.stores,
                add=lambda key, **_: added.append(key),
                saw=lambda _: None,
                gone=lambda _: None,
            )
            inbox.take(kind, "MODIFIED", told[0])
        return added

    async def drive():
        number = 1
        while (added := await added_after(number)) is not None:
            assert added == [key], f"changed before write {number}"
            number += 1
        assert number > 2

    asyncio.run(drive())
