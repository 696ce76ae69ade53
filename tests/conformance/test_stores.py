"""Stores of every kind keep the same promises: the double and one opened later among them."""

import asyncio
import os
import stat

import pytest
from geopod.store import KeyExistsError, KeyMissingError
from store_builders import UID, opened

KINDS = ["directory", "bucket", "gateway", "memory", "later"]
REAL = ["directory", "bucket", "gateway"]
NO_KEYS = ["", "/etc/passwd", "a//b", "a/../b", "..", "./a", "a/", "a\0b"]


def with_store(kind, folder, check):
    """Run a check with an empty store."""

    async def run():
        async with opened(kind, folder) as store:
            return await check(store)

    return asyncio.run(run())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [0, 1000, (4 << 20) + 1], ids=["empty", "small", "large"])
def test_what_was_put_is_read_back(kind, tmp_path, size):
    data = os.urandom(size)

    async def check(store):
        await store.put(f"{UID}/runs/1/value", data)
        assert await store.get(f"{UID}/runs/1/value") == data
        assert (await store.fetch(f"{UID}/runs/1/value")).read_bytes() == data
        assert await store.exists(f"{UID}/runs/1/value")

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_every_range_is_what_a_slice_is(kind, tmp_path):
    data = bytes(range(10))
    spans = [(0, None), (3, None), (3, 4), (0, 1), (8, 5), (20, 5), (10, None), (4, 0)]

    async def check(store):
        await store.put(f"{UID}/k", data)
        for start, length in spans:
            end = None if length is None else start + length
            got = await store.get(f"{UID}/k", start=start, length=length)
            assert got == data[start:end], (start, length)

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_range_of_an_empty_object_is_empty(kind, tmp_path):
    async def check(store):
        await store.put(f"{UID}/k", b"")
        assert await store.get(f"{UID}/k", start=0, length=10) == b""

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_if_absent_creates_once_and_says_that_it_lost(kind, tmp_path):
    async def check(store):
        await store.put(f"{UID}/k", b"first", if_absent=True)
        with pytest.raises(KeyExistsError):
            await store.put(f"{UID}/k", b"first", if_absent=True)
        assert await store.get(f"{UID}/k") == b"first"

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_of_many_writers_one_creates(kind, tmp_path):
    async def attempt(store, number):
        try:
            await store.put(f"{UID}/k", str(number).encode(), if_absent=True)
        except KeyExistsError:
            return None
        return number

    async def check(store):
        answers = await asyncio.gather(*(attempt(store, number) for number in range(12)))
        winners = [number for number in answers if number is not None]
        assert len(winners) == 1
        assert await store.get(f"{UID}/k") == str(winners[0]).encode()

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_put_replaces_a_value_whole_also_for_readers_that_fetched_it(kind, tmp_path):
    async def check(store):
        for value in (b"a long first value", b"short", b"other"):
            await store.put(f"{UID}/k", value)
            assert await store.get(f"{UID}/k") == value
            assert (await store.fetch(f"{UID}/k")).read_bytes() == value

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_there_is_key_missing(kind, tmp_path):
    async def check(store):
        await store.put(f"{UID}/folder/k", b"x")
        for key in (f"{UID}/none", f"{UID}/folder"):
            assert not await store.exists(key)
            with pytest.raises(KeyMissingError):
                await store.get(key)
            with pytest.raises(KeyMissingError):
                await store.fetch(key)

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_names_are_all_keys_below_a_folder_and_no_other(kind, tmp_path):
    keys = [f"{UID}/runs/1/{name}" for name in ("a", "b/c", "b-d")]

    async def check(store):
        assert await store.names(f"{UID}/runs/1/") == []
        for key in [*keys, f"{UID}/runs/10/x", f"{UID}/runs/1x"]:
            await store.put(key, b"")
        assert await store.names(f"{UID}/runs/1/") == sorted(keys)

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
def test_delete_takes_a_key_or_a_folder_and_no_more(kind, tmp_path):
    async def check(store):
        for name in ("runs/1/a", "runs/1/b/c", "runs/10/x", "runs/1x"):
            await store.put(f"{UID}/{name}", b"1")
        await store.delete(f"{UID}/runs/1/")
        await store.delete(f"{UID}/runs/1x")
        await store.delete(f"{UID}/runs/none")
        await store.delete(f"{UID}/none/")
        assert await store.names(f"{UID}/") == [f"{UID}/runs/10/x"]

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", REAL)
@pytest.mark.parametrize("key", NO_KEYS)
def test_what_is_no_key_is_refused_before_anything_happens(kind, tmp_path, key):
    async def check(store):
        with pytest.raises(ValueError, match="is no key"):
            await store.put(key, b"")
        with pytest.raises(ValueError, match="is no key"):
            await store.get(key)

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("move", [False, True], ids=["copied", "moved"])
@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_a_file_becomes_an_object(kind, tmp_path, size, move):
    source = tmp_path / "made"
    data = os.urandom(size)
    source.write_bytes(data)

    async def check(store):
        await store.put_file(f"{UID}/k", source, move=move)
        assert await store.get(f"{UID}/k") == data
        assert source.exists() != move

    with_store(kind, tmp_path, check)


@pytest.mark.parametrize("kind", REAL)
def test_fetched_file_cannot_be_written(kind, tmp_path):
    async def check(store):
        await store.put(f"{UID}/k", b"data")
        mode = (await store.fetch(f"{UID}/k")).stat().st_mode
        assert stat.S_IMODE(mode) & 0o222 == 0

    with_store(kind, tmp_path, check)
