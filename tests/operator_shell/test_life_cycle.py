"""From creation to deletion against the fake API server: same objects, few calls, any crash."""

import asyncio
from datetime import timedelta

import pytest
from api_client_builders import KilledError
from geopod.cluster import kinds
from geopod.cluster.problems import ConflictApiError
from geopod_operator.stores import ENVIRONMENT
from shell_builders import NOW, Shell, a_cluster, a_run, an_environment, meaning_of

CHILDREN = (
    *(kinds.DEPLOYMENTS, kinds.STATEFUL_SETS, kinds.SERVICES, kinds.SECRETS, kinds.ROLES),
    *(kinds.ROLE_BINDINGS, kinds.SERVICE_ACCOUNTS, kinds.NETWORK_POLICIES),
    *(kinds.DISRUPTION_BUDGETS, kinds.JOBS, kinds.CONFIG_MAPS),
)
PASSING = {"uid", "resourceVersion", "creationTimestamp", "generation"}


def run(scenario, *environments):
    async def drive():
        fake = a_cluster(*environments)
        async with asyncio.timeout(180), fake.running() as url:
            await scenario(fake, url)

    asyncio.run(drive())


def names_of(fake):
    return {(kind.kind, it["metadata"]["name"]) for kind in CHILDREN for it in fake.all(kind)}


def objects_of(fake):
    """Everything but Events, without what two equal histories do not share."""
    return {
        key: {**found, "metadata": without_passing(found["metadata"])}
        for key, found in fake.objects.items()
        if key[0] != kinds.EVENTS.plural
    }


def without_passing(metadata):
    kept = {name: value for name, value in metadata.items() if name not in PASSING}
    owners = kept.get("ownerReferences", ())
    return kept | {"ownerReferences": [{**owner, "uid": ""} for owner in owners]}


def change(fake, **spec):
    found = fake.get(kinds.ENVIRONMENTS, "e1")
    fake.put(kinds.ENVIRONMENTS, {**found, "spec": {**found["spec"], **spec}})


LIFE = (
    lambda fake: None,
    lambda fake: change(fake, nodes=3),
    lambda fake: change(fake, suspend=True),
    lambda fake: change(fake, suspend=False),
    lambda fake: fake.remove(kinds.ENVIRONMENTS, "e1"),
)


def test_environment_gets_its_children_and_then_its_nodes():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.settle(fake)
            before = names_of(fake)
            assert {("Deployment", "e1-coordinator"), ("Secret", "e1-link")} <= before
            assert ("StatefulSet", "e1-node") not in before
            await shell.ready(fake)
            assert fake.get(kinds.STATEFUL_SETS, "e1-node")["spec"]["replicas"] == 2

    run(scenario, an_environment())


def test_settled_environment_costs_no_write_at_all():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            before = fake.writes()
            await shell.turn()
            assert fake.writes() == before

    run(scenario, an_environment())


def test_creation_keeps_within_its_budget_of_writes():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            environment = fake.get(kinds.ENVIRONMENTS, "e1")
            ready = {it["type"]: it["status"] for it in environment["status"]["conditions"]}
            assert ready["Ready"] == "True"
        about = [seen for seen in fake.seen if seen.kind != "ComputeRuntime"]
        writes = [seen for seen in about if seen.verb in ("create", "patch", "delete")]
        assert len(writes) <= 30
        looked = [seen for seen in about if seen.verb == "get"]
        assert len(looked) == len({(seen.kind, seen.name) for seen in looked})

    run(scenario, an_environment())


def test_restarted_operator_applies_everything_once_and_changes_nothing():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
        version, before = fake.version, fake.writes()
        async with Shell.at(url) as shell:
            await shell.settle(fake)
        assert fake.version == version
        assert 0 < fake.writes() - before <= len(names_of(fake))
        gets = [seen for seen in fake.seen[-200:] if seen.verb == "get" and seen.kind != "Secret"]
        assert len({(seen.kind, seen.name) for seen in gets}) == len(gets)

    run(scenario, an_environment())


@pytest.mark.parametrize("skew_s", [-300, 300])
def test_clock_that_is_minutes_off_ends_in_the_same_objects(skew_s):
    async def lived(*clocks):
        fake = a_cluster(an_environment(idle={"afterSeconds": 600}))
        async with fake.running() as url:
            for now in clocks:
                async with Shell.at(url, now=now) as shell:
                    await shell.ready(fake)
        return fake

    async def drive():
        async with asyncio.timeout(180):
            off = NOW + timedelta(seconds=skew_s)
            undisturbed, alone, followed = await lived(NOW), await lived(off), await lived(off, NOW)
        assert meaning_of(alone) == meaning_of(undisturbed)
        assert meaning_of(followed) == meaning_of(undisturbed)
        assert len(followed.objects) == len(alone.objects)

    asyncio.run(drive())


def test_everything_is_applied_again_after_hours():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            before = fake.writes()
            shell.clock.at += 8 * 3600
            await shell.settle(fake)
            assert fake.writes() - before >= len(names_of(fake)) - 1

    run(scenario, an_environment())


def test_deleted_child_comes_back_with_the_next_resync():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            before = names_of(fake)
            fake.remove(kinds.SERVICES, "e1-coordinator")
            fake.remove(kinds.STATEFUL_SETS, "e1-node")
            await shell.ready(fake)
            assert names_of(fake) == before

    run(scenario, an_environment())


def test_recreated_environment_does_not_see_the_children_of_the_last_one():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            fake.remove(kinds.ENVIRONMENTS, "e1")
            fake.put(kinds.ENVIRONMENTS, an_environment(nodes=1))
            await shell.ready(fake)
            assert fake.get(kinds.STATEFUL_SETS, "e1-node")["spec"]["replicas"] == 1

    run(scenario, an_environment())


