"""What every process of geopod's does before it serves."""

from __future__ import annotations

import resource
import subprocess
import sys


def test_a_process_may_have_as_many_files_open_as_the_system_lets_it() -> None:
    text = (
        "import resource\n"
        "from geopod.process.running import allow_open_files\n"
        "allow_open_files()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    hard = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 4096)
    limited = f'ulimit -Sn 256 && ulimit -Hn {hard} && exec "$0" -c "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", limited, sys.executable, text],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout.split() == [str(hard)] * 2
