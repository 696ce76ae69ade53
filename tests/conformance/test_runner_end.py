"""The end of a runner by SIGTERM: at once without an agent, else after the agent's last words."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest
import runner_functions as functions
from geopod.agent.unpack import write_runner
from geopod.api import deployment
from runner_builders import a_runner, a_work, children_of, is_alive, until, value_of

cloudpickle.register_pickle_by_value(functions)
SOON_S = 4.0
"""Below the time that a runner waits for its agent; a pod's grace is 30 s."""
TRIES = 3


def ends_soon(end: Callable[[], float]) -> bool:
    """Whether it ended soon once: on a busy machine everything may take its time."""
    return any(end() < SOON_S for _ in range(TRIES))


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    return process.poll() is not None


def test_runner_lets_its_agent_finish_and_ends_when_that_hangs_up() -> None:
    async def scenario() -> float:
        async with a_runner() as runner:
            working = asyncio.create_task(runner.run(a_work(functions.process_id)))
            runner.process.send_signal(signal.SIGTERM)
            [outcome] = await working
            child = value_of(outcome)
            assert is_alive(child)
            began = time.monotonic()
            await runner.link.close()
            await until(lambda: has_ended(runner.process))
            taken = time.monotonic() - began
            assert not is_alive(child)
            assert runner.process.wait() == -signal.SIGTERM
            return taken

    assert ends_soon(lambda: asyncio.run(scenario()))


def test_runner_that_waits_for_its_agent_ends_at_once(tmp_path: Path) -> None:
    write_runner(tmp_path / "geopod.runner.pyz")
    command = [sys.executable, str(tmp_path / "geopod.runner.pyz"), "--socket", str(tmp_path / "s")]

    def end() -> float:
        with subprocess.Popen(command) as process:
            try:
                asyncio.run(until(lambda: any(map(is_template, children_of(process.pid)))))
                began = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(120) == -signal.SIGTERM
                return time.monotonic() - began
            finally:
                process.kill()

    assert ends_soon(end)


def is_template(pid: int) -> bool:
    """Whether a process listens for the ends of children, as a template does that is set up."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.partition("SigCgt:")[2].split()[0], 16)
    return bool(caught & 1 << signal.SIGCHLD - 1)


@pytest.fixture
def own_pids() -> list[str]:
    """A command prefix that makes what follows the first process, as in a container."""
    command = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("process namespaces cannot be made here")
    return command


@pytest.mark.parametrize("is_there", [False, True], ids=["it waits", "it serves"])
def test_first_process_of_a_container_ends_on_sigterm(
    tmp_path: Path, own_pids: list[str], *, is_there: bool
) -> None:
    zipapp = tmp_path / "geopod.runner.pyz"
    if is_there:
        write_runner(zipapp)
    python, option, wait = deployment.runner_command(sys.executable)
    wait = wait.replace(deployment.RUNNER_FILE, str(zipapp))
    wait = wait.replace(deployment.RUNNER_SOCKET, str(tmp_path / "s"))

    def end() -> float:
        with subprocess.Popen([*own_pids, python, option, wait]) as namespace:
            inner = first_child(namespace.pid)
            began = time.monotonic()
            while namespace.poll() is None and time.monotonic() - began < 30:
                # Again and again: until Python itself runs nothing can be handled.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(inner, signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    namespace.wait(0.5)
            taken = time.monotonic() - began
            namespace.kill()
        return taken

    assert ends_soon(end)


def first_child(pid: int) -> int:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    while not path.read_text().split():
        pass
    return int(path.read_text().split()[0])
