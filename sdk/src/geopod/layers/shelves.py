"""Where one timestamp's files lie: a folder of this machine, or (`buckets`) of an object store."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

Assemble = Callable[[Path], object]
"""Writes the data to the path it is given."""
REVISIONS = ("revision-", ".json")
"""Beginning and end of a revision's name."""


class Shelf(Protocol):
    """One timestamp's files by name. What is put there whole is seen whole."""

    def href(self, name: str) -> str:
        """Return a file's uri."""

    def revisions(self) -> list[bytes]:
        """Return the contents of all revisions, in any order."""

    def add_data(self, digest: str, file_name: str, assemble: Assemble) -> str:
        """Assemble data and put them there whole; returns their name, which no revision has yet."""

    def discard(self, name: str) -> None:
        """Remove data that no revision names, unless another publisher may use them."""

    def write(self, name: str, data: bytes) -> None:
        """Write a small file."""

    def remove(self, name: str) -> None:
        """Remove a small file."""

    def create(self, name: str, data: bytes) -> bool:
        """Create a small file with all of `data`, or say that there is one already."""


class LocalFolder:
    """A Shelf of this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def href(self, name: str) -> str:
        """Return a file's path."""
        return str(self._folder.absolute() / name)

    def revisions(self) -> list[bytes]:
        """Return the contents of all revisions."""
        return [path.read_bytes() for path in self._folder.glob("*".join(REVISIONS))]

    def add_data(self, digest: str, file_name: str, assemble: Assemble) -> str:
        """Assemble the data beside their place and move them there whole."""
        self._folder.mkdir(parents=True, exist_ok=True)
        home = self._folder / f"data-{digest[:16]}"
        if not home.exists():
            with tempfile.TemporaryDirectory(prefix=".assembling-", dir=self._folder) as work:
                whole = Path(work) / "whole"
                whole.mkdir()
                assemble(whole / file_name)
                try:
                    whole.rename(home)
                except OSError:
                    # Another publisher of the same results was faster; its bytes are ours.
                    if not home.exists():
                        raise
        return f"{home.name}/{file_name}"

    def discard(self, name: str) -> None:
        """Leave the data: another publisher of the same results uses the same ones."""

    def write(self, name: str, data: bytes) -> None:
        """Write a file by a rename."""
        path = self._folder / name
        part = _part(path)
        part.write_bytes(data)
        part.replace(path)

    def remove(self, name: str) -> None:
        """Remove a file."""
        (self._folder / name).unlink(missing_ok=True)

    def create(self, name: str, data: bytes) -> bool:
        """Create a file by a link, which no second one can replace."""
        path = self._folder / name
        part = _part(path)
        part.write_bytes(data)
        try:
            os.link(part, path)
        except FileExistsError:
            return False
        finally:
            part.unlink()
        return True


def _part(path: Path) -> Path:
    """Return a name beside `path` that no other thread, process or container writes to."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
