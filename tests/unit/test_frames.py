"""Frames on Unix sockets: cut, sent at once, told in order, and what no frame can be."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from geopod.process.frames import FrameReader, FrameServer, FrameWire, dial_frames, frame

LIMIT = 1 << 20
PATIENCE_S = 60.0


class Listener:
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard_all: list[bytes] = []
        self.news = asyncio.Event()
        self.ended = asyncio.Event()
        self.wire: FrameWire

    def opened(self, wire):
        self.wire = wire

    def heard(self, message):
        if message == b"nonsense":
            raise ValueError("no message")
        self.heard_all.append(message)
        self.news.set()

    def closed(self):
        self.ended.set()

    async def until(self, count):
        async with asyncio.timeout(PATIENCE_S):
            while len(self.heard_all) < count:
                self.news.clear()
                await self.news.wait()


@contextlib.asynccontextmanager
async def a_pair():
    """Both ends of one connection."""
    ends = socket.socketpair()
    listeners = Listener(), Listener()
    wires = [FrameWire(end, who, limit=LIMIT) for end, who in zip(ends, listeners, strict=True)]
    try:
        yield listeners
    finally:
        for wire in wires:
            wire.abort()
        await asyncio.sleep(0)


def play(story):
    asyncio.run(story())


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_messages_are_whole_however_the_stream_is_cut(step):
    messages = [b"", b"a", b"bc" * 20]
    stream = b"".join(map(frame, messages))
    reader = FrameReader(LIMIT)
    found = []
    for at in range(0, len(stream), step):
        found += reader.feed(stream[at : at + step])
    assert found == messages


def test_a_length_over_the_limit_is_no_frame():
    with pytest.raises(ValueError, match="the limit is 10"):
        FrameReader(10).feed(frame(b"x" * 11))


def test_messages_arrive_in_order_however_large():
    async def story():
        async with a_pair() as (near, far):
            sent = [bytes([number]) * size for number, size in enumerate((1, LIMIT, 5, LIMIT, 0))]
            for message in sent:
                near.wire.send(message)
            assert near.wire.unsent > 0  # a socket holds less
            await far.until(len(sent))
            assert far.heard_all == sent
            assert near.wire.unsent == 0

    play(story)


def test_what_was_sent_arrives_before_the_end():
    async def story():
        async with a_pair() as (near, far):
            near.wire.send(b"x" * LIMIT)
            near.wire.close()
            near.wire.send(b"too late")
            async with asyncio.timeout(PATIENCE_S):
                await far.ended.wait()
                await near.ended.wait()
            assert far.heard_all == [b"x" * LIMIT]

    play(story)


def test_flush_waits_until_the_other_side_has_read():
    async def story():
        async with a_pair() as (near, far):
            near.wire.send(b"x" * LIMIT)
            async with asyncio.timeout(PATIENCE_S):
                await near.wire.flush()
            assert near.wire.unsent == 0
            await far.until(1)

    play(story)


def test_a_wire_that_brings_nonsense_is_closed_and_its_end_is_told_once():
    async def story():
        async with a_pair() as (near, far):
            near.wire.send(b"nonsense")
            near.wire.send(b"after")
            async with asyncio.timeout(PATIENCE_S):
                await far.ended.wait()
                await near.ended.wait()
            assert far.heard_all == []

    play(story)


def test_a_server_makes_a_wire_of_each_connection_until_it_closes(tmp_path):
    async def story():
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.settimeout(0)
        listeners, came = [], asyncio.Event()

        def welcome():
            listeners.append(Listener())
            came.set()
            return listeners[-1]

        server = FrameServer(listening, welcome, limit=LIMIT)
        dialled = Listener()
        wire = dial_frames(str(tmp_path / "s"), dialled, limit=LIMIT)
        async with asyncio.timeout(PATIENCE_S):
            await came.wait()
        wire.send(b"hello")
        await listeners[0].until(1)
        server.close()
        with pytest.raises(OSError, match="refused"):
            dial_frames(str(tmp_path / "s"), Listener(), limit=LIMIT)
        wire.close()
        async with asyncio.timeout(PATIENCE_S):
            await listeners[0].ended.wait()

    play(story)
