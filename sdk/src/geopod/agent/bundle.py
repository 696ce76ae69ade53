"""The environment bundle on this node: fetched, checked, unpacked, once.

It is a `tar.zst` whose root is `site-packages`. Nothing in it may lie or point outside its folder,
be a device, or be larger than a node's disk can hold; no code of it runs here.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from geopod.api import deployment, names
from geopod.store import KeyMissingError, Store

ROOT = "site-packages"
MARKER = ".unpacked"
"""In the bundle's folder: the sha256 of what lies there, written last."""
MAX_BYTES = 64 << 30
MAX_FILES = 1_000_000
CHUNK_BYTES = 1 << 20

log = logging.getLogger(__name__)


class BundleError(Exception):
    """A bundle that is not there, not what was built, or not what a builder packs."""


class BundleLostError(BundleError):
    """The store has not what was recorded: the operator has it built anew."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """One environment bundle."""

    namespace: str
    key: str
    sha256: str


async def bring_bundle(store: Store, bundle: Bundle, folder: Path, *, cache: Path) -> None:
    """Put the bundle's packages below `folder`; one that lies there already is kept.

    What the store has fetched into `cache` is removed: it is unpacked, or not what it should be.
    Raises BundleLostError, another BundleError, and what the store raises.
    """
    if _is_there(folder, bundle):
        return
    key = f"{names.bundle_key(bundle.namespace, bundle.key)}{deployment.BUNDLE_FILE}"
    try:
        packed = await store.fetch(key)
    except KeyMissingError as error:
        raise BundleLostError(
            f"The bundle {bundle.key} is not in the store; it is built anew."
        ) from error
    try:
        await asyncio.to_thread(unpack_bundle, packed, bundle.sha256, folder)
    finally:
        if packed.is_relative_to(cache):
            packed.unlink(missing_ok=True)
    log.info("Bundle %s is unpacked.", bundle.key[:16])


def unpack_bundle(packed: Path, sha256: str, folder: Path) -> None:
    """Check and unpack a packed bundle below `folder`; raises BundleError."""
    with packed.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise BundleLostError(f"The bundle has sha256 {found}, the builder said {sha256}.")
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(folder / ROOT, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        _extract(packed, part)
        (part / ROOT).rename(folder / ROOT)
    except FileNotFoundError as error:
        raise BundleError(f"The bundle holds no folder {ROOT}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    (folder / MARKER).write_text(sha256, "utf-8")


def _extract(packed: Path, folder: Path) -> None:
    """Unpack in one pass; members that leave the folder are refused, not skipped."""
    import pyarrow as pa  # reads zstd; only nodes with a bundle pay for it

    try:
        with (
            pa.input_stream(str(packed), compression="zstd") as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            for member in _bounded(archive):
                _write(archive, member, folder)
    except (tarfile.TarError, OSError, pa.ArrowException) as error:
        raise BundleError(f"The bundle cannot be unpacked: {error}") from error


def _bounded(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members while there are not too many and they are not too large."""
    size = 0
    for count, member in enumerate(archive, start=1):
        size += max(0, member.size)
        if size > MAX_BYTES or count > MAX_FILES:
            raise BundleError(f"The bundle is too large: {count:,} files, {size:,} bytes.")
        yield member


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    """Write one member inside the folder, readable by agent and runner.

    By hand, because tarfile's own filters came with Python 3.11.4 and Debian's is 3.11.2. Links are
    not needed at all; without them a name without `..` stays inside.
    """
    name = PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts:
        raise BundleError(f"The bundle holds {member.name!r}, which lies outside of it.")
    path = folder / name
    if member.isdir():
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
        return
    source = archive.extractfile(member) if member.isreg() else None
    if source is None:
        raise BundleError(f"The bundle holds {member.name!r}, which is no plain file.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with source, path.open("xb") as target:
        shutil.copyfileobj(source, target, CHUNK_BYTES)
    path.chmod(0o755 if member.mode & 0o100 else 0o644)


def _is_there(folder: Path, bundle: Bundle) -> bool:
    """Say whether an earlier process unpacked this very bundle."""
    try:
        return (folder / MARKER).read_text("utf-8") == bundle.sha256
    except OSError:
        return False
