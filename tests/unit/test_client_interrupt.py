"""Whoever presses Ctrl-C while a run is waited for reads that it goes on, and how to find it."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import sys
import threading

import geopod
import pytest
from geopod.api.runs import RunState
from geopod.client import aio, sync
from geopod.client.interrupt import leave_runs
from geopod.client.loop import shared_loop
from geopod.testing import ScriptedBackend

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class Endless(ScriptedBackend):
    """A backend whose runs never end; Ctrl-C is pressed soon after somebody waits for one."""

    async def submit(self, order):
        yield RunState(uid=order.uid, name=order.name, environment=order.environment, total=2)
        loop = asyncio.get_running_loop()
        loop.call_later(0.1, os.kill, os.getpid(), signal.SIGINT)  # when it is listened for
        await asyncio.Event().wait()


class Terminal(io.StringIO):
    """What somebody types into and reads from."""

    def isatty(self):
        return True


def plain(params):
    return len(params)


@pytest.fixture
def environment():
    client = sync.Client(aio.Client(Endless([1, 2], python=PYTHON)), shared_loop())
    return client.environment(nodes=2, progress=False)


WAITS = {
    "wait": lambda run: run.wait(progress=False),
    "results": lambda run: run.results(progress=False),
    "iter_results": lambda run: list(run.iter_results()),
    "as_completed": lambda run: list(run.as_completed()),
    "logs": lambda run: list(run.logs(follow=True)),
    "result": lambda run: run.tasks[0].result(),
    "exception": lambda run: run.tasks[0].exception(),
    "logs_of_a_task": lambda run: list(run.tasks[0].logs(follow=True)),
    "wait_for_runs": lambda run: geopod.wait([run]),
    "gather": geopod.gather,
    "as_completed_tasks": lambda run: list(geopod.as_completed(run.tasks)),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_interrupted_wait_says_that_the_run_goes_on(environment, capsys, wait):
    run = environment.submit(plain, name="ndvi-1")
    with pytest.raises(KeyboardInterrupt):
        wait(run)
    told = capsys.readouterr().err
    assert told == 'run ndvi-1 goes on; client.get_run("ndvi-1") finds it\n'
    assert run._aio.is_left  # so the block around its environment does not end it


def test_run_that_has_ended_is_not_left(capsys):
    client = sync.Client(aio.Client(ScriptedBackend([1], python=PYTHON)), shared_loop())
    run = client.environment(progress=False).submit(plain)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  # in the reader's own lines
        for _ in run.as_completed():
            raise KeyboardInterrupt
    assert capsys.readouterr().err == ""


def test_several_runs_are_told_of_and_cancelled_together(monkeypatch):
    screen, cancelled = Terminal(), []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", screen)
    press = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    press.start()
    leave_runs(["a-1", "b-2"], lambda: cancelled.append(1))
    press.join()
    assert cancelled == [1]
    assert screen.getvalue() == (
        "runs a-1, b-2 go on; Ctrl-C again within 3 s cancels them; client.get_run(name) finds "
        "each\n2 runs are being cancelled\n"
    )


def test_who_only_looks_on_is_not_asked_to_press_again(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stderr", screen)
    leave_runs(["a-1"])
    assert screen.getvalue() == 'run a-1 goes on; client.get_run("a-1") finds it\n'
