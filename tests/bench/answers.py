"""One question, asked in a process of its own: what fails or hangs there costs its rows alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from bench.measure import Row
from bench.versions import machine, versions

LIMIT_S = 420.0
"""Most questions take less than a minute on two quiet cores."""
PARTING_S = 30.0
"""To end what the question has started."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of one question, when they were measured and beside what."""

    date: str
    load: str
    """Before the question was asked."""
    seconds: float
    rows: list[Row] = field(default_factory=list)
    failure: str = ""
    """Why there are no rows: the last line of the error, or the time that was exceeded."""
    machine: str = ""
    versions: str = ""
    """What was measured on what; empty in answers of an earlier form, which the page's own tell."""


def ask(name: str, before: str, *, limit_s: float = LIMIT_S) -> Answer:
    """Ask one question in a process of its own and return its answer, whatever happens there.

    `before`: how busy the machine is.
    """
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows, log = Path(folder) / "rows", Path(folder) / "log"
        command = [sys.executable, "-m", "bench", name, "--rows", str(rows)]
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, process_group=0)
            failure = _wait(process, limit_s)
        if failure or not rows.exists():
            text = log.read_text("utf-8", "replace").strip()
            sys.stderr.write(f"{text}\n")
            failure = failure or (text.splitlines() or ["it ended without a word"])[-1]
        answers = [] if failure else msgspec.json.decode(rows.read_bytes(), type=list[Row])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    took = time.monotonic() - started
    return Answer(date, before, took, answers, failure, machine(), versions())


def _wait(process: subprocess.Popen[bytes], limit_s: float) -> str:
    """Wait for the question; return why it was ended, or nothing."""
    try:
        process.wait(limit_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return f"no answer within {limit_s:.0f} s"
    except BaseException:
        _end(process)
        raise
    return ""


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt the question, so that it ends what it has started; then kill it."""
    for number in (signal.SIGINT, signal.SIGKILL):
        os.killpg(process.pid, number)
        try:
            process.wait(PARTING_S)
        except subprocess.TimeoutExpired:
            continue
        return
