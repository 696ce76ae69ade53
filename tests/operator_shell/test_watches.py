"""A whole operator, kopf included, on a fake API server: what it lists, watches and writes."""

import asyncio
import json
from dataclasses import replace

import pytest
from aiohttp import web
from api_client_builders import FixedSource, a_client
from cluster_request_builders import refusal
from geopod.api.crd import KINDS, structural_schema
from geopod.cluster import kinds
from geopod.errors import ConfigError, CRDsNotInstalledError
from geopod_operator.handlers import WAITED_S, Inbox, _Events, kopf_response
from geopod_operator.probes import SILENT_S, WatchStamps
from geopod_operator.stores import Stores
from shell_builders import (
    SETTINGS,
    SOON_AGAIN,
    Clock,
    a_cluster,
    a_run,
    a_runtime,
    an_environment,
    eventually,
    inside,
    operating,
    play_controllers,
)


def run(scenario, *environments, **options):
    async def drive():
        fake = a_cluster(*environments)
        async with asyncio.timeout(180), fake.running() as url:
            await scenario(fake, url)

    asyncio.run(drive())


def test_every_kind_is_watched_once_and_the_framework_writes_nothing():
    async def scenario(fake, url):
        async with operating(fake, url):
            counts = fake.counts()
            watched = {kind: number for (verb, kind), number in counts.items() if verb == "watch"}
            own = {"ComputeEnvironment", "ComputeRun", "Layer", "ComputeRuntime"}
            assert watched == dict.fromkeys(
                own | {"StatefulSet", "Deployment", "Job", "ConfigMap"}, 1
            )
            assert fake.count("list", "Pod") == fake.count("list", "Secret") == 0
        assert all(seen.kind == "ComputeRuntime" for seen in fake.seen if seen.verb == "patch")

    run(scenario)


def test_selectors_are_the_servers_work():
    async def scenario(fake, url):
        async with operating(fake, url):
            queries = {seen.kind: seen.query for seen in fake.seen if seen.verb == "watch"}
        for kind in ("StatefulSet", "ConfigMap"):
            assert queries[kind]["labelSelector"] == "app.kubernetes.io/managed-by=geopod"
        finished = "status.phase!=Queued,status.phase!=Running"
        assert queries["ComputeRun"]["fieldSelector"] == finished

    run(scenario)


DEPLOYMENT = {
    "metadata": {"name": "e1", "namespace": "geo", "managedFields": [{"manager": "kubectl"}]},
    "spec": {"replicas": 3, "template": {"spec": {}}},
}


def is_slim(found):
    assert found["metadata"]["name"] == "e1"
    assert "managedFields" not in found["metadata"]
    assert found["spec"] == {"replicas": 3}


def test_framework_reads_lists_and_events_without_what_nobody_keeps():
    async def scenario(fake, url):
        fake.put(kinds.DEPLOYMENTS, DEPLOYMENT)
        stamps = WatchStamps()
        base = str(url).rstrip("/") + kinds.DEPLOYMENTS.path("geo", "", "")
        async with (
            await a_client(url) as client,
            client.session(kopf_response(stamps)) as session,
        ):
            async with session.get(base) as answer:
                (item,) = (await answer.json())["items"]
            is_slim(item)
            watching = {"watch": "true", "resourceVersion": "0"}
            async with session.get(base, params=watching) as answer:
                async for line in answer.content.iter_chunked(1 << 20):
                    event = json.loads(line)
                    break
            is_slim(event["object"])

    run(scenario)


def test_events_that_come_in_pieces_are_put_together():
    class Pieces:
        async def iter_chunked(self, size):
            whole = b"".join(
                json.dumps({"type": type_, "object": {"kind": "Deployment", **DEPLOYMENT}}).encode()
                + b"\n"
                for type_ in ("ADDED", "BOOKMARK", "DELETED")
            )
            for start in range(0, len(whole), 7):
                yield whole[start : start + 7]

    async def read():
        told = []
        events = _Events(Pieces(), lambda: told.append(1))
        return [json.loads(line) async for line in events.iter_chunked(1) if line], told

    events, told = asyncio.run(read())
    assert [event["type"] for event in events] == ["ADDED", "BOOKMARK", "DELETED"]
    is_slim(events[0]["object"])
    is_slim(events[2]["object"])
    assert events[1]["object"] == {"kind": "Deployment", **DEPLOYMENT}
    assert len(told) > len(events)


def test_new_environment_is_seen_by_the_watch():
    async def scenario(fake, url):
        async with operating(fake, url):
            fake.put(kinds.ENVIRONMENTS, an_environment("late"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "late-coordinator"))

    run(scenario)


