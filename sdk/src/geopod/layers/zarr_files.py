"""The files of a Zarr store, on this machine or elsewhere: metadata as JSON, chunks as bytes."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from geopod.errors import LayerAccessError
from geopod.errors.wording import size_text
from geopod.layers.remote import RemoteFile, unreadable
from geopod.layers.web import Answer, SourceRefusedError

NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_. -]*[A-Za-z0-9_-])?")
"""What a dimension or an array is called; no path."""
PATH = re.compile(rf"{NAME.pattern}(?:/{NAME.pattern})*")
_MOST_METADATA = 1 << 20
_MISSING = 404


@dataclass(frozen=True, slots=True)
class StoreFiles:
    """A store that is being read, and the metadata files that were, by their versions."""

    place: Path | RemoteFile
    path_id: str
    read: dict[str, str] = field(default_factory=dict)
    """Name -> version."""

    @property
    def is_remote(self) -> bool:
        """Whether each read is a round trip."""
        return isinstance(self.place, RemoteFile)

    @property
    def version(self) -> str:
        """What changes when the metadata that were read do, or are written again."""
        parts = [f"{name} {version}" for name, version in sorted(self.read.items())]
        return f"metadata {sha256(' '.join(parts).encode()).hexdigest()[:32]}"

    def get(self, name: str) -> dict[str, Any] | None:
        """Return a JSON object of the store; None: it is not there."""
        answer = self._ask(name, 0, _MOST_METADATA + 1)
        if answer is None:
            return None
        self.read[name] = answer.version
        if len(answer.body) > _MOST_METADATA:
            raise self.refused(f"{name} has more than {size_text(_MOST_METADATA)}")
        try:
            found = json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise self.refused(f"{name} is not JSON ({error})") from error
        if not isinstance(found, dict):
            raise self.refused(f"{name} is not a JSON object")
        return found

    def take(self, name: str, start: int, length: int) -> bytes | None:
        """Return a range of a file, less where it ends; None: it is not there."""
        answer = self._ask(name, start, length)
        return None if answer is None else answer.body

    def size(self, name: str) -> int | None:
        """Return how large a file is; None: it is not there."""
        answer = self._ask(name, 0, 1)
        return None if answer is None else answer.size

    def _ask(self, name: str, start: int, length: int) -> Answer | None:
        if not isinstance(self.place, RemoteFile):
            try:
                with (self.place / name).open("rb") as file:
                    about = os.fstat(file.fileno())
                    file.seek(start)
                    body = file.read(length)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                # What is there and cannot be read is no chunk that was never written.
                raise self.refused(f"{name}: {error.strerror or error}") from error
            version = f"mtime {about.st_mtime_ns} size {about.st_size}"
            return Answer(body=body, size=about.st_size, version=version)
        try:
            return member(self.place, name).read(start, length)
        except LayerAccessError as error:
            cause = error.__cause__
            if isinstance(cause, SourceRefusedError) and cause.status == _MISSING:
                return None
            raise

    def refused(self, words: str) -> LayerAccessError:
        """Return the error that says what is wrong with the store."""
        return unreadable(self.place, words, path_id=self.path_id)


def member(place: RemoteFile, name: str) -> RemoteFile:
    """Return an object of a store, which shares the store's client."""
    inside = replace(place, href=f"{place.href}/{name}", key=f"{place.key}/{name}")
    if place.has_client:
        inside.__dict__["store"] = place.store
    return inside


def beside(group: str, name: str) -> str:
    """Return the path of a name in a group; the root group is empty."""
    return f"{group}/{name}" if group else name
