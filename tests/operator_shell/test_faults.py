"""What goes wrong around an operator: it ends in the objects of an undisturbed life."""

from __future__ import annotations

import asyncio

import pytest
from geopod.cluster import kinds
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
