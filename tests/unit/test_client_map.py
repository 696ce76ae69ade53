"""A map that cannot be one is refused where it is called, as the built-in does."""

from __future__ import annotations

import sys

import geopod
import pytest
from geopod.client import aio, sync
from geopod.client.loop import shared_loop
from geopod.errors import InvalidInputError
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


def plain(value):
    return value


@pytest.fixture
def backend():
    return ScriptedBackend([1, 1], python=PYTHON)


@pytest.fixture
def client(backend):
    return sync.Client(aio.Client(backend), shared_loop())


@pytest.mark.parametrize("kind", [InvalidInputError, TypeError])
def test_map_without_iterables_is_refused_at_the_call(backend, client, kind):
    env = client.environment(progress=False)
    with pytest.raises(kind, match="map\\(\\) was given no iterable"):
        env.map(plain)
    assert not backend.orders


WRONG = [
    ({"order": "x"}, InvalidInputError, "order='x' is none of input, completed"),
    ({"errors": "x"}, InvalidInputError, "errors='x' is none of raise, return, skip"),
    ({"tag": "x"}, TypeError, "map() got an unexpected keyword argument 'tag'"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG, ids=["order", "errors", "unknown"])
def test_wrong_option_of_a_map_is_refused_before_anything_is_sent(
    backend, client, options, kind, words
):
    env = client.environment(progress=False)
    with pytest.raises(kind) as caught:
        env.map(plain, [1, 2], **options)
    assert words in str(caught.value)
    assert not backend.orders


def test_what_is_no_iterable_is_refused_at_the_call(client):
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        client.environment(progress=False).map(plain, 3)


@pytest.mark.parametrize("arguments", [[], [()]])
def test_map_over_nothing_yields_nothing(client, arguments):
    remote = geopod.function(plain).with_options(client=client)
    assert list(remote.starmap(arguments)) == []
    assert list(client.environment(progress=False).map(plain, [])) == []
