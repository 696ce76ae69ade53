"""Forks the processes of pods from one that has their imports: a start takes milliseconds.

One line of JSON in per start, one out per start and per end; whatever it started ends with it.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import selectors
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from geopod.backends.local import processes
from geopod.process.running import log_to_stderr, run_pod


def be_coordinator() -> None:
    """Be what `python -m geopod.coordinator --pod` is."""
    from geopod.coordinator.attending import attend
    from geopod.coordinator.pod.serving import serve_pod

    os.umask(0o077)
    run_pod(serve_pod(attend))


def be_agent() -> None:
    """Be what `python -m geopod.agent --pod` is."""
    from geopod.agent.pod import serve_pod
    from geopod.agent.unpack import start_runner
    from geopod.process.pod import Pod

    start_runner(Pod())
    run_pod(serve_pod())


def be_gateway() -> None:
    """Be what `python -m geopod_gateway` is."""
    from geopod_gateway.__main__ import main

    os._exit(main())


def be_runner() -> None:
    """Be the runner whose zipapp the agent writes, as its container's one line waits for it."""
    path, *arguments = json.loads(os.environ["RUNNER"])
    while not os.path.exists(path):  # noqa: PTH110  # as that line does
        select.select([], [], [], 0.02)
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


PARTS: dict[str, Callable[[], None]] = {
    "coordinator": be_coordinator,
    "agent": be_agent,
    "gateway": be_gateway,
    "runner": be_runner,
}


def warm() -> None:
    """Import what the parts import; no thread may live when they are forked."""
    import geopod.agent.pod
    import geopod.cluster.client
    import geopod.coordinator.attending
    import geopod.coordinator.pod.serving
    import geopod_gateway.app
    import uvloop

    del geopod, geopod_gateway, uvloop


class Zygote:
    """The process that forks."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._signals = processes.signal_socket(self._selector, self._reap)
        self._selector.register(sys.stdin, selectors.EVENT_READ, self._obey)

    def serve(self) -> None:
        """Obey until standard input closes."""
        self._say({"ready": True})
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _obey(self) -> None:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the kernel ends the children: PDEATHSIG
        order = json.loads(line)
        pid = processes.fork_child(
            self._act(order),
            log=Path(order["log"]),
            close=[self._signals.fileno(), self._selector.fileno()],
            death_signal=signal.SIGTERM if order["part"] == "runner" else signal.SIGKILL,
        )
        self._say({"started": pid})

    def _act(self, order: dict) -> Callable[[], None]:
        def be() -> None:
            os.environ.clear()
            os.environ.update(order["environ"])
            log_to_stderr()
            PARTS[order["part"]]()

        return be

    def _reap(self) -> None:
        self._signals.recv(4096)
        for pid, code in processes.reap():
            self._say({"ended": pid, "code": code})

    def _say(self, word: dict) -> None:
        sys.stdout.write(json.dumps(word) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    warm()
    Zygote().serve()
