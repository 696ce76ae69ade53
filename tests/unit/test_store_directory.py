"""The directory store keeps the Store protocol; a folder on disk is the oracle."""

import asyncio
import os
import stat
from pathlib import Path

import pytest
from geopod.store import KeyExistsError, KeyMissingError, Store
from geopod.store.directory import INLINE_BYTES, DirectoryStore
from geopod.store.spare import MAKE_AFTER_S, SpareFile

SIZES = [
    pytest.param(0, id="nothing"),
    pytest.param(1000, id="small, written inline"),
    pytest.param(INLINE_BYTES + 1, id="large, written in a thread"),
]
NO_KEYS = ["", "/etc/passwd", "a//b", "a/../b", "..", "./a", "a/", "a\0b", ".part/x"]


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fsync", [False, True], ids=["lazy", "fsync"])
def test_what_was_put_is_read_back_and_lies_in_one_file(tmp_path: Path, size: int, *, fsync: bool):
    store: Store = DirectoryStore(tmp_path, fsync=fsync)
    data = os.urandom(size)

    async def put_and_get() -> bytes:
        await store.put("uid/runs/1/x", data)
        return await store.get("uid/runs/1/x")

    assert asyncio.run(put_and_get()) == data
    assert (tmp_path / "uid/runs/1/x").read_bytes() == data
    assert list((tmp_path / ".part").iterdir()) == []


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [
        pytest.param(0, None, b"0123456789", id="all"),
        pytest.param(3, None, b"3456789", id="from an offset"),
        pytest.param(3, 4, b"3456", id="a range"),
        pytest.param(8, 5, b"89", id="a range over the end"),
        pytest.param(20, 5, b"", id="a range behind the end"),
    ],
)
def test_a_range_is_read(store: DirectoryStore, start: int, length: int | None, expected: bytes):
    asyncio.run(store.put("k", b"0123456789"))
    assert asyncio.run(store.get("k", start=start, length=length)) == expected


def test_if_absent_creates_once_and_says_that_it_lost(store: DirectoryStore):
    asyncio.run(store.put("a/k", b"first", if_absent=True))
    with pytest.raises(KeyExistsError):
        asyncio.run(store.put("a/k", b"second", if_absent=True))
    assert asyncio.run(store.get("a/k")) == b"first"
    assert asyncio.run(store.names("")) == ["a/k"]


def test_put_replaces_a_value_whole(store: DirectoryStore):
    asyncio.run(store.put("k", b"a long first value"))
    asyncio.run(store.put("k", b"short"))
    assert asyncio.run(store.get("k")) == b"short"


@pytest.mark.parametrize("key", ["none", "folder", "file/below"])
def test_nothing_there_is_key_missing(store: DirectoryStore, key: str):
    asyncio.run(store.put("folder/k", b""))
    asyncio.run(store.put("file", b""))
    assert not asyncio.run(store.exists(key))
    with pytest.raises(KeyMissingError):
        asyncio.run(store.get(key))
    with pytest.raises(KeyMissingError):
        asyncio.run(store.fetch(key))


@pytest.mark.parametrize("key", NO_KEYS)
def test_a_key_that_could_leave_the_folder_is_refused(store: DirectoryStore, key: str):
    with pytest.raises(ValueError, match="is no key"):
        asyncio.run(store.put(key, b""))
    with pytest.raises(ValueError, match="is no key"):
        asyncio.run(store.get(key))


@pytest.mark.parametrize("move", [False, True], ids=["copied", "moved"])
def test_a_file_becomes_an_object_that_nobody_may_write(
    tmp_path: Path,
    store: DirectoryStore,
    *,
    move: bool,
):
    source = tmp_path / "result.tif"
    source.write_bytes(b"pixels")
    asyncio.run(store.put_file("a/b/result.tif", source, move=move))
    assert source.exists() is not move
    stored = asyncio.run(store.fetch("a/b/result.tif"))
    assert stored.read_bytes() == b"pixels"
    assert stat.S_IMODE(stored.stat().st_mode) == 0o444


