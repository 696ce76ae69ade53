"""The API client against a fake server: chunks, watches that go on, retries, public errors."""

import asyncio
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace

import pytest
from api_client_builders import FAST, FixedSource, a_client
from cluster_builders import FakeCluster
from cluster_request_builders import refusal
from geopod.cluster import kinds
from geopod.cluster.limits import Limits
from geopod.cluster.problems import ConflictApiError, InvalidApiError, NotFoundApiError
from geopod.errors import (
    AuthError,
    ClusterUnreachableError,
    CRDsNotInstalledError,
    PermissionDeniedError,
    RateLimitedError,
)
from shell_builders import a_run

RUNS = kinds.RUNS


def run(scenario, *, source=None, limits=None):
    """Run a scenario with a fake server and a client of it."""

    async def drive():
        fake = FakeCluster()
        async with fake.running() as url:
            options = {"limits": limits} if limits else {}
            made = source(url) if source else None
            async with await a_client(url, source=made, **options) as client:
                async with asyncio.timeout(60):
                    return await scenario(fake, client)

    return asyncio.run(drive())


def faults(*answers, verb):
    """A fault for each of the next requests of a verb, then none."""
    left = list(answers)

    def fault(seen):
        return left.pop(0)() if seen.verb == verb and left else None

    return fault


def status(code, reason="Busy", message="refused", **headers):
    return lambda: refusal(code, reason, RUNS, "r1", message, headers=headers)


FORBIDDEN = status(403, "Forbidden", 'User "ana" cannot')


def test_long_list_comes_in_chunks_and_whole():
    async def scenario(fake, client):
        for number in range(1203):
            fake.put(RUNS, a_run(f"r{number:04}"))
        listing = await client.list(RUNS)
        assert [it["metadata"]["name"] for it in listing.items][::1202] == ["r0000", "r1202"]
        assert listing.items[0]["kind"] == "ComputeRun"
        assert fake.count("list") == 3

    run(scenario)


def test_items_of_a_list_come_without_what_only_the_server_reads():
    async def scenario(fake, client):
        found = a_run()
        found["metadata"]["managedFields"] = [{"manager": "kubectl"}]
        fake.put(RUNS, found)
        (item,) = (await client.list(RUNS)).items
        assert item["metadata"]["name"] == "r1"
        assert "managedFields" not in item["metadata"]

    run(scenario)


def test_created_object_is_found_and_a_second_one_is_a_conflict():
    async def scenario(fake, client):
        await client.create(RUNS, a_run(), field_manager="test")
        assert (await client.get(RUNS, "r1"))["spec"]["environment"] == "e1"
        with pytest.raises(ConflictApiError) as caught:
            await client.create(RUNS, a_run(), field_manager="test")
        assert caught.value.already_exists
        assert fake.seen[0].query["fieldValidation"] == "Strict"

    run(scenario)


def test_deleting_nothing_or_a_namesake_is_no_error():
    async def scenario(fake, client):
        await client.delete(RUNS, "absent")
        fake.put(RUNS, a_run())
        await client.delete(RUNS, "r1", uid="another")
        assert fake.get(RUNS, "r1")
        await client.delete(RUNS, "r1", uid=fake.get(RUNS, "r1")["metadata"]["uid"])
        assert not fake.get(RUNS, "r1")

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(401, "Unauthorized"), AuthError),
        (status(403, "Forbidden", 'User "ana" cannot get'), PermissionDeniedError),
        (status(404, "NotFound"), NotFoundApiError),
        (status(409, "Conflict"), ConflictApiError),
        (status(422, "Invalid"), InvalidApiError),
        (status(429, "TooManyRequests", **{"Retry-After": "0"}), RateLimitedError),
    ],
    ids=["401", "403", "404", "409", "422", "429"],
)
def test_refusal_is_its_public_error(answer, error):
    async def scenario(fake, client):
        fake.faults = lambda seen: answer()
        with pytest.raises(error) as caught:
            await client.get(RUNS, "r1")
        assert "secret" not in str(caught.value)

    run(scenario, source=lambda url: FixedSource(url, bearer="secret"))


def test_unknown_kind_means_that_the_definitions_are_not_installed():
    async def scenario(fake, client):
        bare = {"kind": "Status", "code": 404, "message": "the server could not find it"}
        fake.faults = lambda seen: web_json(bare, 404)
        with pytest.raises(CRDsNotInstalledError, match="ComputeRun"):
            await client.list(RUNS)

    run(scenario)


def web_json(body, code):
    from aiohttp import web

    return web.json_response(body, status=code)


def test_refused_right_names_verb_resource_and_user():
    async def scenario(fake, client):
        message = 'computeruns.geopod.dev is forbidden: User "ana" cannot list resource'
        fake.faults = lambda seen: refusal(403, "Forbidden", RUNS, "", message)
        with pytest.raises(PermissionDeniedError, match="list computeruns in namespace 'geo'"):
            await client.list(RUNS)

    run(scenario)


