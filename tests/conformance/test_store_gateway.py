"""The store behind a gateway while connections break, tokens change and the gateway is away."""

import asyncio
import hashlib
import os
import re
import shutil
import socket
from dataclasses import replace

import pytest
import uvloop
from geopod.api import deployment
from geopod.errors import (
    AuthError,
    GatewayUnavailableError,
    PermissionDeniedError,
    RateLimitedError,
)
from geopod.store import KeyExistsError, KeyMissingError, gateway, multipart, open_store
from geopod.store.cache import FileCache
from geopod.store.channel import REFUSALS, DirectRoute, Patience, TokenFile
from geopod.store.directory import DirectoryStore
from geopod.store.gateway import GatewayStore
from geopod.store.objects import ObjectStore
from geopod.store.refusals import refusal
from geopod.store.sources import BytesSource, FileSource
from geopod_gateway.app import Gateway
from store_builders import HASTY, UID, Faults, a_store, a_token, running, some_settings

KEY = f"{UID}/runs/1/value"
DATA = os.urandom(100_000)


def behind(tmp_path, check, *faults, token=None, **changed):
    """Run a check with a store behind a gateway with faults; returns the requests it saw."""
    spoiled = Faults(*faults)

    async def run():
        server = Gateway(some_settings(tmp_path / "store", **changed))
        async with (
            running(server, spoiled) as url,
            a_store(url, tmp_path / "cache", token) as store,
        ):
            await check(store)

    asyncio.run(run())
    return spoiled.seen


@pytest.mark.parametrize("fault", ["503", "502", "drop", "lost"])
def test_operation_is_repeated_until_it_is_answered(tmp_path, fault):
    async def check(store):
        await store.put(KEY, DATA)
        assert await store.get(KEY) == DATA
        assert await store.exists(KEY)
        assert await store.names(f"{UID}/") == [KEY]
        await store.delete(KEY)
        assert not await store.exists(KEY)

    seen = behind(tmp_path, check, *[fault, fault, "ok"] * 6)
    assert len(seen) >= 6 + 12


@pytest.mark.parametrize("cuts", [1, 3])
def test_broken_download_goes_on_where_it_broke(tmp_path, cuts):
    async def check(store):
        await store.put(KEY, DATA)
        assert await store.get(KEY) == DATA

    seen = behind(tmp_path, check, "ok", *["cut"] * cuts)
    ranges = [request.headers.get("Range") for request in seen[1:]]
    assert ranges[:2] == [None, f"bytes={len(DATA) // 2}-"]
    assert len(ranges) == cuts + 1


def test_object_replaced_between_two_parts_is_read_anew(tmp_path):
    """The parts of two objects never become one value."""
    other = os.urandom(len(DATA))
    faults = Faults("ok", "cut")

    async def run():
        server = Gateway(some_settings(tmp_path / "store"))
        async with (
            running(server, faults) as url,
            a_store(url, tmp_path / "cache") as store,
            a_store(url, tmp_path / "cache") as second,
        ):
            await store.put(KEY, DATA)
            original = store._channel._send

            async def replacing(call, token):
                if "Range" in call.headers and call.headers.get("If-Match"):
                    store._channel._send = original
                    await second.put(KEY, other)
                return await original(call, token)

            store._channel._send = replacing
            assert await store.get(KEY) == other

    asyncio.run(run())


def test_range_read_is_resumed_within_its_range(tmp_path):
    async def check(store):
        await store.put(KEY, DATA)
        assert await store.get(KEY, start=1000, length=50_000) == DATA[1000:51_000]

    seen = behind(tmp_path, check, "ok", "cut")
    assert [r.headers["Range"] for r in seen[1:]] == ["bytes=1000-50999", "bytes=26000-50999"]


def test_creation_whose_answer_was_lost_is_no_second_one(tmp_path):
    async def check(store):
        await store.put(KEY, b"", if_absent=True)
        with pytest.raises(KeyExistsError):
            await store.put(KEY, b"", if_absent=True)

    behind(tmp_path, check, "lost", "lost")


