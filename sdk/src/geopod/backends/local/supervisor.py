"""The program `geopod.supervisor`: one environment's supervisor, detached from who started it.

Started by a client (`launch.py`), it lives on without it until the environment has been idle for
long enough.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from geopod.backends.local import processes
from geopod.backends.local.presence import socket_folder
from geopod.backends.local.state import Running, StateFolder
from geopod.backends.local.supervision import Supervisor


def main(arguments: list[str]) -> None:
    """Become the supervisor of one environment; `arguments`: state folder, name, descriptor.

    The process that was started ends at once, so that no client has it as a child. One byte on the
    descriptor says that the supervisor listens.
    """
    if os.fork():
        os._exit(0)
    root, name, ready = arguments
    os.umask(0o077)
    folder = StateFolder(Path(root))
    record = folder.read_environment(name)
    processes.hold_lock(folder.environment(name) / "supervisor.lock")
    processes.sweep(record.uid)
    processes.adopt_descendants()
    record = folder.read_environment(name)  # what it said may have changed while we waited
    sockets = socket_folder(folder.root, record.uid)
    supervisor = Supervisor(folder, record, sockets, held=processes.start_sentinel())
    folder.write_running(name, Running(pid=os.getpid(), sockets=str(sockets)))
    os.write(int(ready), b"1")
    os.close(int(ready))
    import setproctitle  # after clients know that we listen

    setproctitle.setproctitle(f"geopod.supervisor {name}")
    supervisor.run()


if __name__ == "__main__":
    main(sys.argv[1:])
