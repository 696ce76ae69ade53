"""The port that agents of other pods dial."""

import asyncio
import socket
import struct

from geopod.coordinator.sockets import listen_tcp
from geopod.coordinator.websocket import serve_websockets


def room_at_the_door(listening):
    """How many may wait: for a listening socket the kernel says so in place of `tcpi_sacked`."""
    told = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
    return struct.unpack_from("=I", told, 28)[0]


def test_as_many_agents_may_wait_once_the_port_is_served():
    async def story(listening):
        server = await serve_websockets(listening, lambda: None)
        room = room_at_the_door(listening)
        await server.close()
        return room

    with listen_tcp("127.0.0.1", 0) as listening:
        before = room_at_the_door(listening)
        assert asyncio.run(story(listening)) == before
