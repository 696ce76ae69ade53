"""The Kubernetes backend over an API server in memory and a real gateway: what users meet."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest
from geopod.api import names
from geopod.api.results import Failure, TaskReason
from geopod.backends.kubernetes import removal
from geopod.cluster.kinds import ENVIRONMENTS, LAYERS, RUNS, RUNTIMES
from geopod.errors import (
    EnvironmentNotFoundError,
    EnvironmentTerminatedError,
    GatewayUnavailableError,
    InvalidInputError,
    LayerNotFoundError,
    OperatorNotRunningError,
    PermissionDeniedError,
    PythonVersionMismatchError,
    ResultExpiredError,
    RunFailedError,
    RunNotFoundError,
    TaskTimeoutError,
)
from geopod.store.channel import Patience
from kubernetes_builders import a_condition, connected, ready_status

OWN = f"python{sys.version_info.major}.{sys.version_info.minor}"
LATE = Failure(reason=TaskReason.TIMEOUT, code="E302", fact="was stopped after 30m00s.")


def plain(params):
    return len(params)


def story(folder, act, **options):
    """Run `act(client, api, play)` as one client's whole life."""

    async def tell():
        async with asyncio.timeout(90), connected(folder, **options) as parts:
            return await act(*parts)

    return asyncio.run(tell())


def asked(api):
    """Return what the client asked; the double, which applies and gets, is left out."""
    return {it: n for it, n in api.calls.items() if it.split()[0] not in {"apply", "get"}}


# ---- runs


