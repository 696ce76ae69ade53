"""A coordinator from its start to its end, by a signal or by a newer one."""

from __future__ import annotations

import logging
from pathlib import Path

from geopod.coordinator.clients import LocalClients
from geopod.coordinator.epochs import Fenced
from geopod.coordinator.process import CoordinatorProcess
from geopod.coordinator.settings import CoordinatorSettings
from geopod.process.running import until_told
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
