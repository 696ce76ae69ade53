"""What a supervisor tells its coordinator, also one that does not listen yet."""

import contextlib
import selectors
import socket

from geopod.api.control import Configure, WatchEnvironment, decode_from_client
from geopod.api.messages import MAX_MESSAGE_BYTES
from geopod.backends.local.link import CoordinatorLink
from geopod.process.frames import FrameReader


@contextlib.contextmanager
def a_link(path):
    with selectors.DefaultSelector() as selector:
        link = CoordinatorLink(path, selector, heard=lambda _state: None)
        try:
            yield link
        finally:
            link.close()


@contextlib.contextmanager
def a_coordinator(path):
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        yield listening


def heard_of(listening):
    """What the next connection has said so far."""
    connection, _ = listening.accept()
    with connection:
        said = FrameReader(MAX_MESSAGE_BYTES).feed(connection.recv(1 << 16))
    return [decode_from_client(message) for message in said]


def test_coordinator_that_starts_hears_once_of_what_changed_before_it_listened(tmp_path):
    path = tmp_path / "s"
    with a_link(path) as link:
        link.configure(nodes=4, refresh=False)
        link.configure(nodes=None, refresh=True)
        link.configure(nodes=None, refresh=False)
        assert not link.connect()
        with a_coordinator(path) as listening:
            assert link.connect()
            assert heard_of(listening) == [WatchEnvironment(), Configure(nodes=4, refresh=True)]
            link.close()
            assert link.connect()
            assert heard_of(listening) == [WatchEnvironment()]


def test_change_that_meets_a_dying_coordinator_is_told_to_the_next(tmp_path):
    path = tmp_path / "s"
    with a_link(path) as link, a_coordinator(path) as listening:
        assert link.connect()
        heard_of(listening)
        link.configure(nodes=2, refresh=False)
        link.close()
        assert link.connect()
        assert heard_of(listening) == [WatchEnvironment(), Configure(nodes=2)]