def test_execute_is_one_post_and_one_watch(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", nodes=2, progress=False)
        api.calls.clear()
        first = await env.execute(plain, progress=False)
        calls = asked(api)
        api.calls.clear()
        second = await env.execute(plain, progress=False)
        return first, second, calls, asked(api)

    first, second, calls, later = story(tmp_path, act, script=["a", None])
    assert first == second == ["a", None]
    assert calls == {"create computeruns": 1, "watch computeruns": 1}
    assert later == {"create computeruns": 1}


def test_results_without_copies_come_from_the_store(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", nodes=3, progress=False)
        return await env.execute(plain, progress=False)

    assert story(tmp_path, act, script=[1, 2, 3], inline=False) == [1, 2, 3]


def test_many_runs_share_one_watch(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        api.calls.clear()
        runs = [await env.submit(plain) for _ in range(5)]
        found = await asyncio.gather(*(run.results(progress=False) for run in runs))
        return found, api.calls["watch computeruns"], api.calls["list computeruns"]

    assert story(tmp_path, act) == ([[1]] * 5, 1, 0)


def test_map_sends_its_arguments_through_the_store(tmp_path):
    async def act(client, api, play):
        env = await client.environment("e", progress=False)
        found = [value async for value in env.map(plain, [10, 20, 30], progress=False)]
        (run,) = (await api.list(RUNS)).items
        key = names.arguments_key(env.id, run["spec"]["arguments"]["sha256"])
        return found, run["spec"]["map"]["count"], await play.store.exists(key)

    assert story(tmp_path, act, script=["x", "y", "z"]) == (["x", "y", "z"], 3, True)


def test_large_function_travels_through_the_store_once(tmp_path):
    weights = bytes(range(256)) * 640

    async def act(client, api, play):
        env = await client.environment("e", progress=False)
        await env.execute(lambda params: len(weights), progress=False)
        (run,) = (await api.list(RUNS)).items
        function = run["spec"]["function"]
        stored = await play.store.exists(names.function_key(env.id, function["sha256"]))
        return "inline" in function, function["artifact"]["bytes"] > len(weights), stored

    assert story(tmp_path, act) == (False, True, True)


def test_small_function_rides_in_the_resource(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        await env.execute(plain, progress=False)
        (run,) = (await api.list(RUNS)).items
        return set(run["spec"]["function"])

    assert "inline" in story(tmp_path, act)


def test_submitting_the_same_twice_is_one_run(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        first = await env.submit(plain, name="mine")
        again = await env.submit(plain, name="mine")
        results = [await run.results(progress=False) for run in (first, again)]
        return first.id == again.id, results, len((await api.list(RUNS)).items)

    assert story(tmp_path, act) == (True, [[1], [1]], 1)


def test_run_of_an_earlier_environment_of_this_name_is_another_one(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        await (await env.submit(plain, name="mine")).results(progress=False)
        await api.delete(ENVIRONMENTS, "e")
        env = await client.environment("e", progress=False)
        await env.submit(plain, name="mine")

    with pytest.raises(InvalidInputError, match="name='mine' is the name of another run"):
        story(tmp_path, act)


def test_name_that_becomes_free_meanwhile_is_taken(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        await (await env.submit(lambda params: 2, name="mine")).results(progress=False)
        get = api.get

        async def deleted_before(kind, name, **options):
            if kind is RUNS and api.calls["get computeruns"] == 0:
                await api.delete(RUNS, name)
            return await get(kind, name, **options)

        api.calls.clear()
        api.get = deleted_before
        return await (await env.submit(plain, name="mine")).results(progress=False)

    assert story(tmp_path, act) == [1]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({}, {"function": lambda params: 2}),
        ({"partitions": [0]}, {}),
        ({"run_timeout": "1h"}, {}),
        ({"tags": ["survey"]}, {}),
    ],
    ids=["function", "partitions", "timeout", "tags"],
)
def test_name_of_another_run_is_refused(tmp_path, first, second):
    async def act(client, _api, _play):
        env = await client.environment("e", progress=False)
        for options in (first, second):
            await env.submit(**{"function": plain, "name": "mine", **options})

    with pytest.raises(InvalidInputError, match="name='mine' is the name of another run"):
        story(tmp_path, act)


def test_one_failure_keeps_the_others_results(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", nodes=3, progress=False)
        await env.execute(plain, progress=False)

    with pytest.raises(RunFailedError) as caught:
        story(tmp_path, act, script=[1, LATE, 3])
    assert caught.value.completed == [1, None, 3]
    assert isinstance(caught.value.exceptions[1], TaskTimeoutError)


def test_run_is_found_by_name_and_uid_from_another_client(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await run.wait(progress=False)
        found = [await client.get_run(key) for key in (run.name, run.id)]
        return [await each.results(progress=False) for each in found], found[0].environment, env.id

    results, environment, uid = story(tmp_path, act)
    assert results == [[1], [1]]
    assert environment == uid


def test_unknown_run_names_those_that_exist(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", progress=False)
        await env.submit(plain, name="mine")
        await client.get_run("nothing")

    with pytest.raises(RunNotFoundError, match=r"'geo' \(cluster 'prod'\)\. Yours: mine\."):
        story(tmp_path, act)


def test_runs_are_listed_in_one_list(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        for _ in range(3):
            await env.execute(plain, progress=False)
        api.calls.clear()
        return len(await client.runs()), asked(api)

    assert story(tmp_path, act) == (3, {"list computeruns": 1})


def test_cancelled_run_ends(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await run.cancel()
        await run.wait(progress=False)
        await run.cancel()
        return run.phase

    assert story(tmp_path, act, held=True) == "Cancelled"


def test_cancelled_tasks_are_named_together(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", nodes=4, progress=False)
        run = await env.submit(plain)
        await run.cancel(tasks=[3])
        await run.cancel(tasks=[0, 1])
        (manifest,) = (await api.list(RUNS)).items
        return manifest["metadata"]["annotations"][names.ANNOTATION_CANCEL_TASKS]

    assert story(tmp_path, act, held=True) == "0-1,3"


def test_run_that_is_deleted_while_it_is_awaited_is_missing(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        waiting = asyncio.ensure_future(run.wait(progress=False))
        await asyncio.sleep(0)
        await api.delete(RUNS, run.name)
        await waiting

    with pytest.raises(RunNotFoundError, match="deleted"):
        story(tmp_path, act, held=True)


def test_deleted_run_is_forgotten(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await run.wait(progress=False)
        await run.delete()
        return (await api.list(RUNS)).items

    assert story(tmp_path, act) == []


def test_results_of_one_run_go_with_it_if_asked(tmp_path):
    async def act(client, api, play):
        env = await client.environment("e", progress=False)
        kept, gone = [await env.submit(plain) for _ in range(2)]
        for run in (kept, gone):
            await run.wait(progress=False)
        await gone.delete(results=True)
        left = [
            await play.store.names(names.run_prefix(env.id, run.id)) != [] for run in (kept, gone)
        ]
        return left, [it["metadata"]["name"] for it in (await api.list(RUNS)).items] == [kept.name]

    assert story(tmp_path, act, inline=False) == ([True, False], True)


def test_run_whose_results_nobody_can_remove_now_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(removal, "ANSWER_WITHIN_S", 0.1)

    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain, name="mine")
        await run.wait(progress=False)
        with pytest.raises(PermissionDeniedError, match="Results of run 'mine' are not deleted"):
            await run.delete(results=True)
        return len((await api.list(RUNS)).items)

    assert story(tmp_path, act, removes=False) == 1


def test_results_of_a_deleted_environment_are_read_by_the_runs_own_token(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await run.wait(progress=False)
        await api.delete(ENVIRONMENTS, "e")
        other = type(client)(client._backend)
        return await (await other.get_run(run.name)).results(progress=False)

    assert story(tmp_path, act, inline=False) == [1]


def test_results_are_published_by_a_run_of_their_own(tmp_path):
    async def act(client, api, _play):
        await client.add_layer("ndvi", "s3://b/ndvi.tif", timestamp="2024")
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        for _ in range(2):
            await run.add_to_layer({"pathId": "ndvi", "timestampId": "2025", "partial": True})
        found = [it for it in (await api.list(RUNS)).items if it["spec"]["mode"] == "Publish"]
        return run.id, found

    uid, (found,) = story(tmp_path, act)
    assert found["spec"]["publish"] == [uid]
    target = {"pathId": "ndvi", "timestampId": "2025", "partial": True}
    assert found["spec"]["writeToLayer"] == target


# ---- environments


def test_environment_is_applied_and_taken_again_by_name(tmp_path):
    async def act(client, api, _play):
        first = await client.environment("e", nodes=2, labels={"team": "a"}, progress=False)
        again = await client.environment("e", nodes=3, progress=False)
        (manifest,) = (await api.list(ENVIRONMENTS)).items
        return first.id == again.id, again.nodes_ready, manifest["spec"]["interpreter"]

    assert story(tmp_path, act) == (True, 3, OWN)


def test_interpreter_is_one_that_the_runtime_offers(tmp_path):
    async def act(client, api, _play):
        offered = [{"name": "python3.99", "image": "x"}, {"name": "python3.98", "image": "x"}]
        await api.put(RUNTIMES, "default", spec={"interpreters": offered})
        return (await client.environment("e", wait=False)).interpreter

    assert story(tmp_path, act) == "python3.99"


def test_files_are_uploaded_once_the_environment_gives_a_token(tmp_path):
    weights = tmp_path / "weights.bin"
    weights.write_bytes(b"weights")

    async def act(client, _api, play):
        env = await client.environment("e", files=[weights], progress=False)
        (sha256,) = env.files
        return await play.store.get(names.file_key(sha256, namespace="geo"))

    assert story(tmp_path, act) == b"weights"


def test_scale_suspend_resume_and_refresh_change_the_resource(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", nodes=2, progress=False)
        await env.scale(5)
        await env.refresh()
        first = await api.get(ENVIRONMENTS, "e")
        await env.suspend()
        asleep = (await api.get(ENVIRONMENTS, "e"))["spec"]["suspend"]
        await env.resume()
        last = await api.get(ENVIRONMENTS, "e")
        return first, asleep, last["spec"]["suspend"]

    first, asleep, awake = story(tmp_path, act)
    assert first["spec"]["nodes"] == 5
    assert names.ANNOTATION_REFRESH in first["metadata"]["annotations"]
    assert (asleep, awake) == (True, False)


def test_block_terminates_what_it_created_and_cancels_its_runs(tmp_path):
    async def act(client, api, _play):
        async with client.environment("e", progress=False) as env:
            run = await env.submit(plain)
        manifest = await api.get(ENVIRONMENTS, "e")
        await run.wait(progress=False)
        with pytest.raises(EnvironmentTerminatedError, match="was terminated at"):
            await env.submit(plain)
        with pytest.raises(EnvironmentTerminatedError):
            await run.add_to_layer("ndvi/2025")
        return manifest, run.phase, env.phase

    manifest, run_phase, phase = story(tmp_path, act, held=True)
    mark = json.loads(manifest["metadata"]["annotations"][names.ANNOTATION_TERMINATED])
    assert set(mark) == {"time", "user"}
    assert manifest["spec"]["suspend"]
    assert (run_phase, phase) == ("Cancelled", "Terminated")


def test_terminated_environment_is_woken_by_its_name(tmp_path):
    async def act(client, _api, _play):
        env = await client.environment("e", progress=False)
        await env.terminate()
        again = await client.environment("e", progress=False)
        return again.phase, await again.execute(plain, progress=False)

    assert story(tmp_path, act) == ("Ready", [1])


def test_of_clients_that_make_one_environment_at_once_one_made_it(tmp_path):
    async def act(client, _api, _play):
        async def at_once():
            making = [client.environment("e", progress=False) for _ in range(3)]
            return sorted([env.is_created for env in await asyncio.gather(*making)])

        made = await at_once()
        await (await client.get_environment("e")).terminate()
        return made, await at_once(), await at_once()

    one, none = [False, False, True], [False] * 3
    assert story(tmp_path, act) == (one, one, none)


def test_deleted_environment_takes_its_results_if_asked(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        await env.execute(plain, progress=False)
        await env.delete(results=True)
        return (await api.list(ENVIRONMENTS)).items, (await api.list(RUNS)).items

    assert story(tmp_path, act) == ([], [])


def test_unknown_environment_names_those_that_exist(tmp_path):
    async def act(client, _api, _play):
        await client.environment("e", progress=False)
        await client.get_environment("f")

    with pytest.raises(EnvironmentNotFoundError, match=r"\(cluster 'prod'\)\. Yours: e\."):
        story(tmp_path, act)


def test_fatal_condition_ends_the_wait_with_its_public_error(tmp_path):
    async def act(client, api, _play):
        async def fail():
            made = await api.get(ENVIRONMENTS, "e")
            generation = made["metadata"]["generation"]
            text = "No layer 'dem' with timestamp '2024' in namespace 'geo'."
            words = {"reason": "LayerNotFound", "message": text, "generation": generation}
            status = {
                "conditions": [
                    a_condition("Accepted", status=False, **words),
                    a_condition("Stalled", status=True, **words),
                    a_condition("Ready", status=False, **words),
                ]
            }
            await api.say(ENVIRONMENTS, "e", status)

        env = await client.environment("e", wait=False)
        await fail()
        await env.wait_ready(progress=False)

    with pytest.raises(LayerNotFoundError, match="No layer 'dem'") as caught:
        story(tmp_path, act, play=False)
    assert caught.value.fixes == ("client.layers()",)


def test_resource_that_nobody_serves_is_said_to_be_untouched(tmp_path):
    async def act(client, _api, _play):
        client._backend._environments._operator._untouched_s = 0.05
        await client.environment("e", progress=False)

    with pytest.raises(OperatorNotRunningError, match="nothing picked it up"):
        story(tmp_path, act, play=False)


def test_run_that_nobody_serves_is_said_to_be_untouched(tmp_path):
    async def act(client, api, _play):
        env = await client.environment("e", wait=False)
        await api.say(ENVIRONMENTS, "e", ready_status(await api.get(ENVIRONMENTS, "e")))
        run = await env.submit(plain, name="mine")
        client._backend._environments._operator._untouched_s = 0.05
        await run.wait(progress=False)

    with pytest.raises(OperatorNotRunningError, match="'mine' was created"):
        story(tmp_path, act, play=False)


def test_what_the_schema_refuses_is_the_callers_error(tmp_path):
    async def act(client, api, _play):
        api.refusal = "spec.idle: ttlSeconds must be at least idle.afterSeconds."
        await client.environment("e")

    with pytest.raises(InvalidInputError, match="ttlSeconds must be at least"):
        story(tmp_path, act)


def test_file_of_this_machine_is_no_layer_of_a_cluster(tmp_path):
    async def act(client, _api, _play):
        await client.environment("e", layers=[tmp_path / "dem.tif"])

    with pytest.raises(InvalidInputError, match="is a file of this machine"):
        story(tmp_path, act)


def test_gateway_that_does_not_answer_is_named(tmp_path):
    async def act(client, _api, _play):
        client._backend._store._route = "http://127.0.0.1:9"
        client._backend._store._patience = Patience(total_s=0.05, first_wait_s=0.01)
        env = await client.environment("e", progress=False)
        await env.execute(plain, progress=False)

    with pytest.raises(GatewayUnavailableError, match="The gateway, reached through http"):
        story(tmp_path, act, inline=False)


def test_doctor_finds_a_gateway_that_does_not_answer(tmp_path):
    async def act(client, _api, _play):
        client._backend._store._route = "http://127.0.0.1:9"
        client._backend._store._patience = Patience(total_s=0.05, first_wait_s=0.01)
        return await client.doctor()

    found = {finding.about: finding for finding in story(tmp_path, act).findings}
    assert found["store"].ok is False
    assert "GP-E013" in found["store"].fact


def test_results_that_have_expired_are_said_to_have(tmp_path):
    async def act(client, _api, play):
        env = await client.environment("e", progress=False)
        run = await env.submit(plain)
        await run.wait(progress=False)
        await play.store.delete(f"{env.id}/")
        await run.results(progress=False)

    with pytest.raises(ResultExpiredError, match="expired at"):
        story(tmp_path, act, inline=False)


def test_run_that_the_coordinator_refused_is_its_public_error(tmp_path):
    refused = {"reason": "InterpreterMismatch", "message": "made on Python 3.10, runs 3.12."}

    async def act(client, api, _play):
        env = await client.environment("e", wait=False)
        await api.say(ENVIRONMENTS, "e", ready_status(await api.get(ENVIRONMENTS, "e")))
        run = await env.submit(plain, name="mine")
        conditions = [
            a_condition("Accepted", status=False, **refused),
            a_condition("Failed", status=True, **refused),
        ]
        await api.say(RUNS, "mine", {"phase": "Failed", "conditions": conditions})
        await run.results(progress=False)

    with pytest.raises(PythonVersionMismatchError, match=r"made on Python 3\.10") as caught:
        story(tmp_path, act, play=False)
    assert caught.value.fixes


def test_build_log_is_read_from_the_store(tmp_path):
    async def act(client, _api, play):
        env = await client.environment("e", progress=False)
        nothing = await env.build_log()
        key = f"{names.bundle_key('geo', 'abc123')}build.log"
        await play.store.put(key, b"resolved\n")
        return nothing, await env.build_log()

    assert story(tmp_path, act) == ("", "resolved\n")


def test_build_log_is_followed_until_the_builder_has_stored_it(tmp_path):
    async def act(client, api, play):
        play.ready = False
        env = await client.environment("e", wait=False)
        ready = a_condition("Ready", status=False, reason="Resolving")
        await api.say(ENVIRONMENTS, "e", {"conditions": [ready]})
        following = aiter(env.build_log(follow=True))
        first = asyncio.ensure_future(anext(following))
        key = f"{names.bundle_key('geo', 'abc123')}build.log"
        await play.store.put(key, b"resolved\ninstalled\n")
        manifest = await api.get(ENVIRONMENTS, "e")
        await api.say(ENVIRONMENTS, "e", ready_status(manifest))
        return [await first, *[line async for line in following]]

    assert story(tmp_path, act) == ["resolved", "installed"]


# ---- layers, and what may be looked at


def test_layers_join_their_timestamps(tmp_path):
    async def act(client, api, _play):
        await client.add_layer("dem", "s3://bucket/dem-2023.tif", timestamp="2023")
        added = await client.add_layer("dem", "s3://bucket/dem-2024.tif", timestamp="2024")
        return added, (await api.get(LAYERS, "dem"))["spec"]["type"], await client.layers()

    added, kind, layers = story(tmp_path, act)
    assert added.timestamps == ("2023", "2024")
    assert kind == "raster"
    assert [layer.path_id for layer in layers] == ["dem"]


def test_layer_on_this_machines_disk_is_refused(tmp_path):
    async def act(client, _api, _play):
        await client.add_layer("dem", tmp_path / "dem.tif")

    with pytest.raises(InvalidInputError, match="a cluster's nodes cannot read it"):
        story(tmp_path, act)


def test_unknown_layer_names_the_nearest(tmp_path):
    async def act(client, _api, _play):
        await client.add_layer("dem-30m", "s3://bucket/dem.tif", timestamp="2023")
        await client.get_layer("dem")

    with pytest.raises(LayerNotFoundError, match="dem-30m"):
        story(tmp_path, act)


def test_doctor_names_what_is_missing_and_what_may_not_be_seen(tmp_path):
    async def act(client, api, _play):
        api.forbidden |= {"get deployments", "create computeruns"}
        return await client.doctor()

    found = story(tmp_path, act)
    by_part = {finding.about: finding for finding in found.findings}
    assert by_part["operator"].ok is None
    assert by_part["rights"].ok is False
    assert by_part["store"].ok is True
    assert by_part["runtimes"].ok is False
    assert not found.ok
    assert any("rolebinding" in fix for fix in found.fixes)


def test_explanation_quotes_scheduler_image_and_quota(tmp_path):
    from geopod.backends.kubernetes.diagnosis import QUOTAS
    from geopod.cluster.kinds import PODS

    labels = {"app.kubernetes.io/name": "geopod", "app.kubernetes.io/instance": "e"}
    waiting = {"type": "PodScheduled", "status": "False", "message": "0/6 nodes are available"}
    image = {"waiting": {"reason": "ErrImagePull", "message": "unauthorized"}}

    async def act(client, api, _play):
        env = await client.environment("e", progress=False)
        for index in range(2):
            await api.put(
                PODS, f"e-{index}", metadata={"labels": labels}, status={"conditions": [waiting]}
            )
        runner = {"name": "runner", "image": "x", "state": image}
        await api.put(
            PODS, "e-2", metadata={"labels": labels}, status={"containerStatuses": [runner]}
        )
        hard = {"hard": {"cpu": "32"}, "used": {"cpu": "32"}}
        await api.put(QUOTAS, "team", status=hard)
        return await env.explain()

    found = story(tmp_path, act)
    assert "scheduling: 2 pods: 0/6 nodes are available" in found.facts
    assert "image: runner: x: unauthorized" in found.facts
    assert "quota: team: cpu 32 of 32." in found.facts
    assert found.fatal


def test_capacity_says_what_it_may_not_see(tmp_path):
    async def act(client, api, _play):
        api.forbidden.add("list nodes")
        offered = [{"name": "python3.12", "image": "x"}]
        await api.put(RUNTIMES, "default", spec={"interpreters": offered})
        return await client.capacity()

    found = story(tmp_path, act)
    assert found.interpreters == ("python3.12",)
    assert found.machines == ()
    assert "list nodes" in found.hidden[0]


def test_refused_right_is_the_public_error(tmp_path):
    async def act(client, api, _play):
        api.forbidden.add("apply computeenvironments")
        await client.environment("e")

    with pytest.raises(PermissionDeniedError, match="namespace 'geo'"):
        story(tmp_path, act)
