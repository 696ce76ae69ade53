"""A run's arguments object as a file, which the runner's child reads; never opened here."""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from geopod.api.bundles import ArgumentPlaces, Span

Form = Literal["pickle", "json"]


class Arguments:
    """An arguments object (`api.bundles`): its descriptor, and where each task's blob lies.

    The descriptor is closed when nobody holds this any more.
    """

    def __init__(self, path: Path, form: Form) -> None:
        """Raise ValueError if this is no arguments object."""
        self.form = form
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self.descriptor)
        mapped = mmap.mmap(self.descriptor, 0, access=mmap.ACCESS_READ)
        self._places = ArgumentPlaces(mapped)

    def spans(self, indexes: Iterable[int]) -> list[Span]:
        """Return where these tasks' blobs lie; raises ValueError for one there is not."""
        return [self._places.span(index) for index in indexes]

    def header(self) -> dict[str, object]:
        """Return what the runner must know beside the descriptor."""
        return {"format": self.form, "shared": self._places.shared}
