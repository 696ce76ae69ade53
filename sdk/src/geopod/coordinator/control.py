"""Unix socket for local clients: submit and cancel runs, watch runs and the environment.

Wire format: `geopod.api.messages`, each message after its length as u32 little endian. It decides
nothing: every request goes to its `ClientListener`.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from pathlib import Path
from typing import Protocol

import msgspec

from geopod.api.control import FromClient, ToClient, decode_from_client
from geopod.api.messages import MAX_MESSAGE_BYTES, Bye, encode
from geopod.coordinator.sockets import listen_unix

LENGTH = struct.Struct("<I")
UNREAD_BYTES = 16 << 20
"""A client that leaves this much unread is cut off; it may connect and ask again."""

log = logging.getLogger(__name__)


class Client:
    """One connected client."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._transport = writer.transport

    def send(self, message: ToClient) -> None:
        """Send a message; returns at once. A client that is gone gets nothing."""
        if self._transport.is_closing():
            return
        data = encode(message)
        self._transport.write(LENGTH.pack(len(data)) + data)
        if self._transport.get_write_buffer_size() > UNREAD_BYTES:
            log.warning("A client left %d bytes unread and is cut off.", UNREAD_BYTES)
            self._transport.abort()

    def close(self) -> None:
        """Say goodbye and close the connection once everything is sent."""
        self.send(Bye(reason="the coordinator ends"))
        self._transport.close()


class ClientListener(Protocol):
    """Who serves the clients: the coordinator, or a double in tests."""

    async def requested(self, client: Client, message: FromClient) -> None:
        """A client asks for something; its next request waits until this returns."""

    def left(self, client: Client) -> None:
        """A client is gone: it watches nothing any more."""


class ControlServer:
    """Accepts clients of this machine and this user."""

    def __init__(self, listener: ClientListener) -> None:
        self._listener = listener
        self._clients: set[Client] = set()
        self._server: asyncio.Server | None = None

    async def start(self, path: str) -> None:
        """Listen at `path`."""
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listen_unix(Path(path)), limit=MAX_MESSAGE_BYTES
        )

    async def close(self) -> None:
        """Say goodbye to every client and stop listening."""
        for client in self._clients:
            client.close()
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client, one request after the other."""
        client = Client(writer)
        self._clients.add(client)
        try:
            while True:
                message = await _read(reader)
                if isinstance(message, Bye):
                    break
                await self._listener.requested(client, message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # it closed its end: the usual goodbye
        except msgspec.DecodeError as error:
            log.warning("A client sent what is no message and is cut off: %s", error)
        finally:
            self._clients.discard(client)
            self._listener.left(client)
            writer.close()


async def _read(reader: asyncio.StreamReader) -> FromClient:
    """Read one message; raises `msgspec.DecodeError` on one that is too long or unknown."""
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    if size > MAX_MESSAGE_BYTES:
        raise msgspec.DecodeError(f"{size} bytes; the limit is {MAX_MESSAGE_BYTES}")
    message: FromClient = decode_from_client(await reader.readexactly(size))
    return message
