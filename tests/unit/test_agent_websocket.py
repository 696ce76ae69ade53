"""The WebSocket that a pod's agent dials: what it takes, what it refuses, how it ends."""

import asyncio
import base64
import contextlib
import hashlib
import os
import socket

import pytest
import uvloop
from aiohttp import WSMsgType, web
from geopod.agent import websocket
from geopod.agent.dial import CoordinatorLink
from geopod.api.messages import MAX_MESSAGE_BYTES

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Of every WebSocket: RFC 6455, §1.3."""
CONTINUED, TEXT, BINARY, CLOSE, PING = 0, 1, 2, 8, 9
"""Kinds of frames: RFC 6455, §5.2."""
LIMIT = 1 << 20
LENGTHS = (0, 1, 125, 126, 65535, 65536, LIMIT)
"""On both sides of each way to say a length."""


class Listener:
    """Keeps what it is told; `says` answers each message."""

    def __init__(self, says=lambda wire, message: None):
        self.told, self.wire = [], None
        self._says = says

    def opened(self, wire):
        self.wire = wire
        self.told.append("opened")

    def heard(self, message):
        self.told.append(message)
        self._says(self.wire, message)

    def closed(self):
        self.told.append("closed")


def a_library_that_serves(talk, **options):
    """aiohttp's WebSocket server, which runs `talk` with each connection; yields its URL."""

    async def serve(request):
        ours = web.WebSocketResponse(**{"protocols": ("geopod.v1",), "max_msg_size": 0, **options})
        await ours.prepare(request)
        await talk(ours)
        return ours

    return a_library_that(serve)


@contextlib.asynccontextmanager
async def a_library_that(serve):
    """aiohttp's server of one handler; yields its URL."""
    runner = web.ServerRunner(web.Server(serve))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield "ws://{}:{}/v1".format(*runner.addresses[0])
    finally:
        await runner.cleanup()


def accepted(key, protocol=b"geopod.v1"):
    accept = base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade"
        b"\r\nSec-WebSocket-Accept: " + accept
        + b"\r\nSec-WebSocket-Protocol: " + protocol + b"\r\n\r\n"
    )  # fmt: skip  # as it goes over the wire


@contextlib.asynccontextmanager
async def a_server_that_sends(after_handshake=b"", *, head=accepted):
    """A server of these bytes behind its side of the handshake; yields its URL."""

    async def serve(reader, writer):
        asked = await reader.readuntil(b"\r\n\r\n")
        key = asked.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
        writer.write(head(key) + after_handshake)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield "ws://{}:{}/v1".format(*server.sockets[0].getsockname())


def unmasked(opcode, payload, *, final=True):
    """A server's frame of less than 126 bytes."""
    return bytes(((0x80 if final else 0) | opcode, len(payload))) + payload


def play(story):
    return uvloop.run(asyncio.wait_for(story, 60))


# ---- beside a library


def test_messages_of_every_length_come_back_as_they_were_sent():
    sent = [os.urandom(length) for length in LENGTHS]

    async def echo(ours):
        async for message in ours:
            await ours.send_bytes(message.data)

    class Talker(Listener):
        def opened(self, wire):
            super().opened(wire)
            for message in sent:
                wire.send(message)

        def heard(self, message):
            super().heard(message)
            if len(self.told) > len(sent):
                self.wire.close()

    async def story(listener):
        async with a_library_that_serves(echo) as url:
            await websocket.converse(url, listener)

    listener = Talker()
    play(story(listener))
    assert listener.told == ["opened", *sent, "closed"]


def test_what_was_sent_before_the_end_has_arrived():
    arrived = []

    async def gather(ours):
        arrived.extend([message.data async for message in ours if message.type is WSMsgType.BINARY])

    class Awaited(Listener):
        def __init__(self):
            super().__init__()
            self.open = asyncio.Future()

        def opened(self, wire):
            self.open.set_result(wire)

    async def story():
        async with a_library_that_serves(gather) as url, asyncio.TaskGroup() as tasks:
            listener = Awaited()
            tasks.create_task(websocket.converse(url, listener))
            wire = await listener.open
            for _ in range(8):
                wire.send(bytes(LIMIT))
            await wire.flush()
            wire.close()
            wire.send(b"too late")

    play(story())
    assert [len(message) for message in arrived] == [LIMIT] * 8


def test_server_that_asks_whether_we_live_is_answered():
    answered = []

    async def ask(ours):
        await ours.ping(b"there?")
        answered.append(await ours.receive())
        await ours.close()

    async def story():
        async with a_library_that_serves(ask, autoping=False) as url:
            await websocket.converse(url, Listener())

    play(story())
    assert [(it.type, bytes(it.data)) for it in answered] == [(WSMsgType.PONG, b"there?")]