def test_progress_of_a_run_is_not_told_to_the_operator():
    async def scenario(fake, url):
        async with operating(fake, url) as operator:
            fake.put(kinds.RUNS, a_run())
            await eventually(lambda: operator.stores.runs(("geo", "e1")))
            before = len(fake.seen)
            for number in range(50):
                fake.set_status(kinds.RUNS, "r1", {"phase": "Running", "progress": number})
            await eventually(lambda: not operator.stores.runs(("geo", "e1")))
            fake.set_status(kinds.RUNS, "r1", {"phase": "Succeeded"})
            await eventually(lambda: operator.stores.runs(("geo", "e1")))
            assert fake.count("patch", "ComputeRun") == 0
            assert len(fake.seen) - before < 20

    run(scenario, an_environment())


def test_deletion_that_a_broken_watch_missed_is_found_by_the_resync():
    async def scenario(fake, url):
        async with operating(fake, url) as operator:
            fake.is_silent = True
            fake.remove(kinds.ENVIRONMENTS, "e1")
            assert operator.stores.environment(("geo", "e1"))
            # What the framework has read and not yet handed over tells of it once more.
            while operator.stores.environment(("geo", "e1")):
                await inside(operator, operator.resyncer.once())

    run(scenario, an_environment())


def test_watch_that_is_too_old_begins_anew():
    async def scenario(fake, url):
        async with operating(fake, url):
            fake.put(kinds.ENVIRONMENTS, an_environment("between"))
            fake.forget_history()
            fake.cut_watches()
            await fake.until(lambda: fake.count("watch", "ComputeEnvironment") > 2)
            fake.put(kinds.ENVIRONMENTS, an_environment("after"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "after-coordinator"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "between-coordinator"))

    run(scenario)


def test_silent_watch_fails_the_liveness_probe_and_a_bookmark_heals_it():
    async def scenario(fake, url):
        clock = Clock()
        async with operating(fake, url, clock=clock) as operator:
            await eventually(operator.stamps.are_open)
            assert operator.health.illness() == ""
            clock.at += SILENT_S - 1
            assert operator.health.illness() == ""
            clock.at += 1
            assert "told nothing for 180 s" in operator.health.illness()
            fake.bookmark()
            await eventually(lambda: operator.health.illness() == "")
            await eventually(lambda: operator.health.absence() == "")

    run(scenario)


def test_thousands_of_foreign_objects_are_not_asked_for_at_the_start():
    async def scenario(fake, url):
        for number in range(4000):
            name = f"other-{number}"
            fake.put(kinds.DEPLOYMENTS, {"metadata": {"name": name}, "spec": {}})
            fake.put(kinds.PODS, {"metadata": {"name": name}, "spec": {}})
        async with operating(fake, url) as operator:
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
            assert len(operator.stores.children("geo")) < 50
        chunks = [seen for seen in fake.seen if (seen.verb, seen.kind) == ("list", "Deployment")]
        assert len(chunks) <= 2

    run(scenario, an_environment())


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_storm_of_refusals_ends_in_the_same_objects(status):
    async def scenario(fake, url):
        left = [4]

        def storm(seen):
            if seen.verb != "patch" or left[0] == 0:
                return None
            left[0] -= 1
            headers = {"Retry-After": "0"} if status in (429, 503) else None
            return refusal(status, "Conflict", kinds.DEPLOYMENTS, seen.name, headers=headers)

        fake.faults = storm
        async with operating(fake, url):
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
            await fake.until(lambda: fake.get(kinds.ENVIRONMENTS, "e1").get("status"))
        assert left == [0]

    run(scenario, an_environment())


def ready_of(fake):
    status = fake.get(kinds.ENVIRONMENTS, "e1").get("status") or {}
    found = [it for it in status.get("conditions", []) if it["type"] == "Ready"]
    return (found[0]["reason"], found[0]["message"]) if found else ("", "")


def test_child_that_the_server_refuses_is_told_in_its_words_until_it_is_taken():
    words = (
        'deployments.apps "e1-coordinator" is forbidden: exceeded quota: few, requested: '
        "count/deployments.apps=1, used: count/deployments.apps=2, limited: 2"
    )

    async def scenario(fake, url):
        def refuse(seen):
            if (seen.verb, seen.kind) != ("patch", "Deployment"):
                return None
            return refusal(403, "Forbidden", kinds.DEPLOYMENTS, seen.name, words)

        fake.faults = refuse
        async with operating(fake, url, pace=SOON_AGAIN):
            await fake.until(lambda: ready_of(fake)[0] == "QuotaExceeded")
            assert ready_of(fake)[1].startswith("quota few refuses Deployment e1-coordinator: req")
            fake.faults = lambda _: None
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
            play_controllers(fake)
            await fake.until(lambda: ready_of(fake)[0] == "Scaling")

    run(scenario, an_environment())


