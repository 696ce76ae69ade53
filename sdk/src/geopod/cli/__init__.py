"""The `geopod` command. Data goes to stdout, the rest to stderr; `-o json` where there is data.

Colours go only to a terminal; `NO_COLOR` and `--no-color` turn them off.

Exit codes: 0 done; 1 the function, run or environment failed; 2 usage or invalid input, nothing
was sent; 3 cluster, gateway or permission; 4 the wait timed out, the run goes on; 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; Ctrl-C is no traceback, also while the command is being loaded."""
    try:
        from geopod.cli.command import main as command

        command(arguments)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