def test_server_that_says_goodbye_ends_the_conversation():
    async def part(ours):
        await ours.send_bytes(b"last")
        await ours.close()

    async def story(listener):
        async with a_library_that_serves(part) as url:
            await websocket.converse(url, listener)

    listener = Listener()
    play(story(listener))
    assert listener.told == ["opened", b"last", "closed"]


def test_server_that_says_goodbye_and_reads_no_more_is_left(monkeypatch):
    monkeypatch.setattr(websocket, "LINGER_S", 0.1)

    class Lavish(Listener):
        def opened(self, wire):
            super().opened(wire)
            for _ in range(32):
                wire.send(bytes(LIMIT))

    async def story(listener):
        over = asyncio.Event()

        async def part(reader, writer):
            asked = await reader.readuntil(b"\r\n\r\n")
            key = asked.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
            writer.write(accepted(key))
            await reader.readexactly(1)
            writer.transport.pause_reading()
            writer.write(unmasked(CLOSE, b""))
            await over.wait()
            writer.transport.abort()

        server = await asyncio.start_server(part, "127.0.0.1", 0)
        async with server:
            url = "ws://{}:{}/v1".format(*server.sockets[0].getsockname())
            await websocket.converse(url, listener)
            over.set()

    listener = Lavish()
    play(story(listener))
    assert listener.told == ["opened", "closed"]


def test_address_that_is_none_is_told():
    with pytest.raises(ValueError, match="isn't a valid URI"):
        play(websocket.converse("http://coordinator:7420/v1", Listener()))


def test_server_of_another_protocol_is_left():
    async def wait(ours):
        await ours.receive()

    async def story():
        async with a_library_that_serves(wait, protocols=("another.v1",)) as url:
            await websocket.converse(url, Listener())

    with pytest.raises(ValueError, match=r"does not speak geopod\.v1"):
        play(story())


# ---- byte by byte


def hang_up(wire, _message):
    wire._transport.abort()


async def told_of(data, listener):
    async with a_server_that_sends(data) as url:
        await websocket.converse(url, listener)


@pytest.mark.parametrize("step", [1, 2, 3, 64])
def test_message_in_pieces_is_whole_and_may_be_interrupted_by_a_ping(step):
    pieces = (
        unmasked(BINARY, b"one ", final=False)
        + unmasked(PING, b"")
        + unmasked(CONTINUED, b"two ", final=False)
        + unmasked(CONTINUED, b"three")
    )

    async def send(request):
        ours = web.WebSocketResponse(protocols=("geopod.v1",))
        await ours.prepare(request)
        for at in range(0, len(pieces), step):
            request.transport.write(pieces[at : at + step])
            await asyncio.sleep(0)
        await ours.receive()
        return ours

    async def story(listener):
        async with a_library_that(send) as url:
            await websocket.converse(url, listener)

    listener = Listener(says=hang_up)
    play(story(listener))
    assert listener.told == ["opened", b"one two three", "closed"]


@pytest.mark.parametrize(
    "data",
    [
        b"\x82\x7f" + (MAX_MESSAGE_BYTES + 1).to_bytes(8, "big"),
        unmasked(CONTINUED, b"of nothing"),
        unmasked(BINARY, b"begun", final=False) + unmasked(BINARY, b"another"),
        b"\x82\x81\x00\x00\x00\x00x",
        b"\xc2\x00",
        b"\x83\x00",
        unmasked(TEXT, b"words"),
    ],
    ids=["too long", "continues nothing", "interrupts", "masked", "compressed", "unknown", "text"],
)
def test_stream_that_is_no_servers_is_refused(data):
    listener = Listener()
    with pytest.raises(ValueError, match=r"fram|opcode|bits|masking|messages are bytes"):
        play(told_of(data, listener))
    assert listener.told == ["opened", "closed"]


def test_message_that_grows_over_the_limit_piece_by_piece_is_refused(monkeypatch):
    monkeypatch.setattr(websocket, "MAX_MESSAGE_BYTES", 100)
    pieces = unmasked(BINARY, bytes(60), final=False) + unmasked(CONTINUED, bytes(60))
    listener = Listener()
    with pytest.raises(ValueError, match="limit of 100 bytes"):
        play(told_of(pieces, listener))
    assert listener.told == ["opened", "closed"]


def test_server_that_takes_us_and_says_goodbye_at_once_is_heard():
    listener = Listener()
    play(told_of(unmasked(CLOSE, b""), listener))
    assert listener.told == ["opened", "closed"]


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (lambda _key: b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "HTTP 404"),
        (lambda _key: accepted(b"of somebody else"), "Sec-WebSocket-Accept"),
        (lambda key: accepted(key, b"geopod.v9"), r"unsupported subprotocol: geopod\.v9"),
        (lambda _key: b"x" * (1 << 20), "no more than 8192 bytes"),
    ],
    ids=["no WebSocket", "another key", "another protocol", "endless"],
)
def test_answer_that_is_no_handshake_is_told_and_nobody_listens(head, why):
    async def story(listener):
        async with a_server_that_sends(head=head) as url:
            await websocket.converse(url, listener)

    listener = Listener()
    with pytest.raises(ValueError, match=why):
        play(story(listener))
    assert listener.told == []


