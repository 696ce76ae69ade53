"""Is an environment's supervisor there, and where are its sockets? No event loop is needed."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from pathlib import Path

from geopod.backends.local.state import StateFolder
from geopod.errors import ConfigError

SUPERVISOR_SOCKET = "supervisor.sock"
CONTROL_SOCKET = "control.sock"
AGENTS_SOCKET = "agents.sock"


def sockets_of(folder: StateFolder, name: str) -> Path | None:
    """Return the folder of the environment's sockets; None: it never ran."""
    running = folder.read_running(name)
    return Path(running.sockets) if running is not None else None


def supervisor_socket(folder: StateFolder, name: str) -> str | None:
    """Return where the environment's supervisor listens, or did; None: it never ran."""
    sockets = sockets_of(folder, name)
    return str(sockets / SUPERVISOR_SOCKET) if sockets is not None else None


def is_alive(folder: StateFolder, name: str) -> bool:
    """Say whether the environment has a supervisor: whether its socket takes a connection."""
    path = supervisor_socket(folder, name)
    if path is None:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        try:
            trial.connect(path)
        except OSError:
            return False
    return True


def socket_folder(root: Path, uid: str) -> Path:
    """Return a short private folder for an environment's sockets.

    A Unix socket's path holds 107 bytes at most, so it never lies below the state folder. Raises
    ConfigError when somebody else owns the place.
    """
    home = hashlib.sha256(os.fsencode(root)).hexdigest()[:6]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    short = runtime and len(runtime) <= 40 and Path(runtime).is_dir()  # noqa: PLR2004  # of 107
    base = Path(runtime) / "geopod" if short else Path("/tmp") / f"geopod-{os.getuid()}"  # noqa: S108  # checked below
    folder = base / f"{home}-{uid[:8]}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for each in (base, folder):
        found = each.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise ConfigError(
                f"{each} belongs to user {found.st_uid}; sockets cannot lie there.",
                fixes=("remove it", "set XDG_RUNTIME_DIR to a folder of yours"),
            )
        each.chmod(0o700)
    return folder