def test_refused_object_is_no_missing_right():
    async def scenario(fake, client):
        fake.faults = lambda seen: refusal(403, "Forbidden", RUNS, "r1", "exceeded quota: one")
        with pytest.raises(Exception, match="exceeded quota: one"):
            await client.create(RUNS, a_run(), field_manager="test")

    run(scenario)


def test_busy_server_is_asked_again_as_it_says():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        busy = status(429, **{"Retry-After": "0"})
        fake.faults = faults(busy, status(503, **{"Retry-After": "0"}), verb="get")
        assert await client.get(RUNS, "r1")
        assert fake.count("get") == 3

    run(scenario)


def test_one_that_makes_an_object_learns_that_it_did():
    async def scenario(fake, client):
        assert [(await client.make(RUNS, a_run(), field_manager="test"))[1] for _ in range(2)] == [
            True,
            False,
        ]

    run(scenario)


def test_server_error_about_the_object_is_not_repeated():
    async def scenario(fake, client):
        fake.faults = faults(status(500, "InternalError"), verb="patch")
        fake.put(RUNS, a_run())
        with pytest.raises(Exception, match="500 InternalError"):
            await client.apply(RUNS, a_run(), field_manager="test")
        assert fake.count("patch") == 1

    run(scenario)


def test_refused_token_is_read_again_once():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        fake.faults = lambda seen: (
            None if seen.headers["Authorization"] == "Bearer t-2" else status(401)()
        )
        assert await client.get(RUNS, "r1")
        assert [seen.headers["Authorization"] for seen in fake.seen] == ["Bearer t-1", "Bearer t-2"]

    run(scenario, source=lambda url: FixedSource(url, bearer="t"))


def test_expiring_token_is_read_again_before_it_ends():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        await client.get(RUNS, "r1")
        await client.get(RUNS, "r1")
        assert fake.seen[-1].headers["Authorization"] == "Bearer t-3"

    run(scenario, source=lambda url: FixedSource(url, bearer="t", expires_in_s=0.0))


def test_server_that_is_not_there_is_unreachable_and_said_so():
    async def scenario():
        client = await a_client("http://127.0.0.1:9", limits=Limits(tries=2))
        async with client:
            with pytest.raises(ClusterUnreachableError, match="did not answer"):
                await client.get(RUNS, "r1")

    asyncio.run(scenario())


def test_calls_wait_in_line_when_the_bucket_is_empty():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(client.get(RUNS, "r1") for _ in range(12)))
        assert asyncio.get_running_loop().time() - started >= 0.095

    run(scenario, limits=Limits(qps=100, burst=2))


async def take(watch, number):
    return [await anext(watch) for _ in range(number)]


@asynccontextmanager
async def told_of_a_run(fake, client):
    """A watch that the server has let through, and that has told one run."""
    async with aclosing(client.watch(RUNS)) as watch:
        await take(watch, 1)
        fake.put(RUNS, a_run())
        await take(watch, 1)
        yield watch


def told(events):
    return [(event.type, event.object.get("metadata", {}).get("name")) for event in events]


def test_watch_lists_then_tells_changes():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        async with aclosing(client.watch(RUNS)) as watch:
            assert told(await take(watch, 2)) == [("ADDED", "r1"), ("SYNCED", None)]
            fake.put(RUNS, a_run("r2"))
            fake.set_status(RUNS, "r1", {"phase": "Queued"})
            fake.remove(RUNS, "r1")
            changes = [("ADDED", "r2"), ("MODIFIED", "r1"), ("DELETED", "r1")]
            assert told(await take(watch, 3)) == changes

    run(scenario)


def test_watch_from_a_version_lists_nothing():
    async def scenario(fake, client):
        made = await client.create(RUNS, a_run(), field_manager="test")
        since = made["metadata"]["resourceVersion"]
        async with aclosing(client.watch(RUNS, since=since)) as watch:
            fake.set_status(RUNS, "r1", {"phase": "Queued"})
            assert told(await take(watch, 1)) == [("MODIFIED", "r1")]
        assert fake.count("list") == 0

    run(scenario)


def test_broken_watch_goes_on_where_it_was():
    async def scenario(fake, client):
        async with told_of_a_run(fake, client) as watch:
            fake.cut_watches()
            fake.put(RUNS, a_run("r2"))
            assert told(await take(watch, 1)) == [("ADDED", "r2")]
        assert (fake.count("list"), fake.count("watch")) == (1, 2)

    run(scenario)