def test_gateway_that_stays_away_is_named_with_the_time_it_was_waited_for(tmp_path):
    async def run():
        patience = Patience(total_s=0.2, first_wait_s=0.01, longest_wait_s=0.05)
        store = GatewayStore("http://127.0.0.1:9", token=a_token, cache=tmp_path, patience=patience)
        async with store:
            with pytest.raises(GatewayUnavailableError) as caught:
                await store.get(KEY)
        return caught.value

    error = asyncio.run(run())
    assert error.code == "E013"
    assert error.actor == "repeat"
    assert error.fact.startswith("The gateway, reached through http://127.0.0.1:9, did not answer")


def test_404_of_something_before_the_gateway_is_no_missing_key(tmp_path):
    async def check(store):
        with pytest.raises(GatewayUnavailableError, match="The way to the gateway"):
            await store.get(KEY)
        with pytest.raises(KeyMissingError):
            await store.get(KEY)

    behind(tmp_path, check, "404")


def test_what_a_proxy_says_while_no_gateway_is_there_is_told(tmp_path):
    async def check(store):
        with pytest.raises(GatewayUnavailableError) as caught:
            await store.get(KEY)
        fact = caught.value.fact
        assert fact.startswith(f"The way to the gateway did not read {KEY!r} (503): no endpoints")
        assert re.search(r"Asked \d+ times in \d+ s\.$", fact)

    behind(tmp_path, check, *["503"] * 1000)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ('{"kind":"Status","message":"no endpoints available."}', ": no endpoints available."),
        ("QuotaExceeded: 5 bytes over.\nmore", ": QuotaExceeded: 5 bytes over."),
        ("", "."),
        ("{}", ": {}."),
    ],
)
def test_words_of_a_refusal_are_one_sentence(said, words):
    error = refusal("GET", "k", 503, said, ours=True)
    assert str(error).splitlines()[0].endswith(f"The gateway did not read 'k' (503){words}")


def test_gateway_that_asks_to_slow_down_is_obeyed(tmp_path):
    """It asks for 3 s, and the store's patience is 2 s."""

    async def check(store):
        with pytest.raises(RateLimitedError, match="retry after 3 s"):
            await store.get(KEY)

    assert len(behind(tmp_path, check, "429", "429")) == 1


def test_token_file_is_read_again_when_it_changes(tmp_path):
    file = tmp_path / "token"
    file.write_text(a_token(now=0.0), "ascii")

    async def check(store):
        with pytest.raises(AuthError, match="Expired"):
            await store.put(KEY, DATA)
        renewed = tmp_path / "renewed"
        renewed.write_text(a_token() + "\n", "ascii")
        renewed.replace(file)
        await store.put(KEY, DATA)

    behind(tmp_path, check, token=TokenFile(file))


def test_token_that_was_renewed_meanwhile_is_tried_before_anybody_hears_of_it(tmp_path):
    words = iter([a_token(now=0.0)])

    async def check(store):
        await store.put(KEY, DATA)

    seen = behind(tmp_path, check, token=lambda: next(words, None) or a_token())
    assert len(seen) == 2


def test_refusal_names_the_operation_and_no_token(tmp_path):
    token = a_token(may=("get",))

    async def check(store):
        with pytest.raises(PermissionDeniedError) as caught:
            await store.put(KEY, DATA)
        assert "write" in caught.value.fact
        assert "NotPermitted" in caught.value.fact
        assert token not in str(caught.value)

    behind(tmp_path, check, token=lambda: token)


def test_way_that_was_open_may_be_shut_for_a_moment(tmp_path):
    """As by an API server that has just started: it knows no roles yet."""

    async def check(store):
        await store.put(KEY, DATA)
        assert await store.get(KEY) == DATA

    assert len(behind(tmp_path, check, "ok", "403", "403")) == 4


