"""`python -m geopod.agent --settings FILE --node K`: one node's agent."""

import argparse
import logging
from pathlib import Path

from geopod.agent.node import main
from geopod.agent.settings import read_settings


def run() -> None:
    """Run the agent that a settings file and a node index describe."""
    parser = argparse.ArgumentParser(prog="geopod.agent")
    parser.add_argument("--settings", type=Path, required=True)
    parser.add_argument("--node", type=int, default=None)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    main(read_settings(arguments.settings, node=arguments.node))


if __name__ == "__main__":
    run()
