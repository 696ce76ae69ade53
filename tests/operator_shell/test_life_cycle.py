"""From creation to deletion against the fake API server: same objects, few calls."""

import asyncio

from geopod.cluster import kinds
from shell_builders import Shell, a_cluster, an_environment, play_controllers

CHILDREN = (
    *(kinds.DEPLOYMENTS, kinds.STATEFUL_SETS, kinds.SERVICES, kinds.SECRETS, kinds.ROLES),
    *(kinds.ROLE_BINDINGS, kinds.SERVICE_ACCOUNTS, kinds.NETWORK_POLICIES),
    *(kinds.DISRUPTION_BUDGETS, kinds.JOBS, kinds.CONFIG_MAPS),
)


def names_of(fake):
    return {(kind.kind, it["metadata"]["name"]) for kind in CHILDREN for it in fake.all(kind)}


def run(scenario, *environments):
    async def drive():
        fake = a_cluster(*environments)
        async with fake.running() as url, Shell.at(url) as shell:
            await scenario(fake, shell)

    asyncio.run(drive())


async def ready(fake, shell):
    """Create everything and play the controllers until nothing changes."""
    for _ in range(6):
        before = fake.version
        await shell.settle(fake)
        play_controllers(fake)
        if fake.version == before:
            return
    raise AssertionError("it never settles")


def test_environment_gets_its_children_and_then_its_nodes():
    async def scenario(fake, shell):
        await shell.settle(fake)
        before = names_of(fake)
        assert ("Deployment", "e1-coordinator") in before
        assert ("Secret", "e1-link") in before
        assert ("StatefulSet", "e1-node") not in before
        await ready(fake, shell)
        assert fake.get(kinds.STATEFUL_SETS, "e1-node")["spec"]["replicas"] == 2

    run(scenario, an_environment())


def test_settled_environment_costs_no_write_at_all():
    async def scenario(fake, shell):
        await ready(fake, shell)
        before = fake.writes()
        await shell.turn()
        assert fake.writes() == before

    run(scenario, an_environment())
