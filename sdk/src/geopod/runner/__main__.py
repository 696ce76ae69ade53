"""Start the runner: `python geopod.runner.pyz --socket PATH [--socket PATH …]`.

Everything is imported once, then one template is forked per socket (one machine may play several
nodes) and forked again when it dies. What a dead template leaves behind comes here and is killed.
SIGTERM ends them all.
"""

from __future__ import annotations

import argparse
import os
import select
import signal
import time
from collections.abc import Sequence
from typing import NoReturn

from . import exceptions, processes
from .ending import Ending, end_now, end_on_sigterm
from .packages import use_packages
from .preloading import preload
from .template import Template

RESTART_PAUSE_S = 0.2
"""Between two lives of a template that died young, so that a broken one costs no processor."""
YOUNG_S = 1.0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Serve the agents that listen on the sockets; never returns."""
    end_on_sigterm()
    parser = argparse.ArgumentParser(prog="geopod.runner", description=__doc__)
    parser.add_argument("--socket", action="append", required=True, help="an agent's Unix socket")
    parser.add_argument("--packages", default="", help="folder of packages, if it is there")
    parser.add_argument("--preload", default="", help="modules to import first, with commas")
    parser.add_argument("--name", default="geopod.runner", help="shown by ps, nothing else")
    options = parser.parse_args(arguments)
    use_packages(options.packages)
    exceptions.prime_modules()
    preload([name for name in options.preload.split(",") if name])
    _keep_templates(options.socket)


def _keep_templates(socket_paths: Sequence[str]) -> NoReturn:
    prctl = processes.load_prctl()
    processes.adopt_orphans(prctl)
    started: dict[int, tuple[str, float]] = {}
    ending = Ending(started)

    def start(path: str) -> None:
        pid = _fork_template(path, prctl)
        started[pid] = (path, time.monotonic())
        ending.pass_on(pid)

    for path in socket_paths:
        start(path)
    while True:
        pid, _ = os.waitpid(-1, 0)
        path, since = started.pop(pid, ("", 0.0))
        processes.kill_all(
            stray for stray in processes.children_of(os.getpid()) if stray not in started
        )
        if ending.has_begun and not started:
            end_now()
        if not path or ending.has_begun:
            continue
        if time.monotonic() - since < YOUNG_S:
            select.select([], [], [], RESTART_PAUSE_S)
        start(path)


def _fork_template(socket_path: str, prctl: object) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTERM, end_now)
            processes.die_with_parent(prctl, parent)
            Template(socket_path).serve()
        finally:
            os._exit(70)  # a broken template never becomes a second parent of templates
    return pid


if __name__ == "__main__":
    main()
