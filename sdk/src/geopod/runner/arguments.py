"""A run's arguments, in a file that the agent hands over: each task reads its own.

No task sees what another one has made of them: what they share is decoded for each task anew, and
large buffers are private mappings of the file, whose pages are copied where they are written to.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import Any

Decode = Callable[..., Any]
"""`decode(data)` or `decode(data, buffers=[…])`, as `pickle.loads`."""


class Arguments:
    """An arguments object; `geopod.api.bundles` describes what lies in it."""

    def __init__(self, descriptor: int, decode: Decode, shared: Sequence[Sequence[int]]) -> None:
        """Read from a descriptor that stays open; `shared`: start and stop of each segment."""
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        self._decode = decode
        self._shared = shared

    def read(self, start: int, stop: int) -> Sequence[Any]:
        """Return `[args, kwargs]` of a task, or `[args, kwargs, variables]`."""
        given = self._decode(self._map[start:stop])
        if not self._shared:
            return given  # type: ignore[no-any-return]  # what a user sent
        args, kwargs, *variables = given
        return args, {**self._read_shared(), **kwargs}, *variables

    def _read_shared(self) -> dict[str, Any]:
        (start, stop), *spans = self._shared
        encoded = self._map[start:stop]
        if not spans:
            return self._decode(encoded)  # type: ignore[no-any-return]  # what a user sent
        own = memoryview(mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_COPY))
        return self._decode(encoded, buffers=[own[a:b] for a, b in spans])  # type: ignore[no-any-return]  # likewise
