"""The WebSocket that a pod's agent dials, where nobody answers."""

import asyncio
import contextlib
import socket

import pytest
from geopod.agent import websocket


class Nobody:
    """A listener that hears nothing."""


@contextlib.contextmanager
def a_black_hole():
    """An address that takes no connection and refuses none, like a Service's lost pod."""
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(4):  # more than the kernel keeps for somebody who never accepts
            dialled = waiting.enter_context(socket.socket())
            dialled.settimeout(0)
            dialled.connect_ex(full.getsockname())
        yield "ws://{}:{}/v1".format(*full.getsockname())


def test_dial_that_nobody_takes_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(websocket, "DIAL_WITHIN_S", 0.1)

    async def dial(url):
        async with asyncio.timeout(20):  # the kernel alone tries for longer
            await websocket.converse(url, Nobody())

    with a_black_hole() as url, pytest.raises((ConnectionError, TimeoutError)) as raised:
        asyncio.run(dial(url))
    assert "timeout" in str(raised.value)
