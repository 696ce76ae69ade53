"""The supervisor's socket: clients that come, ask, and go at any moment."""

from __future__ import annotations

import selectors
import socket
import tempfile
from pathlib import Path

import msgspec
import pytest
from geopod.api.runs import EnvironmentState
from geopod.backends.local.front import Front
from geopod.backends.local.records import Report

STATE = EnvironmentState(uid="u", name="e", phase="Ready")


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory() as name:  # a socket's path holds 107 bytes
        yield Path(name)


def turn(selector):
    """Handle what came together, as the supervisor does."""
    for key, _ in selector.select(0):
        key.data()


def test_client_that_leaves_in_the_turn_in_which_all_are_told_ends_nobody(folder):
    with selectors.DefaultSelector() as selector:
        front = Front(
            folder / "s",
            selector,
            asked=lambda generation: front.tell(Report(generation=generation, state=STATE)),
        )
        front.tell(Report(generation=1, state=STATE))
        asking, leaving = (socket.socket(socket.AF_UNIX) for _ in range(2))
        for client in (asking, leaving):
            client.connect(str(folder / "s"))
            turn(selector)
        asking.send(b"2\n")  # first in the turn: telling `leaving` of it fails
        leaving.close()
        turn(selector)
        turn(selector)
        asking.settimeout(5)
        told = msgspec.json.decode(asking.recv(4096).splitlines()[0], type=Report)
        assert told.generation == 2
        asking.close()
        front.close()