def test_way_that_stays_shut_is_told_after_some_tries(tmp_path):
    async def check(store):
        await store.put(KEY, DATA)
        with pytest.raises(PermissionDeniedError, match="The way to the gateway"):
            await store.get(KEY)

    assert len(behind(tmp_path, check, "ok", *["403"] * 99)) == 1 + REFUSALS + 1


def test_way_that_was_never_open_is_told_at_once(tmp_path):
    async def check(store):
        with pytest.raises(PermissionDeniedError, match="The way to the gateway"):
            await store.get(KEY)

    assert len(behind(tmp_path, check, "403")) == 1


def test_quota_is_told_at_once(tmp_path):
    async def check(store):
        with pytest.raises(GatewayUnavailableError, match="QuotaExceeded"):
            await store.put(KEY, DATA)

    assert len(behind(tmp_path, check, quota_bytes=1000)) == 1


def test_fetched_object_is_fetched_once_and_checked(tmp_path):
    async def check(store):
        await store.put(KEY, DATA)
        first = await store.fetch(KEY)
        assert first.name == hashlib.sha256(DATA).hexdigest()
        assert await store.fetch(KEY) == first
        first.unlink()
        assert (await store.fetch(KEY)).read_bytes() == DATA

    seen = behind(tmp_path, check)
    conditions = [request.headers.get("If-None-Match") for request in seen[1:]]
    assert conditions == [None, f'"{hashlib.sha256(DATA).hexdigest()}"', None]


@pytest.mark.parametrize("operation", ["get", "fetch"])
def test_bytes_of_another_sha256_are_not_handed_out(tmp_path, operation):
    async def check(store):
        await store.put(KEY, DATA)
        stored = tmp_path / "store" / KEY
        stored.chmod(0o644)
        with stored.open("r+b") as file:
            file.write(b"rotten")
        with pytest.raises(GatewayUnavailableError):
            await getattr(store, operation)(KEY)

    behind(tmp_path, check)
    assert not any((tmp_path / "cache").glob(".part-*"))


def test_cache_makes_room_for_what_comes(tmp_path):
    cache = FileCache(tmp_path, limit_bytes=250)
    paths = []
    for number in range(3):
        part = cache.new_part()
        part.write_bytes(bytes([number]) * 100)
        os.utime(part, (number, number))
        paths.append(cache.keep(part, key=str(number), digest=f"d{number}", etag="e"))
    assert [path.exists() for path in paths] == [False, True, True]
    assert cache.recall("0") is None
    assert cache.recall("1") == ("e", paths[1])


def test_store_of_a_pod_keeps_as_many_bytes_as_it_is_given(tmp_path):
    """A pod's /tmp has a gigabyte, and one that fills it is evicted."""

    async def run():
        server = Gateway(some_settings(tmp_path / "store"))
        async with running(server) as url:
            cache = tmp_path / "cache"
            store = open_store(url, token_file=a_token, cache=cache, cache_bytes=2 * len(DATA))
            async with store:
                for number in range(5):
                    await store.put(f"{KEY}-{number}", DATA[:-1] + bytes([number]))
                    await store.fetch(f"{KEY}-{number}")

    asyncio.run(run())
    assert len(list((tmp_path / "cache").iterdir())) == 2


@pytest.fixture
def small_parts(monkeypatch):
    """Send in parts what would go in one piece."""
    monkeypatch.setattr(gateway, "MULTIPART_BYTES", 1 << 20)
    monkeypatch.setattr(multipart, "PART_BYTES", 1 << 20)


