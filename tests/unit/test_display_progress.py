"""The moving line: when it is made, what it says, and where it goes."""

from __future__ import annotations

import asyncio
import io
import re

import msgspec
import pytest
from geopod.api.runs import EnvironmentState, RunState
from geopod.display import progress, surfaces
from geopod.display.progress import Progress, Sight
from geopod.display.surfaces import Lines, Terminal
from geopod.display.text import table

ANSI = re.compile(r"\x1b\[[0-9;]*m")


class Stream(io.StringIO):
    """A stream that counts what is written to it."""

    encoding = "utf-8"

    def __init__(self, *, terminal):
        super().__init__()
        self._terminal = terminal
        self.writes = 0

    def isatty(self):
        return self._terminal

    def write(self, text):
        self.writes += 1
        return super().write(text)


class ByHand(asyncio.SelectorEventLoop):
    """A loop whose clock is moved by hand: what is due at a time is due at every speed."""

    now = 0.0

    def time(self):
        return self.now


def told(act):
    """Run a coroutine function of one argument, the loop."""
    loop = ByHand()
    try:
        return loop.run_until_complete(act(loop))
    finally:
        loop.close()


@pytest.fixture(autouse=True)
def plain_terminal(monkeypatch):
    for name in ("NO_COLOR", "FORCE_COLOR", "GEOPOD_PROGRESS", "GEOPOD_ASCII"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "SILENT_S", 0.0)


def a_state(succeeded=0, total=240, **fields):
    fields = {"phase": "Running", **fields}
    return RunState(
        uid="u", name="ndvi-7f3", environment="e", total=total, succeeded=succeeded, **fields
    )


async def turns(loop, seconds, step=0.05):
    """Let this much time go by."""
    for _ in range(round(seconds / step)):
        loop.now += step
        await asyncio.sleep(0)


def test_wait_that_ends_at_once_writes_nothing(monkeypatch):
    monkeypatch.setattr(progress, "SILENT_S", 0.5)
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(None, stream) as line:
            line.run(a_state(5))
            await turns(loop, 0.3)
            line.run(a_state(240))

    told(act)
    assert stream.writes == 0


def test_line_is_made_five_times_a_second_however_many_tasks_end():
    stream = Stream(terminal=True)
    states = [a_state(number, 100_000) for number in range(0, 100_001, 10)]

    async def act(loop):
        with Progress(None, stream) as line:
            for state in states:
                line.run(state)
                loop.now += 0.001
                await asyncio.sleep(0)

    told(act)
    seconds = len(states) * 0.001
    assert 0.8 * seconds / surfaces.REDRAW_S <= stream.writes
    assert stream.writes <= seconds / surfaces.REDRAW_S + 2


def test_terminal_line_is_rewritten_and_gone_in_the_end():
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(None, stream) as line:
            line.run(a_state(172, failed=3, running=4))
            await turns(loop, 0.25)
            line.run(a_state(237, failed=3, phase="Failed"))
            await turns(loop, 0.25)

    told(act)
    lines = [ANSI.sub("", text) for text in stream.getvalue().split("\r")]
    assert "\n" not in stream.getvalue()
    assert lines[1].startswith("Running 175/240 ■■■")
    assert lines[1].endswith("3 failed · 4 running")
    assert any(text.startswith("Failed 240/240") for text in lines)
    assert lines[-1] == ""
    assert lines[-2].strip() == ""


def test_line_never_goes_backwards():
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(None, stream) as line:
            line.run(a_state(200))
            await turns(loop, 0.25)
            line.run(a_state(10))  # a coordinator that reads its manifest again
            await turns(loop, 0.25)

    told(act)
    assert "200/240" in stream.getvalue()
    assert " 10/240" not in stream.getvalue()


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
    ids=["plain", "no-color", "dumb"],
)
def test_colours_go_when_they_are_asked_away(monkeypatch, variables, coloured):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    stream = Stream(terminal=True)

    Terminal(stream).show(Sight(run=a_state(172, failed=3)), waited_s=1)

    assert bool(ANSI.search(stream.getvalue())) is coloured
    assert "172/240" not in stream.getvalue()
    assert "Running 175/240" in ANSI.sub("", stream.getvalue())


def test_pipe_gets_a_line_per_ten_percent_or_quarter_minute():
    stream = Stream(terminal=False)
    lines = Lines(stream)

    for second in range(60):
        lines.show(Sight(run=a_state(0)), waited_s=second)
    assert stream.writes == 4
    for ended in range(0, 241, 24):
        lines.show(Sight(run=a_state(ended)), waited_s=46)
        lines.show(Sight(run=a_state(ended + 1)), waited_s=46)
    assert stream.writes == 14
    assert not ANSI.search(stream.getvalue())
    assert "\r" not in stream.getvalue()


@pytest.mark.parametrize("value", [None, False])
def test_progress_can_be_turned_off(monkeypatch, value):
    monkeypatch.setenv("GEOPOD_PROGRESS", "0")
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(value, stream) as line:
            line.run(a_state(12))
            line.say("words")
            await turns(loop, 1)
            return line.is_shown

    assert told(act) is False
    assert stream.writes == 0


def test_ascii_is_respected(monkeypatch):
    monkeypatch.setenv("GEOPOD_ASCII", "1")
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(None, stream) as line:
            line.run(a_state(120, running=4, failed=1))
            await turns(loop, 0.25)

    told(act)
    assert stream.getvalue().isascii()
    assert "##########" in stream.getvalue()


def test_words_stay_above_the_line():
    stream = Stream(terminal=True)

    async def act(loop):
        with Progress(None, stream) as line:
            line.environment(EnvironmentState(uid="u", name="e", nodes=4, connected=1))
            await turns(loop, 0.25)
            line.say("NodesReady: no machine offers nvidia.com/gpu")
            await turns(loop, 0.25)

    told(act)
    assert "Starting 1/4 nodes 0:00" in stream.getvalue()
    assert "NodesReady: no machine offers nvidia.com/gpu\n" in stream.getvalue()


@pytest.mark.parametrize(
    ("ended", "total", "is_told"),
    [(4, 20, False), (5, 20, True), (5, 240, False), (240, 240, False)],
)
def test_time_left_is_told_once_enough_has_ended(monkeypatch, ended, total, is_told):
    monkeypatch.setattr(progress, "PACE_EVERY_S", 0.0)
    line = Progress(enabled=False)
    line.run(a_state(0, total))
    line.run(a_state(ended, total))

    assert (line.remaining_s is not None) is is_told


def test_cell_shows_a_run_without_script():
    shown = Sight(run=msgspec.structs.replace(a_state(5), name="<script>")).html()

    assert "&lt;script&gt;" in shown
    assert "<script" not in shown
    assert 'role="status"' in shown
    assert "Running</span> 5/240" in shown


def test_table_colours_phases_alone():
    rows = [{"name": "Ready", "phase": "Ready"}, {"name": "b", "phase": "Failed"}]

    plain, painted = table(rows, ("name", "phase")), table(rows, ("name", "phase"), colours=True)

    assert ANSI.sub("", painted) == plain
    assert "Ready   \x1b[32mReady\x1b[0m" in painted
    assert "\x1b[31mFailed\x1b[0m" in painted
