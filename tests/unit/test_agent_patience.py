"""How long an agent waits for its store, by what the store says."""

import asyncio

import pytest
from geopod.agent import patience
from geopod.agent.patience import until_served
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.store.refusals import refusal

AWAY = GatewayUnavailableError.no_answer(route="gateway", timeout_s=90, tries=9)
EXPIRED = refusal("PUT", "k", 401, "Expired", ours=True)
NARROW = refusal("PUT", "k", 403, "NotPermitted", ours=True)
TOO_LARGE = refusal("PUT", "k", 413, "TooLarge", ours=True)
BUSY = RateLimitedError.slow_down(retry_after_s=0)
FULL = OSError("no room")


def asked(*troubles, lease_s=0.0):
    """How often a store was asked that has these troubles first, and whether it served."""
    left, count = list(troubles), 0

    async def ask():
        nonlocal count
        count += 1
        if left:
            raise left.pop(0)

    try:
        asyncio.run(until_served(ask, "it waits", lease_s=lease_s))
    except patience.TROUBLES:
        return count, False
    return count, True


@pytest.fixture
def no_patience(monkeypatch):
    monkeypatch.setattr(patience, "STORE_PATIENCE_S", -1.0)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(patience, "STORE_PAUSE_S", (0.0, 0.0))


@pytest.mark.parametrize("trouble", [AWAY, EXPIRED, NARROW, BUSY, FULL], ids=str)
def test_trouble_that_passes_is_waited_for(trouble):
    assert asked(trouble, trouble) == (3, True)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("trouble", [AWAY, EXPIRED, NARROW, BUSY, FULL], ids=str)
def test_trouble_that_lasts_is_told_in_the_end(trouble):
    assert asked(trouble, trouble, lease_s=-1.0) == (1, False)


@pytest.mark.usefixtures("no_patience")
def test_refused_token_is_waited_for_as_long_as_the_lease_lasts():
    assert asked(EXPIRED, EXPIRED, lease_s=3600.0) == (3, True)
    assert asked(AWAY, lease_s=3600.0) == (1, False)


def test_what_the_store_never_takes_is_told_at_once():
    assert asked(TOO_LARGE) == (1, False)


def test_pause_that_the_store_asks_for_is_kept():
    longer = RateLimitedError.slow_down(retry_after_s=patience.STORE_PATIENCE_S + 1)
    assert asked(longer) == (1, False)
