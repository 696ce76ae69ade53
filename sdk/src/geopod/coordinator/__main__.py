"""`python -m geopod.coordinator`: one environment's coordinator.

`--settings FILE`: on one machine, for the clients of its control socket. `--pod`: in a pod, for
ComputeRuns.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from geopod.coordinator.clients import LocalClients
from geopod.coordinator.epochs import Fenced
from geopod.coordinator.process import CoordinatorProcess
from geopod.coordinator.settings import CoordinatorSettings, read_settings
from geopod.process.running import log_to_stderr, run_process, until_told
from geopod.store.directory import DirectoryStore

EXIT_FENCED = 3
"""A newer coordinator serves: do not start this one again."""


async def serve(settings: CoordinatorSettings, settings_path: Path) -> int:
    """Serve until SIGTERM or a newer coordinator; returns the exit code."""
    store = DirectoryStore(Path(settings.store), fsync=settings.fsync)
    clients = LocalClients(settings, store, settings_path=settings_path)
    return await attend(await CoordinatorProcess.start(settings, store, clients))


async def attend(process: CoordinatorProcess) -> int:
    """Let a coordinator serve to its end; returns the exit code."""
    try:
        await until_told(process.serve())
    except Fenced:
        logging.getLogger("geopod").warning("A newer coordinator serves; this one ends.")
        return EXIT_FENCED
    finally:
        await process.close()
    return 0


def main() -> int:
    """Run the coordinator that a settings file or the pod describes."""
    parser = argparse.ArgumentParser(prog="geopod.coordinator")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--settings", type=Path)
    place.add_argument("--pod", action="store_true")
    arguments = parser.parse_args()
    os.umask(0o077)
    log_to_stderr()
    if arguments.pod:
        from geopod.coordinator.pod.serving import serve_pod  # what only a pod needs

        return run_process(serve_pod(attend))
    return run_process(serve(read_settings(arguments.settings), arguments.settings))


if __name__ == "__main__":
    sys.exit(main())
