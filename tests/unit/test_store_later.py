"""A store that is opened when it is first asked for something."""

import asyncio

import pytest
from geopod.store import KeyMissingError
from geopod.store.later import LaterStore
from geopod.testing import MemoryStore


class Closed(MemoryStore):
    """Counts how often it is opened and closed."""

    def __init__(self):
        super().__init__()
        self.told = []

    async def __aenter__(self):
        self.told.append("opened")
        return self

    async def __aexit__(self, *_):
        self.told.append("closed")


def test_store_is_opened_once_at_first_use_and_closed_at_the_end():
    store = Closed()

    async def story():
        async with LaterStore(lambda: store) as later:
            assert store.told == []
            await later.put("k", b"v")
            assert await later.get("k") == b"v"
            assert store.told == ["opened"]
        assert store.told == ["opened", "closed"]

    asyncio.run(story())


def test_store_that_nobody_asked_is_never_opened():
    async def story():
        async with LaterStore(lambda: pytest.fail("nobody asked")):
            pass

    asyncio.run(story())


def test_store_that_breaks_in_use_is_closed():
    store = Closed()

    async def story():
        async with LaterStore(lambda: store) as later:
            await later.get("missing")

    with pytest.raises(KeyMissingError):
        asyncio.run(story())
    assert store.told == ["opened", "closed"]
