"""The wheels of the test index: downloaded once by pip, pinned with their hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .errors import ClusterError
from .places import cache_folder

PINNED = Path(__file__).parents[1] / "index"
"""One requirements file per interpreter, with hashes."""

Say = Callable[[str], None]

PLATFORMS = ("2_28", "2_27", "2_26", "2_24", "2_17", "2_12", "2_5")
"""pip takes a wheel for an older system only if that system is named too."""


def wheel_folder(say: Say) -> Path:
    """Folder with every pinned wheel, downloaded now if it is not there.

    Raises:
        ClusterError: the package registry did not give a wheel.
    """
    pinned = sorted(PINNED.glob("*.txt"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in pinned)).hexdigest()[:16]
    folder = cache_folder() / f"wheels-{digest}"
    if folder.exists():
        return folder
    say("downloading the wheels of the test index (once per pin)")
    draft = folder.parent / f"{folder.name}.{os.getpid()}"
    draft.mkdir(parents=True)
    try:
        for path in pinned:
            download(path, draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def download(requirements: Path, target: Path) -> None:
    """Fetch the wheels of one requirements file, which is named after its interpreter."""
    version = requirements.stem.removeprefix("python")
    platforms = [f"--platform=manylinux_{tag}_x86_64" for tag in PLATFORMS]
    platforms += ["--platform=manylinux2014_x86_64", "--platform=manylinux1_x86_64"]
    how = ["--only-binary=:all:", "--no-deps", "--require-hashes", f"--python-version={version}"]
    command = ["/usr/bin/env", "python3", "-m", "pip", "download", "--quiet", *how, *platforms]
    done = subprocess.run(
        [*command, f"--dest={target}", f"--requirement={requirements}"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise ClusterError(
            f"the wheels of {requirements.name} could not be had: {done.stderr.strip()[-200:]}",
            fix="check that pip reaches a package registry",
        )
