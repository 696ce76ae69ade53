"""`python -m geopod.agent`: one node's agent.

`--settings FILE --node K`: a node of this machine. `--pod`: the node of the pod it runs in.
"""

import argparse
import sys
from pathlib import Path

from geopod.process.running import end_on_sigterm, log_to_stderr, run_pod


def run() -> int:
    """Run the agent that a settings file and a node index, or the pod describe."""
    end_on_sigterm()  # before imports that take a second
    parser = argparse.ArgumentParser(prog="geopod.agent")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--settings", type=Path)
    place.add_argument("--pod", action="store_true")
    parser.add_argument("--node", type=int, default=None)
    arguments = parser.parse_args()
    if arguments.pod:
        from geopod.agent.unpack import start_runner
        from geopod.process.pod import Pod

        start_runner(Pod())
    from geopod.layers.lean import never_load_pandas

    never_load_pandas()
    log_to_stderr()
    if arguments.pod:
        from geopod.agent.pod import serve_pod  # what only a pod needs

        run_pod(serve_pod())
    from geopod.agent.node import main
    from geopod.agent.settings import read_settings

    main(read_settings(arguments.settings, node=arguments.node))
    return 0


if __name__ == "__main__":
    sys.exit(run())
