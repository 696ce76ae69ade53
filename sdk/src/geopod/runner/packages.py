"""An environment's own packages: before those of the image, after the standard library."""

from __future__ import annotations

import os
import site
import sys

FOLDERS_OF_IMAGES = ("site-packages", "dist-packages")


def use_packages(folder: str) -> None:
    """Let modules be found in `folder` too, if it is there; its .pth files count."""
    if not os.path.isdir(folder):  # noqa: PTH112  # strings, as in sys.path
        return
    before = list(sys.path)
    site.addsitedir(folder)
    added = [path for path in sys.path if path not in before]
    ends = (at for at, path in enumerate(before) if path.endswith(FOLDERS_OF_IMAGES))
    at = next(ends, len(before))
    sys.path[:] = [*before[:at], *added, *before[at:]]
