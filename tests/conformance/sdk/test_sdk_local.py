"""What the SDK promises, on this machine; tests/cluster/test_sdk.py asserts it on a cluster."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
import time

import geopod
import pytest
from geopod.errors import OutOfMemoryError
from sdk_cases import CASES, NODES, Place

DEADLINE_S = 60


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sdk")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GEOPOD_HOME", str(folder / "home"))
        patch.setenv("GEOPOD_PROGRESS", "0")

        def connect():
            return geopod.connect("local")

        with connect() as client:
            env = client.environment("sdk", nodes=NODES, memory="512Mi")
            yield Place(client, env, connect, folder, "local")
            client.terminate_all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_sdk(place, case):
    case(place)


def test_log_of_an_installation_is_followed_to_its_end(place, monkeypatch):
    monkeypatch.setenv("UV_OFFLINE", "1")
    env = place.client.environment("log", requirements=["no-such-package-of-geopod"], wait=False)
    lines = list(env.build_log(follow=True))
    assert any("No solution found when resolving dependencies" in line for line in lines)
    assert lines == env.build_log().splitlines()
    assert env.refresh_state().phase == "Failed"


def hog(params):
    kept = []
    while True:
        kept.append(bytearray(b"x" * 16_000_000))


def test_child_over_its_memory_is_named_and_the_node_goes_on(place):
    with pytest.raises(OutOfMemoryError) as caught:
        place.env.execute(hog)
    assert "memory limit" in str(caught.value.__cause__)
    assert place.env.execute(len) == [0, 0]


def test_progress_of_a_task_is_heard(place):
    def slow(params, ctx):
        import threading

        ctx.progress(0.5, "half")
        threading.Event().wait(1.5)

    run = place.env.submit(slow)
    deadline = time.monotonic() + DEADLINE_S
    seen = ""
    while not run.refresh().done and time.monotonic() < deadline:
        seen = seen or run._aio.state.progress
    assert "half" in seen


SLOW = """
def slow(params):
    import threading
    threading.Event().wait(600)
"""


COMMAND = """
import fcntl, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # this session's own terminal: Ctrl-C is heard
from geopod.cli import main
main()
"""


class Session:
    """The geopod command on a terminal of its own."""

    def __init__(self, *arguments):
        self.said = ""
        self._terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=os.environ | {"GEOPOD_PROGRESS": "1", "TERM": "xterm"},
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        )  # fmt: skip
        os.close(theirs)

    def until(self, pattern):
        """Read until the terminal shows it."""
        while not (found := re.search(pattern, self.said)):
            piece = self._read()
            assert piece, f"ended without {pattern!r}: {self.said}"
            self.said += piece
        return found

    def press_ctrl_c(self):
        os.write(self._terminal, b"\x03")

    def exit_code(self):
        while piece := self._read():
            self.said += piece
        os.close(self._terminal)
        return self.process.wait()

    def _read(self):
        try:
            return os.read(self._terminal, 4096).decode()
        except OSError:  # the command has ended
            return ""


@pytest.fixture
def waiting(place, tmp_path):
    """`geopod run` that waits for a slow run, its line on the terminal; and the run."""
    script = tmp_path / "analysis_that_waits.py"
    script.write_text(SLOW)
    before = {run.name for run in place.client.runs()}
    session = Session("--target", "local", "run", f"{script}:slow", "--env", "sdk")
    watchdog = threading.Timer(DEADLINE_S, session.process.kill)
    watchdog.start()
    session.until("0/2")
    (run,) = [run for run in place.client.runs() if run.name not in before]
    yield session, run
    watchdog.cancel()
    run.cancel()


def test_first_ctrl_c_leaves_the_run_and_says_how_to_find_it(waiting):
    session, run = waiting

    session.press_ctrl_c()

    session.until(
        rf"run {run.name} goes on; Ctrl-C again within 3 s cancels it; "
        rf'client\.get_run\("{run.name}"\) finds it\r\n'
    )
    assert session.exit_code() == 130
    assert "Traceback" not in session.said
    assert not run.refresh().done


def test_second_ctrl_c_cancels_the_run(waiting):
    session, run = waiting

    session.press_ctrl_c()
    session.until("goes on")
    session.press_ctrl_c()

    assert session.exit_code() == 130
    assert f"run {run.name} is being cancelled" in session.said
    run.wait(DEADLINE_S)
    assert run.phase == "Cancelled"