def test_names_below_a_prefix_are_sorted_and_complete(store: DirectoryStore):
    keys = ["e/m/2", "e/m/10", "e/m/1", "e/x", "f/y"]
    for key in keys:
        asyncio.run(store.put(key, b""))
    assert asyncio.run(store.names("e/m/")) == ["e/m/1", "e/m/10", "e/m/2"]
    assert asyncio.run(store.names("e/")) == ["e/m/1", "e/m/10", "e/m/2", "e/x"]
    assert asyncio.run(store.names("none/")) == []


def test_delete_takes_one_key_or_a_whole_prefix_and_nothing_else(store: DirectoryStore):
    for key in ["e/m/1", "e/m/2", "e/n", "f"]:
        asyncio.run(store.put(key, b""))
    asyncio.run(store.delete("e/n"))
    asyncio.run(store.delete("e/none"))
    asyncio.run(store.delete("e/m/"))
    assert asyncio.run(store.names("")) == ["f"]


def test_two_stores_over_one_folder_race_for_a_key_and_one_wins(tmp_path: Path):
    stores = [DirectoryStore(tmp_path) for _ in range(8)]

    async def claim(store: DirectoryStore, number: int) -> int | None:
        try:
            await store.put("epoch", bytes([number]), if_absent=True)
        except KeyExistsError:
            return None
        return number

    async def race() -> list[int | None]:
        return await asyncio.gather(*(claim(store, number) for number, store in enumerate(stores)))

    winners = [number for number in asyncio.run(race()) if number is not None]
    assert len(winners) == 1
    assert (tmp_path / "epoch").read_bytes() == bytes(winners)


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="Linux makes files without names")
def test_objects_are_created_of_a_file_that_stands_by(tmp_path: Path):
    root = tmp_path / "store"
    made = DirectoryStore(root)

    async def create_all() -> None:
        for name in ("first", "below/second", "below/third"):
            await made.put(name, name.encode(), if_absent=True)
            with pytest.raises(KeyExistsError):
                await made.put(name, b"late", if_absent=True)
            await asyncio.sleep(2 * MAKE_AFTER_S)  # the file is made meanwhile, or not yet

    asyncio.run(create_all())
    assert asyncio.run(made.names("")) == ["below/second", "below/third", "first"]
    for name in ("first", "below/second", "below/third"):
        assert (root / name).read_text() == name
        assert stat.S_IMODE((root / name).stat().st_mode) & 0o222 == 0
    assert list((root / ".part").iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="Linux makes files without names")
def test_a_file_that_stands_by_is_made_once_and_given_up_with_its_store(tmp_path: Path):
    async def take_twice() -> list[int | None]:
        spare = SpareFile(str(tmp_path), 0o444)
        spare.make_soon()
        spare.make_soon()
        await asyncio.sleep(MAKE_AFTER_S)  # a timer that was set earlier: it is called before
        return [spare.take(), spare.take()]

    descriptor, another = asyncio.run(take_twice())
    assert descriptor is not None
    assert another is None
    os.close(descriptor)
    assert list(tmp_path.iterdir()) == []


def test_no_file_stands_by_where_it_could_never_get_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("geopod.store.spare.DESCRIPTORS", str(tmp_path / "absent"))
    store = DirectoryStore(tmp_path / "store")

    async def create() -> int | None:
        await store.put("one", b"1", if_absent=True)
        spare = SpareFile(str(tmp_path), 0o444)
        spare.make_soon()
        await asyncio.sleep(MAKE_AFTER_S)  # a timer that was set earlier: it is called before
        await store.put("two", b"2", if_absent=True)
        return spare.take()

    assert asyncio.run(create()) is None
    assert asyncio.run(store.names("")) == ["one", "two"]
