"""What goes wrong around an operator: it ends in the objects of an undisturbed life."""

from __future__ import annotations

import asyncio
import json

import pytest
from geopod.cluster import kinds
from shell_builders import Shell, a_cluster, an_environment, operating

WRITES = ("create", "patch", "delete")
PASSING = {"uid", "resourceVersion", "creationTimestamp", "generation", "annotations"}


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


def meaning_of(fake):
    """Every object but Events, without what follows from its environment's uid."""
    uids = [found["metadata"]["uid"] for found in fake.all(kinds.ENVIRONMENTS)]
    objects = {}
    for key, found in fake.objects.items():
        if key[0] == kinds.EVENTS.plural:
            continue
        metadata = {name: it for name, it in found["metadata"].items() if name not in PASSING}
        kept = {name: it for name, it in found.items() if name not in ("data", "status")}
        if found["kind"] == "ComputeEnvironment":
            kept["status"] = {**found["status"], "access": {}}
            kept["status"]["conditions"] = sorted(found["status"]["conditions"], key=repr)
        text = json.dumps({**kept, "metadata": metadata}, sort_keys=True)
        for uid in uids:
            text = text.replace(f'"{uid}"', '"the uid"')
        objects[key] = json.loads(text)
    return objects


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


def test_operator_outlives_a_server_that_is_away():
    async def drive():
        fake = a_cluster(an_environment())
        async with asyncio.timeout(30):
            async with fake.running() as url:
                port = url.port
                running = operating(fake, url)
                operator = await running.__aenter__()
                await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
            fake.put(kinds.ENVIRONMENTS, an_environment("e2"))
            fake.remove(kinds.ENVIRONMENTS, "e1")
            async with fake.running(port):
                try:
                    await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e2-coordinator"))
                    await fake.until(lambda: operator.stores.environment(("geo", "e1")) is None)
                    assert operator.health.illness() == ""
                finally:
                    await running.__aexit__(None, None, None)

    asyncio.run(drive())