def test_two_operators_at_once_make_the_same_objects_once():
    async def scenario(fake, url):
        async with operating(fake, url), operating(fake, url):
            fake.put(kinds.ENVIRONMENTS, an_environment("e2"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e1-coordinator"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "e2-coordinator"))
            await fake.until(lambda: fake.get(kinds.ENVIRONMENTS, "e2").get("status"))
        assert len(fake.all(kinds.DEPLOYMENTS)) == 2
        assert fake.get(kinds.DEPLOYMENTS, "e2-coordinator")["metadata"]["generation"] == 1

    run(scenario, an_environment())


def test_named_namespaces_are_watched_one_by_one_and_nothing_else():
    async def scenario(fake, url):
        settings = replace(SETTINGS, watch_namespaces=("geo",))
        async with operating(fake, url, settings=settings) as operator:
            fake.put(kinds.ENVIRONMENTS, an_environment("here"))
            fake.put(kinds.ENVIRONMENTS, an_environment("there", namespace="other"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "here-coordinator"))
            assert list(operator.stores.environments()) == [("geo", "here")]
        spaces = {seen.namespace for seen in fake.seen if seen.kind != "ComputeRuntime"}
        assert spaces == {"geo"}

    run(scenario)


def test_changed_runtime_concerns_the_environments_that_name_it():
    async def scenario(fake, url):
        async with operating(fake, url):
            fake.put(kinds.ENVIRONMENTS, an_environment("waits", runtime="later"))
            await fake.until(lambda: fake.get(kinds.ENVIRONMENTS, "waits").get("status"))
            assert not fake.get(kinds.DEPLOYMENTS, "waits-coordinator")
            fake.put(kinds.RUNTIMES, a_runtime("later"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "waits-coordinator"))

    run(scenario)


def test_watches_follow_a_token_that_is_renewed():
    async def scenario(fake, url):
        source = FixedSource(url, bearer="t", expires_in_s=0.0)
        async with operating(fake, url, source=source):
            fake.cut_watches()
            await fake.until(lambda: fake.count("watch", "Layer") > 1)
        signed = [seen.headers["Authorization"] for seen in fake.seen if seen.kind == "Layer"]
        assert len(set(signed)) == len(signed) > 2

    run(scenario)


def test_runtimes_of_a_file_need_no_right_on_the_cluster(tmp_path):
    path = tmp_path / "runtimes.yaml"
    path.write_text(json.dumps(a_runtime("of-a-file")), "utf-8")

    async def scenario(fake, url):
        settings = replace(SETTINGS, watch_namespaces=("geo",), runtimes_file=path)
        async with operating(fake, url, settings=settings):
            fake.put(kinds.ENVIRONMENTS, an_environment("here", runtime="of-a-file"))
            await fake.until(lambda: fake.get(kinds.DEPLOYMENTS, "here-coordinator"))
        assert not [seen for seen in fake.seen if seen.kind == "ComputeRuntime"]

    run(scenario)


def test_older_definitions_are_refused_before_anything_is_written():
    async def scenario(fake, url):
        fake.statuses = {"ComputeEnvironment": {"properties": {"conditions": {}}}}
        with pytest.raises(ConfigError, match=r"ComputeEnvironment is older .* lacks .*phase"):
            async with operating(fake, url):
                pass
        assert fake.writes() == 0

    run(scenario, an_environment())


def test_definitions_that_lack_a_field_deep_in_a_status_are_refused():
    async def scenario(fake, url):
        fake.statuses = {kind.kind: structural_schema(status) for kind, _, _, status in KINDS}
        stamp = fake.statuses["Layer"]["properties"]["timestamps"]["items"]["properties"]
        del stamp["files"]
        with pytest.raises(ConfigError, match=r"Layer is older .* lacks timestamps\.files\."):
            async with operating(fake, url):
                pass
        assert fake.writes() == 0

    run(scenario, an_environment())


def test_missing_definitions_end_the_operator_with_the_fix():
    async def scenario(fake, url):
        bare = {"kind": "Status", "code": 404, "message": "the server could not find it"}
        fake.faults = lambda seen: web.json_response(bare, status=404)
        with pytest.raises(CRDsNotInstalledError, match="ComputeEnvironment"):
            async with operating(fake, url):
                pass

    run(scenario)


def is_ready(generation):
    ready = {"type": "Ready", "status": "True", "observedGeneration": generation}
    return {"status": {"conditions": [ready]}}


@pytest.mark.parametrize(
    ("environment", "after_s"),
    [
        (an_environment(), 0.0),
        (an_environment(layers=[{"pathId": "dem", "timestampId": "1"}]), None),
        (an_environment() | {"status": {"phase": "Pending"}}, WAITED_S),
        (an_environment() | is_ready(3), None),
        (an_environment() | is_ready(2), WAITED_S),
    ],
    ids=["alone", "with-layers", "on-its-way", "ready", "changed"],
)
def test_environment_that_somebody_waits_for_is_looked_at_soon(environment, after_s):
    added = []
    inbox = Inbox(
        stores=Stores(),
        add=lambda key, *, after_s=None: added.append((key, after_s)),
        saw=lambda _: None,
        gone=lambda _: None,
    )
    metadata = {**environment["metadata"], "resourceVersion": "7", "generation": 3, "uid": "u"}
    metadata["creationTimestamp"] = "2026-03-01T12:00:00Z"
    inbox.take(kinds.ENVIRONMENTS, "ADDED", environment | {"metadata": metadata})
    assert added == [(("ComputeEnvironment", "geo", "e1"), after_s)]
