"""First step of the builder's Job: `python -m geopod.builder.prepare --into DIR`.

Puts uv and the zipapp of `geopod.builder.install` where an image without geopod can start them; or
says, if the store has the bundle already, that there is nothing to do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from geopod.api import deployment
from geopod.builder.target import Target

PROGRAM_MODE = 0o755
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can say: the same source gives the same zipapp."""


async def prepare(into: Path, target: Target | None) -> bool:
    """Fill the folder of tools; return False if the bundle is in the store already."""
    write_zipapp(into / "install.pyz")
    if target is not None and await target.is_there():
        (into / Path(deployment.BUILD_THERE).name).touch()
        return False
    copy_uv(into / "uv")
    return True


def write_zipapp(path: Path) -> None:
    """Write the installer as one file that any Python starts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    source = Path(__file__).with_name("install.py").read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py", EPOCH), source)
    path.chmod(PROGRAM_MODE)


def copy_uv(path: Path) -> None:
    """Copy uv, a static program, from this image."""
    import uv

    shutil.copyfile(uv.find_uv_bin(), path)
    path.chmod(PROGRAM_MODE)


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Prepare; with no store in the environment the bundle is always built."""
    parser = argparse.ArgumentParser(prog="python -m geopod.builder.prepare")
    parser.add_argument("--into", type=Path, required=True)
    options = parser.parse_args(arguments)
    target = Target.read(environ) if environ.get(deployment.ENV_STORE) else None
    wanted = asyncio.run(_run(options.into, target))
    sys.stdout.write("ready\n" if wanted else "the store has this bundle already\n")
    return 0


async def _run(into: Path, target: Target | None) -> bool:
    try:
        return await prepare(into, target)
    finally:
        if target is not None:
            await target.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