def test_watch_that_was_forgotten_lists_again_and_says_so():
    async def scenario(fake, client):
        async with told_of_a_run(fake, client) as watch:
            fake.remove(RUNS, "r1")
            fake.put(RUNS, a_run("r2"))
            fake.forget_history()
            fake.cut_watches()
            seen = told(await take(watch, 1))
            while ("SYNCED", None) not in seen:
                seen += told(await take(watch, 1))
            assert seen[-2:] == [("ADDED", "r2"), ("SYNCED", None)]
        assert fake.count("list") == 2

    run(scenario)


def test_bookmarks_are_not_told_but_counted():
    async def scenario(fake, client):
        async with aclosing(client.watch(RUNS)) as watch:
            await take(watch, 1)
            reading = asyncio.ensure_future(anext(watch))
            await fake.until(lambda: fake.count("watch"))
            fake.put(kinds.LAYERS, {"metadata": {"name": "dem"}, "spec": {}})
            fake.bookmark()
            fake.put(RUNS, a_run())
            assert told([await reading]) == [("ADDED", "r1")]

    run(scenario)


def test_watch_without_the_right_ends_with_its_error():
    async def scenario(fake, client):
        fake.faults = faults(FORBIDDEN, verb="watch")
        async with aclosing(client.watch(RUNS)) as watch:
            await take(watch, 1)
            with pytest.raises(PermissionDeniedError):
                await anext(watch)

    run(scenario)


def test_watch_survives_a_server_that_does_not_know_yet_who_may_do_what():
    async def scenario(fake, client):
        async with told_of_a_run(fake, client) as watch:
            fake.faults = faults(FORBIDDEN, FORBIDDEN, verb="watch")
            fake.cut_watches()
            fake.put(RUNS, a_run("r2"))
            assert told(await take(watch, 1)) == [("ADDED", "r2")]

    run(scenario)


def test_watch_whose_right_was_taken_ends_after_some_tries():
    async def scenario(fake, client):
        async with told_of_a_run(fake, client) as watch:
            fake.faults = faults(*[FORBIDDEN] * 9, verb="watch")
            fake.cut_watches()
            with pytest.raises(PermissionDeniedError):
                await anext(watch)
            assert fake.count("watch") == 3

    run(scenario, limits=replace(FAST, refusals=1))


def test_call_that_was_allowed_before_survives_a_server_that_has_just_started():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        fake.put(RUNS, a_run("r2"))
        await client.get(RUNS, "r1")
        fake.faults = faults(FORBIDDEN, FORBIDDEN, verb="get")
        assert (await client.get(RUNS, "r2"))["metadata"]["name"] == "r2"

    run(scenario)


def test_right_that_was_taken_is_waited_for_once():
    async def scenario(fake, client):
        fake.put(RUNS, a_run())
        await client.get(RUNS, "r1")
        fake.faults = lambda seen: FORBIDDEN()
        for asked in (3, 4):
            with pytest.raises(PermissionDeniedError):
                await client.get(RUNS, "r1")
            assert fake.count("get") == asked

    run(scenario, limits=replace(FAST, refusals=1))


def test_right_that_a_user_never_had_is_refused_at_once():
    async def scenario(fake, client):
        await client.list(RUNS)
        fake.faults = lambda seen: FORBIDDEN()
        with pytest.raises(PermissionDeniedError):
            await client.create(RUNS, a_run(), field_manager="test")
        assert fake.count("create") == 1

    run(scenario)


def test_client_whose_rights_the_chart_gives_waits_for_all_of_them():
    async def scenario(fake, client):
        fake.faults = faults(FORBIDDEN, verb="create")
        await client.create(RUNS, a_run(), field_manager="test")
        assert fake.count("create") == 2

    run(scenario, limits=replace(FAST, rights_are_given=True))


def test_watch_survives_a_server_that_is_away_for_a_while():
    async def scenario(fake, client):
        gone = status(503, **{"Retry-After": "0"})
        async with aclosing(client.watch(RUNS)) as watch:
            await take(watch, 1)
            fake.faults = faults(*[gone] * 5, verb="watch")
            fake.put(RUNS, a_run())
            assert told(await take(watch, 1)) == [("ADDED", "r1")]

    run(scenario)


def test_large_object_passes_whole_through_a_watch():
    async def scenario(fake, client):
        async with aclosing(client.watch(RUNS)) as watch:
            await take(watch, 1)
            fake.put(RUNS, a_run() | {"note": "x" * 1_400_000})
            (event,) = await take(watch, 1)
            assert len(event.object["note"]) == 1_400_000

    run(scenario)


def test_service_is_reached_through_the_api_server_with_its_sign_in():
    async def scenario(fake, client):
        target = client.proxied("geopod-gateway", 8080, "geopod-system")
        path = "/api/v1/namespaces/geopod-system/services/geopod-gateway:8080/proxy"
        assert target.base_url.endswith(path)
        assert target.headers() == {"Authorization": "Bearer t-1"}

    run(scenario, source=lambda url: FixedSource(url, bearer="t"))