def test_name_that_somebody_else_holds_is_a_conflict_until_it_is_free():
    async def scenario(fake, url):
        fake.put(kinds.SERVICES, {"metadata": {"name": "e1-coordinator"}, "spec": {"mine": 1}})
        async with Shell.at(url) as shell:
            await shell.settle(fake)
            accepted = condition(fake, "Accepted")
            assert (accepted["status"], accepted["reason"]) == ("False", "NameConflict")
            assert fake.get(kinds.SERVICES, "e1-coordinator")["spec"] == {"mine": 1}
            fake.remove(kinds.SERVICES, "e1-coordinator")
            await shell.ready(fake)
            assert condition(fake, "Ready")["status"] == "True"

    run(scenario, an_environment())


def condition(fake, type_):
    conditions = fake.get(kinds.ENVIRONMENTS, "e1")["status"]["conditions"]
    return next(held for held in conditions if held["type"] == type_)


def test_runs_of_a_deleted_environment_are_ended():
    async def scenario(fake, url):
        async with Shell.at(url) as shell:
            await shell.ready(fake)
            uid = fake.get(kinds.ENVIRONMENTS, "e1")["metadata"]["uid"]
            fake.put(kinds.RUNS, a_run(phase="Running", environmentUID=uid))
            fake.remove(kinds.ENVIRONMENTS, "e1")
            await shell.settle(fake)
            assert fake.get(kinds.RUNS, "r1")["status"]["phase"] == "Failed"
            assert told_of_runs(fake) == [("r1", "RunFailed")]

    run(scenario, an_environment())


def test_run_without_an_environment_is_told_which_there_are():
    async def scenario(fake, url):
        fake.put(kinds.RUNS, a_run(environment="absent"))
        async with Shell.at(url) as shell:
            await shell.settle(fake)
        (told,) = fake.get(kinds.RUNS, "r1")["status"]["conditions"]
        assert told["reason"] == "EnvironmentNotFound"
        assert "e1" in told["message"]

    run(scenario, an_environment())


def test_run_that_the_operator_ends_is_told_by_an_event_about_it():
    async def scenario(fake, url):
        run = a_run()
        run["spec"]["function"] |= {"format": "cloudpickle", "pythonVersion": "3.11.4"}
        fake.put(kinds.RUNS, run)
        async with Shell.at(url) as shell:
            await shell.settle(fake)
        (event,) = [it for it in fake.all(kinds.EVENTS) if it["regarding"]["kind"] == "ComputeRun"]
        assert (event["type"], event["reason"]) == ("Warning", "InterpreterMismatch")
        assert event["regarding"]["name"] == "r1"
        assert event["regarding"]["uid"] == fake.get(kinds.RUNS, "r1")["metadata"]["uid"]

    run(scenario, an_environment())


def told_of_runs(fake):
    """Run and reason of each Event about a run."""
    events = (it for it in fake.all(kinds.EVENTS) if it["regarding"]["kind"] == "ComputeRun")
    return sorted((it["regarding"]["name"], it["reason"]) for it in events)


def test_run_that_somebody_changed_meanwhile_costs_the_others_no_event():
    async def scenario(fake, url):
        for name in ("r1", "r2", "r3"):
            found = a_run(name)
            found["spec"]["function"] |= {"format": "cloudpickle", "pythonVersion": "3.11.4"}
            fake.put(kinds.RUNS, found)
        async with Shell.at(url) as shell:
            await shell.resync.once()
            fake.set_status(kinds.RUNS, "r2", {"phase": "Running"}, manager="geopod-coordinator")
            with pytest.raises(ConflictApiError):
                await shell.reconciler.reconcile((ENVIRONMENT, "geo", "e1"))
        phases = [fake.get(kinds.RUNS, name)["status"]["phase"] for name in ("r1", "r2", "r3")]
        assert phases == ["Failed", "Running", "Failed"]
        assert told_of_runs(fake) == [(name, "InterpreterMismatch") for name in ("r1", "r3")]
        assert condition(fake, "Accepted")["status"] == "True"

    run(scenario, an_environment())


def test_run_that_a_coordinator_took_meanwhile_is_not_written_over():
    async def scenario(fake, url):
        fake.put(kinds.RUNS, a_run(environment="absent"))
        async with Shell.at(url) as shell:
            found = await shell.resync.once()
            fake.set_status(kinds.RUNS, "r1", {"phase": "Running"}, manager="geopod-coordinator")
            for key in shell.resync.all_keys(found):
                if key[2] == "absent":
                    with pytest.raises(ConflictApiError):
                        await shell.reconciler.reconcile(key)
        assert fake.get(kinds.RUNS, "r1")["status"] == {"phase": "Running"}

    run(scenario, an_environment())


async def step(fake, change_spec, *, killed_after=-1):
    """One step of a life; a killed operator is followed by another one that knows nothing."""
    change_spec(fake)
    async with fake.running() as url:
        try:
            async with Shell.at(url, writes=killed_after) as shell:
                await shell.ready(fake)
        except KilledError:
            async with Shell.at(url) as shell:
                await shell.ready(fake)
    return objects_of(fake)


@pytest.mark.parametrize(
    "number", range(len(LIFE)), ids=["create", "scale", "suspend", "resume", "delete"]
)
def test_operator_killed_after_any_write_ends_in_the_same_objects(number):
    async def drive():
        fake = a_cluster(an_environment())
        for before in LIFE[:number]:
            await step(fake, before)
        whole = fake.copy()
        expected = await step(whole, LIFE[number])
        for killed_after in range(1, whole.writes() + 1):
            found = await step(fake.copy(), LIFE[number], killed_after=killed_after)
            assert found == expected, f"killed after write {killed_after}"

    asyncio.run(drive())