@pytest.mark.usefixtures("small_parts")
class TestLarge:
    DATA = os.urandom((3 << 20) + 7)

    @pytest.mark.parametrize(
        "faults",
        [
            pytest.param((), id="nothing"),
            pytest.param(("ok", "ok", "drop"), id="a part"),
            pytest.param(("lost",), id="the answer to the beginning"),
            pytest.param(("ok", "lost", "503"), id="answers to parts"),
            pytest.param(("ok",) * 5 + ("lost",), id="the answer to the end"),
        ],
    )
    @pytest.mark.parametrize("as_file", [False, True], ids=["bytes", "file"])
    def test_arrives_whole_whatever_breaks(self, tmp_path, faults, as_file):
        source = tmp_path / "made"
        source.write_bytes(self.DATA)

        async def check(store):
            if as_file:
                await store.put_file(KEY, source, move=True)
                assert not source.exists()
            else:
                await store.put(KEY, self.DATA)
            assert await store.get(KEY) == self.DATA

        seen = behind(tmp_path, check, *faults)
        parts = [request.query["part"] for request in seen if "part" in request.query]
        assert sorted(set(parts)) == ["1", "2", "3", "4"]
        assert len(parts) <= 4 + len(faults)

    def test_parts_that_arrived_before_are_not_sent_again(self, tmp_path):
        source = tmp_path / "made"
        source.write_bytes(self.DATA)

        async def first(store):
            store._channel._patience = Patience(total_s=0.0)
            with pytest.raises(GatewayUnavailableError):
                await store.put_file(KEY, source)

        async def second(store):
            await store.put_file(KEY, source)
            assert await store.get(KEY) == self.DATA

        behind(tmp_path, first, "ok", "ok", "ok", "503")
        seen = behind(tmp_path, second)
        assert [r.query["part"] for r in seen if "part" in r.query] == ["3", "4"]

    def test_parts_of_another_file_that_begins_alike_do_not_stay(self, tmp_path):
        source = tmp_path / "made"

        async def first(store):
            store._channel._patience = Patience(total_s=0.0)
            with pytest.raises(GatewayUnavailableError):
                await store.put_file(KEY, source)

        async def second(store):
            await store.put_file(KEY, source)
            assert await store.get(KEY) == self.DATA

        source.write_bytes(self.DATA[: 1 << 20] + bytes(len(self.DATA) - (1 << 20)))
        behind(tmp_path, first, "ok", "ok", "ok", "503")
        source.write_bytes(self.DATA)
        behind(tmp_path, second)

    def test_file_arrives_by_an_event_loop_that_has_no_sendfile(self, tmp_path):
        source = tmp_path / "made"
        source.write_bytes(self.DATA)

        async def run():
            server = Gateway(some_settings(tmp_path / "store"))
            async with running(server) as url, a_store(url, tmp_path / "cache") as store:
                await store.put_file(KEY, source)
                assert (tmp_path / "store" / KEY).read_bytes() == self.DATA

        uvloop.run(run())

    @pytest.mark.parametrize("is_said", [True, False], ids=["and why", "without a word"])
    def test_file_is_refused_before_it_is_read(self, tmp_path, is_said):
        """By who hangs up, as a proxy does: what it said is heard all the same."""
        source = tmp_path / "made"
        source.write_bytes(self.DATA)
        said = b"HTTP/1.1 403 No\r\nContent-Length: 7\r\nConnection: close\r\n\r\nbecause"
        error = PermissionDeniedError if is_said else GatewayUnavailableError

        async def refuse(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said if is_said else b"")
            writer.close()

        async def run():
            server = await asyncio.start_server(refuse, "127.0.0.1", 0)
            url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
            async with server, a_store(url, tmp_path / "cache") as store:
                with pytest.raises(error, match="because" if is_said else "connection"):
                    await multipart._send_part(
                        store._channel, KEY, FileSource(source), {"upload": "u", "part": "1"}, 0
                    )

        asyncio.run(run())

    @pytest.mark.parametrize("kind", [BytesSource, FileSource])
    @pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="the kernel does not count")
    def test_gateway_that_takes_nothing_is_given_up(self, tmp_path, kind):
        data = bytes(32 << 20)
        source = tmp_path / "made"
        source.write_bytes(data)
        ended = asyncio.Event()

        async def stand_still(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.pause_reading()
            await ended.wait()
            writer.close()

        async def run():
            server = await asyncio.start_server(stand_still, "127.0.0.1", 0)
            url = "http://{}:{}".format(*server.sockets[0].getsockname()[:2])
            async with server, a_store(url, tmp_path / "cache") as store:
                store._channel._patience = replace(HASTY, silence_s=0.5)
                sent = kind(source if kind is FileSource else data)
                with pytest.raises(GatewayUnavailableError, match="connection timed out"):
                    async with asyncio.timeout(90):
                        await multipart._send_part(
                            store._channel, KEY, sent, {"upload": "u", "part": "1"}, 0
                        )
                ended.set()

        asyncio.run(run())

    def test_goes_in_one_piece_where_parts_do_not_stay_together(self, tmp_path):
        """As behind two replicas, each with a spool of its own."""

        async def run():
            server = Gateway(some_settings(tmp_path / "store"))
            spool = server.shelf.storage.spool
            faults = Faults()
            original = server._uploads.receive

            async def forget(request, allowed):
                if request.query["part"] == "3":
                    for folder in spool.glob("upload-*"):
                        shutil.rmtree(folder)
                return await original(request, allowed)

            server._uploads.receive = forget
            async with (
                running(server, faults) as url,
                a_store(url, tmp_path / "cache") as store,
            ):
                await store.put(KEY, self.DATA)
                assert await store.get(KEY) == self.DATA
            return [request for request in faults.seen if request.method == "PUT"]

        puts = asyncio.run(run())
        assert [request.query.get("part") for request in puts] == ["1", "2", "3"] * 2 + [None]

    def test_is_created_once(self, tmp_path):
        async def check(store):
            await store.put(KEY, self.DATA, if_absent=True)
            with pytest.raises(KeyExistsError):
                await store.put(KEY, self.DATA, if_absent=True)

        behind(tmp_path, check)


class TestOpening:
    def test_url_is_a_gateway(self, tmp_path):
        store = open_store("https://gateway:8080", token_file=a_token, cache=tmp_path)
        assert isinstance(store, GatewayStore)

    @pytest.mark.parametrize("form", ["{}", "file://{}"])
    def test_path_is_a_folder(self, tmp_path, form):
        store = open_store(form.format(tmp_path / "a b"))
        asyncio.run(store.put("k", b"data"))
        assert isinstance(store, DirectoryStore)
        assert (tmp_path / "a b/k").read_bytes() == b"data"

    def test_s3_is_a_bucket(self, tmp_path, monkeypatch):
        monkeypatch.setenv("AWS_REGION", "eu-central-1")
        store = open_store("s3://bucket/prefix", cache=tmp_path)
        assert isinstance(store, ObjectStore)

    @pytest.mark.parametrize("target", ["ftp://host/x", "s3:///prefix"])
    def test_what_is_no_store_says_what_is(self, tmp_path, target):
        with pytest.raises(ValueError, match="s3://bucket/prefix"):
            open_store(target, cache=tmp_path)

    def test_gateway_needs_a_folder_for_what_it_fetches(self):
        with pytest.raises(ValueError, match="cache="):
            open_store("http://gateway:8080")


def test_gateway_is_reached_through_a_proxy_with_headers_of_its_own(tmp_path):
    """As through the API server: another path, and a name that only the proxy wants."""
    faults = Faults()

    async def run():
        server = Gateway(some_settings(tmp_path / "store"))
        async with running(server, faults) as url:
            calls = iter(range(100))
            route = DirectRoute(url + "/", lambda: {"Authorization": f"Bearer {next(calls)}"})
            async with GatewayStore(
                route, token=a_token, cache=tmp_path / "cache", patience=HASTY
            ) as store:
                await store.put(KEY, DATA)
                assert await store.get(KEY) == DATA

    asyncio.run(run())
    assert [request.headers["Authorization"] for request in faults.seen] == ["Bearer 0", "Bearer 1"]
    assert all(deployment.TOKEN_HEADER in request.headers for request in faults.seen)
