"""Start the gateway: `python -m geopod_gateway`. Settings: `geopod_gateway.settings`."""

from __future__ import annotations

import logging
import os
import sys

from aiohttp import web

from geopod_gateway.app import Gateway
from geopod_gateway.settings import Settings

GRACE_S = 20.0
"""Below the pod's grace period of 30 s: transfers under way may end."""


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = Settings.read(os.environ)
        gateway = Gateway(settings)
    except (ValueError, OSError) as error:
        logging.getLogger("geopod_gateway").error("%s", error)  # noqa: TRY400  # says it all
        return 1
    web.run_app(
        gateway.application(),
        port=settings.port,
        access_log=None,  # paths would name users' runs, and each line costs more than a small GET
        shutdown_timeout=GRACE_S,
        keepalive_timeout=75.0,
        print=None,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
