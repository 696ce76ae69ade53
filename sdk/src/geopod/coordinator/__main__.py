"""`python -m geopod.coordinator`: one environment's coordinator.

`--settings FILE`: on one machine, for the clients of its control socket. `--pod`: in a pod, for
ComputeRuns.
"""

import argparse
import os
import sys
from pathlib import Path

from geopod.process.pod import Pod
from geopod.process.running import end_on_sigterm, log_to_stderr, run_pod, run_process


def main() -> int:
    """Run the coordinator that a settings file or the pod describes."""
    end_on_sigterm()  # before imports that take a second
    parser = argparse.ArgumentParser(prog="geopod.coordinator")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--settings", type=Path)
    place.add_argument("--pod", action="store_true")
    arguments = parser.parse_args()
    os.umask(0o077)
    log_to_stderr()
    if arguments.pod:
        from geopod.coordinator.pod.doors import open_doors
        from geopod.coordinator.pod.settings import read_pod

        doors = open_doors(read_pod(Pod()))  # before imports that take long
    from geopod.coordinator.attending import attend, serve

    if arguments.pod:
        from geopod.coordinator.pod.serving import serve_pod  # what only a pod needs

        run_pod(serve_pod(attend, doors=doors))
    from geopod.coordinator.settings import read_settings

    return run_process(serve(read_settings(arguments.settings), arguments.settings))


if __name__ == "__main__":
    sys.exit(main())
