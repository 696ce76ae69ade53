"""`python -m geopod.coordinator --settings FILE`: one environment's coordinator."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from pathlib import Path

from geopod.coordinator.epochs import Fenced
from geopod.coordinator.process import CoordinatorProcess
from geopod.coordinator.settings import CoordinatorSettings, read_settings
from geopod.store.directory import DirectoryStore

EXIT_FENCED = 3
"""A newer coordinator serves: do not start this one again."""


async def serve(settings: CoordinatorSettings, settings_path: Path) -> int:
    """Serve until SIGTERM or a newer coordinator; returns the exit code."""
    store = DirectoryStore(Path(settings.store), fsync=settings.fsync)
    process = await CoordinatorProcess.start(settings, store, settings_path=settings_path)
    serving = asyncio.ensure_future(process.serve())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return 0
    except Fenced:
        logging.getLogger("geopod").warning("A newer coordinator serves; this one ends.")
        return EXIT_FENCED
    finally:
        await process.close()
    return 0


def main() -> int:
    """Run the coordinator that a settings file describes."""
    parser = argparse.ArgumentParser(prog="geopod.coordinator")
    parser.add_argument("--settings", type=Path, required=True)
    path = parser.parse_args().settings
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    serving = serve(read_settings(path), path)
    try:
        import uvloop  # no wheels for every platform
    except ImportError:
        return asyncio.run(serving)
    return uvloop.run(serving)


if __name__ == "__main__":
    sys.exit(main())