def test_message_that_comes_with_the_handshake_is_heard():
    listener = Listener(says=hang_up)
    play(told_of(unmasked(BINARY, b"at once"), listener))
    assert listener.told == ["opened", b"at once", "closed"]


@pytest.mark.parametrize(
    "error", [ValueError("no message of ours"), RuntimeError("a defect")], ids=repr
)
def test_what_the_listener_raises_ends_the_conversation_and_is_raised(error):
    def refuse(_wire, _message):
        raise error

    with pytest.raises(type(error), match=str(error)):
        play(told_of(unmasked(BINARY, b"nonsense"), Listener(says=refuse)))


def test_handshake_asks_for_what_the_coordinator_serves():
    asked = []

    async def look(request):
        asked.append((request.path, request.host, request.headers["Sec-WebSocket-Protocol"]))
        raise web.HTTPForbidden

    async def story():
        async with a_library_that(look) as url:
            await websocket.converse(url, Listener())

    with pytest.raises(ValueError, match="HTTP 403"):
        play(story())
    assert [(path, said) for path, _, said in asked] == [("/v1", "geopod.v1")]


# ---- nobody


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


async def dial(url):
    """Return the refusal of a dial, unless it takes as long as the kernel alone would try."""
    async with asyncio.timeout(60):
        try:
            await websocket.converse(url, Listener())
        except OSError as refusal:
            return refusal


def test_dial_that_nobody_takes_is_given_up_soon(monkeypatch):
    monkeypatch.setattr(websocket, "DIAL_WITHIN_S", 0.1)
    with a_black_hole() as url:
        assert isinstance(asyncio.run(dial(url)), TimeoutError)


def test_dial_that_nobody_takes_is_told_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(websocket, "DIAL_WITHIN_S", 0.1)

    async def keep(url):
        async with asyncio.timeout(20):
            link = asyncio.ensure_future(CoordinatorLink(url, b"", Listener()).keep())
            while not caplog.messages:
                await asyncio.wait([link], timeout=0.05)
            link.cancel()

    caplog.set_level("INFO")
    with a_black_hole() as url:
        asyncio.run(keep(url))
    assert caplog.messages[0] == f"No coordinator at {url}: TimeoutError"


def test_server_that_never_answers_is_given_up(monkeypatch):
    monkeypatch.setattr(websocket, "ANSWER_WITHIN_S", 0.1)

    async def story():
        async with a_server_that_sends(head=lambda _key: b"HTTP/1.1 101 ") as url:
            return await dial(url)

    assert isinstance(play(story()), TimeoutError)


def test_server_that_hangs_up_instead_of_answering_is_told():
    async def story():
        server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            return await dial("ws://{}:{}/v1".format(*server.sockets[0].getsockname()))

    assert isinstance(play(story()), ConnectionError)


# ---- several addresses


class NamingLoop(asyncio.SelectorEventLoop):
    """A loop to which every name has these addresses."""

    addresses = ()

    async def getaddrinfo(self, host, port, **options):
        del host, port
        return [(socket.AF_INET, options["type"], 0, "", address) for address in self.addresses]


@contextlib.asynccontextmanager
async def a_closed_port():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()


@contextlib.asynccontextmanager
async def a_server_that_hangs_up():
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()


@contextlib.asynccontextmanager
async def a_full_server():
    with a_black_hole() as url:
        host, port = url.removeprefix("ws://").removesuffix("/v1").split(":")
        yield host, int(port)


@pytest.mark.parametrize("first", [a_closed_port, a_server_that_hangs_up, a_full_server])
def test_name_whose_first_address_fails_is_reached_at_its_next(monkeypatch, first):
    monkeypatch.setattr(websocket, "DIAL_WITHIN_S", 0.5)
    listener = Listener()

    async def story():
        served = a_server_that_sends(unmasked(CLOSE, b""))
        async with asyncio.timeout(60), first() as lost, served as url:
            _, port = url.removesuffix("/v1").rsplit(":", 1)
            asyncio.get_running_loop().addresses = (lost, ("127.0.0.1", int(port)))
            await websocket.converse("ws://coordinator:7420/v1", listener)

    with asyncio.Runner(loop_factory=NamingLoop) as runner:
        runner.run(story())
    assert listener.told == ["opened", "closed"]


def test_name_without_any_address_is_told():
    with (
        asyncio.Runner(loop_factory=NamingLoop) as runner,
        pytest.raises(ConnectionError, match="coordinator has no address"),
    ):
        runner.run(websocket.converse("ws://coordinator:7420/v1", Listener()))
