"""A process that is asked to end ends, also while it is still imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SLOW = 'import signal\n\nprint("begun", flush=True)\nsignal.pause()\n'


@pytest.mark.parametrize(
    ("program", "imported"), [("geopod_operator", "kopf"), ("geopod_gateway", "aiohttp")]
)
def test_process_that_is_still_imported_ends_when_it_is_asked_to(program, imported, tmp_path):
    """With no handler of its own it would end by the signal, and as PID 1 not at all."""
    (tmp_path / f"{imported}.py").write_text(SLOW, "utf-8")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    with subprocess.Popen(
        [sys.executable, "-m", program],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout.readline() == "begun\n"
            process.terminate()
            assert process.wait(60) == 0
        finally:
            process.kill()
