"""Start the gateway: `python -m geopod_gateway`. Settings: `geopod_gateway.settings`."""

from __future__ import annotations

import os
import signal

if __name__ == "__main__":  # before imports that take a second: PID 1 has no other handler
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

import asyncio
import logging
import sys

from geopod_gateway.app import Gateway
from geopod_gateway.settings import Settings


def main() -> int:
    """Serve until SIGTERM; return the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s")
    try:
        settings = Settings.read(os.environ)
        gateway = Gateway(settings)
    except (ValueError, OSError) as error:
        logging.getLogger("geopod_gateway").error("%s", error)  # noqa: TRY400  # says it all
        return 1
    asyncio.run(serve(gateway, settings.port))
    return 0


async def serve(gateway: Gateway, port: int) -> None:
    """Serve on all addresses until a signal asks to end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with gateway.serving(host=None, port=port):
        await ended.wait()


if __name__ == "__main__":
    sys.exit(main())
