"""The end of the processes in a pod by SIGTERM: at any time, and whatever their threads do."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SOON_S = 60.0
"""Far below the time for which the thread reads."""
READING = """
import asyncio, signal, sys, time
from geopod.process.running import run_pod, until_told

async def read():
    await asyncio.to_thread(lambda: (print("reading", flush=True), time.sleep(600)))

async def main():
    await until_told(read())
    return 4

run_pod(main())
"""
IMPORTING = """
import runpy, sys, time
from importlib.abc import MetaPathFinder
class Slow(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name in {"geopod.agent.pod", "geopod.coordinator.pod.settings"}:
            print("importing", flush=True)
            while True:
                time.sleep(0.1)
sys.meta_path.insert(0, Slow())
sys.argv = ["geopod", "--pod"]
runpy.run_module("geopod." + ROOM, run_name="__main__")
"""


def ended_by_sigterm(script: str) -> int:
    """Start a script, end it after its first word, return its exit code."""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            return process.wait(SOON_S)
        finally:
            process.kill()


def test_thread_that_reads_holds_no_pod_up():
    assert ended_by_sigterm(READING) == 4


@pytest.mark.parametrize("room", ["agent", "coordinator"])
def test_process_that_imports_ends_at_once(room):
    """As the first process of its container it would ignore the signal without a handler."""
    script = f"ROOM = {room!r}" + IMPORTING
    assert ended_by_sigterm(script) == 128 + signal.SIGTERM
