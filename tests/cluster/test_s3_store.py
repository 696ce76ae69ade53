"""Buckets of a real S3 server: the store over them, and the gateway over that. No cluster needed.

The server is the test cluster's own (versitygw), one for this file, on a free port of this machine.
"""

import asyncio
import hashlib
import os

import aiohttp
import pytest
from cluster.s3_builders import s3_server
from geopod.api import deployment
from geopod.store import KeyExistsError, KeyMissingError, open_store
from geopod.store.objects import PART_BYTES, BucketError, ObjectStore
from geopod_gateway.app import Gateway
from store_builders import UID, a_store, running, some_settings


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    root = tmp_path_factory.mktemp("s3") / "buckets"
    (root / "geopod").mkdir(parents=True)
    with s3_server(root) as server:
        yield server


@pytest.fixture
def access(server, monkeypatch):
    """Set what a pod's Secret would set."""
    for name, value in {**server.keys, "AWS_ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def store(access, tmp_path):
    """Return a store over a prefix of its own."""
    store = open_store(f"s3://geopod/{tmp_path.name}", cache=tmp_path / "cache")
    assert isinstance(store, ObjectStore)
    return store


def test_what_was_put_is_read_back_listed_and_deleted(store):
    keys = [f"{UID}/runs/1/{name}" for name in ("a", "b/c", "b-d")]

    async def check():
        for key in [*keys, f"{UID}/runs/10/x", f"{UID}/runs/1x"]:
            await store.put(key, key.encode())
        assert await store.get(keys[1]) == keys[1].encode()
        assert (await store.fetch(keys[1])).read_bytes() == keys[1].encode()
        assert await store.exists(keys[0])
        assert await store.names(f"{UID}/runs/1/") == sorted(keys)
        await store.delete(f"{UID}/runs/1/")
        await store.delete(f"{UID}/runs/none/")
        await store.delete(f"{UID}/runs/none")
        assert await store.names(f"{UID}/") == [f"{UID}/runs/10/x", f"{UID}/runs/1x"]
        for ask in (store.get, store.fetch):
            with pytest.raises(KeyMissingError):
                await ask(keys[0])
        assert not await store.exists(keys[0])

    asyncio.run(check())


def test_every_range_is_what_a_slice_is(store):
    data = bytes(range(10))

    async def check():
        await store.put("k", data)
        await store.put("empty", b"")
        for start, length in ((0, None), (3, None), (3, 4), (8, 5), (20, 5), (10, None), (4, 0)):
            end = None if length is None else start + length
            got = await store.get("k", start=start, length=length)
            assert got == data[start:end], (start, length)
        assert await store.get("empty", start=0, length=5) == b""

    asyncio.run(check())


def test_of_many_writers_one_creates(store):
    async def attempt(number):
        try:
            await store.put("k", str(number).encode(), if_absent=True)
        except KeyExistsError:
            return None
        return number

    async def check():
        winners = await asyncio.gather(*(attempt(number) for number in range(8)))
        [winner] = [number for number in winners if number is not None]
        assert await store.get("k") == str(winner).encode()

    asyncio.run(check())


def test_large_file_goes_and_comes_in_parts_with_what_is_known_of_it(store, tmp_path):
    data = os.urandom(2 * PART_BYTES + 77)
    source = tmp_path / "made"
    source.write_bytes(data)

    async def check():
        await store.put_file("k", source, move=True, facts={"sha256": "a" * 64})
        assert not source.exists()
        assert (await store.facts("k")).digest == "a" * 64
        assert (await store.fetch("k")).read_bytes() == data

    asyncio.run(check())


def test_listing_is_complete_over_many_answers(store):
    async def check():
        await asyncio.gather(*(store.put(f"many/{n:04d}", b"") for n in range(1100)))
        assert len(await store.names("many/")) == 1100
        await store.delete("many/")
        assert await store.names("many/") == []

    asyncio.run(check())


@pytest.mark.parametrize(
    "changed", [{"AWS_SECRET_ACCESS_KEY": "wrong"}, {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}]
)
def test_bucket_that_refuses_or_is_away_is_no_missing_key(access, monkeypatch, tmp_path, changed):
    from obstore.store import from_url

    for name, value in changed.items():
        monkeypatch.setenv(name, value)
    retry = {"max_retries": 0}
    bucket = from_url("s3://geopod/x", retry_config=retry)
    store = ObjectStore(bucket, cache=tmp_path)
    with pytest.raises(BucketError):
        asyncio.run(store.get("k"))


class TestGatewayOverABucket:
    @pytest.fixture
    def gateway(self, access, tmp_path):
        target = f"s3://geopod/gateway-{tmp_path.name}"
        return Gateway(some_settings(target, spool=tmp_path / "spool"))

    def served(self, gateway, tmp_path, check):
        async def run():
            async with running(gateway) as url, a_store(url, tmp_path / "cache") as store:
                await check(store, url)

        asyncio.run(run())

    def test_objects_are_checked_kept_and_streamed(self, gateway, tmp_path):
        data = os.urandom(5 << 20)
        key = f"{UID}/runs/1/value"

        async def check(store, _url):
            await store.put(key, data)
            assert await store.get(key) == data
            assert await store.get(key, start=100, length=1 << 20) == data[100 : 100 + (1 << 20)]
            assert (await store.fetch(key)).read_bytes() == data
            assert await store.describe(key) == (len(data), hashlib.sha256(data).hexdigest())
            assert await store.names(f"{UID}/") == [key]
            await store.delete(f"{UID}/")
            with pytest.raises(KeyMissingError):
                await store.get(key)

        self.served(gateway, tmp_path, check)
        assert list((tmp_path / "spool").iterdir()) == []

    def test_first_writer_may_repeat_itself_and_nobody_else_wins(self, gateway, tmp_path):
        async def check(store, url):
            await store.put(f"{UID}/k", b"", if_absent=True)
            with pytest.raises(KeyExistsError):
                await store.put(f"{UID}/k", b"", if_absent=True)
            statuses = []
            async with aiohttp.ClientSession() as session:
                for writer in ("a" * 16, "a" * 16, "b" * 16):
                    headers = {
                        "If-None-Match": "*",
                        deployment.WRITER_HEADER: writer,
                        deployment.TOKEN_HEADER: store._channel._token(),
                    }
                    where = f"{url}{deployment.OBJECTS_PATH}{UID}/second"
                    async with session.put(where, data=b"", headers=headers) as answer:
                        statuses.append(answer.status)
            assert statuses == [201, 201, 412]

        self.served(gateway, tmp_path, check)

    def test_upload_in_parts_becomes_one_object(self, gateway, tmp_path, monkeypatch):
        from geopod.store import gateway as client
        from geopod.store import multipart

        monkeypatch.setattr(client, "MULTIPART_BYTES", 1 << 20)
        monkeypatch.setattr(multipart, "PART_BYTES", 1 << 20)
        data = os.urandom((20 << 20) + 3)
        source = tmp_path / "made"
        source.write_bytes(data)

        async def check(store, _url):
            await store.put_file(f"{UID}/k", source)
            assert (await store.fetch(f"{UID}/k")).read_bytes() == data

        self.served(gateway, tmp_path, check)
        assert list((tmp_path / "spool").iterdir()) == []
