"""A disk of its own for each node: one file, so that ending the cluster removes one file.

Tens of thousands of files of unpacked images take their time to remove: 3 s on a quiet machine,
19 s on a busy one.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import ClusterError
from .network import run

MAX_BYTES = 64 << 30
"""The file is sparse: this is what the node believes to have, not what it takes."""

FILE_SYSTEM = ("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard")
"""No journal: a test cluster is never recovered from disk."""


def mount_disk(folder: Path) -> None:
    """Mount a new file system at `folder` in this mount namespace.

    The mount must be made by the cluster's process 1: the kernel unmounts some time after a
    namespace has died, and a node that starts again would meet its old disk still mounted.
    Without loop devices the folder itself is used.
    """
    folder.mkdir(exist_ok=True)
    image = folder.with_suffix(".disk")
    with image.open("wb") as stream:
        free = os.statvfs(folder)
        stream.truncate(min(MAX_BYTES, free.f_bavail * free.f_frsize))
    try:
        run(*FILE_SYSTEM, str(image))
        run("mount", "-o", "loop,noatime", str(image), str(folder))
    except ClusterError as error:
        image.unlink()
        sys.stderr.write(f"{folder.name} has no disk of its own: {error}\n")
