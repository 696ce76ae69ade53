"""Timestamps in object stores: put together on this machine, uploaded, then named by a revision.

Until its revision is there nobody reads an object, so that a failed upload publishes nothing. The
data of one publisher have a name of their own: what another one wrote is never overwritten.
"""

from __future__ import annotations

import contextlib
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from obstore.exceptions import AlreadyExistsError

from geopod.errors import LayerAccessError
from geopod.layers.access import Access
from geopod.layers.remote import BUCKETS, RemoteFile, find_remote
from geopod.layers.shelves import REVISIONS, Assemble, LocalFolder, Shelf
from geopod.layers.stores import STORE_ERRORS, told

PART_BYTES = 16 << 20
"""S3 takes 10,000 parts: objects of up to 160 GB."""
PARTS_AT_ONCE = 3
"""Held in memory at the same time."""


def open_shelf(href: str, *, path_id: str, access: Access) -> Shelf:
    """Return where a timestamp's files lie: an absolute path, or a folder of an object store.

    Raises LayerAccessError for what is no place of a layer.
    """
    if href.partition("://")[0] in BUCKETS:
        return BucketFolder(href, path_id=path_id, access=access)
    return LocalFolder(Path(href))


class BucketFolder:
    """A Shelf in an object store, with its layer's own keys."""

    def __init__(self, href: str, *, path_id: str, access: Access) -> None:
        self._folder: RemoteFile = find_remote(f"{href.rstrip('/')}/", access, path_id=path_id)

    def href(self, name: str) -> str:
        """Return an object's address."""
        return f"{self._folder.href}{name}"

    def revisions(self) -> list[bytes]:
        """Return the contents of all revisions."""
        first, last = REVISIONS
        with self._explained("read"):
            listing = self._folder.store.list_with_delimiter(self._folder.key)
            keys = [entry["path"] for entry in listing["objects"]]
            names = [(key, key.rpartition("/")[2]) for key in keys]
            return [
                bytes(self._folder.store.get(key).bytes())
                for key, name in names
                if name.startswith(first) and name.endswith(last)
            ]

    def add_data(self, digest: str, file_name: str, assemble: Assemble) -> str:
        """Assemble the data on this machine and upload them."""
        name = f"data-{digest[:16]}-{secrets.token_hex(4)}/{file_name}"
        with tempfile.TemporaryDirectory(prefix="geopod-upload-") as work:
            whole = Path(work) / file_name
            assemble(whole)
            if not whole.is_dir():
                self._upload(whole, name)
                return name
            try:
                for path in sorted(whole.iterdir()):
                    self._upload(path, f"{name}/{path.name}")
            except LayerAccessError:
                self.discard(name)
                raise
        return f"{name}/"

    def discard(self, name: str) -> None:
        """Remove data that no revision names; what cannot be removed stays unread."""
        prefix = f"{self._folder.key}{name.partition('/')[0]}/"
        with contextlib.suppress(*STORE_ERRORS):
            found = [entry["path"] for chunk in self._folder.store.list(prefix) for entry in chunk]
            self._folder.store.delete(found)

    def write(self, name: str, data: bytes) -> None:
        """Write a small object."""
        with self._explained("written"):
            self._folder.store.put(self._folder.key + name, data)

    def remove(self, name: str) -> None:
        """Remove a small object."""
        with contextlib.suppress(*STORE_ERRORS):
            self._folder.store.delete(self._folder.key + name)

    def create(self, name: str, data: bytes) -> bool:
        """Create an object where there is none."""
        with self._explained("written"):
            try:
                self._folder.store.put(self._folder.key + name, data, mode="create")
            except AlreadyExistsError:
                return False
        return True

    def _upload(self, path: Path, name: str) -> None:
        options: Any = {"chunk_size": PART_BYTES, "max_concurrency": PARTS_AT_ONCE}
        with self._explained("written"):
            self._folder.store.put(self._folder.key + name, path, **options)
            stored = self._folder.store.head(self._folder.key + name)["size"]
        if stored != path.stat().st_size:
            raise self._problem(f"{stored} of {path.stat().st_size} bytes arrived", "written")

    @contextlib.contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        """Say what a store's client says in words that name the layer and its secret."""
        try:
            yield
        except STORE_ERRORS as error:
            raise self._problem(str(told(error)), doing) from error

    def _problem(self, words: str, doing: str) -> LayerAccessError:
        file = self._folder
        secret = file.access.secrets.get(file.path_id)
        held = f"secret {secret!r}" if secret else "no secret"
        return LayerAccessError(
            f"Results for layer {file.path_id!r} cannot be {doing} at {file.href}: "
            f"{words} ({held}).",
            fixes=("keys that may list, read and write there", "correct write_to"),
            details={"href": file.href, "secret": secret, "reason": "LayerUnreachable"},
        )
