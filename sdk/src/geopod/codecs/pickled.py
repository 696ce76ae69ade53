"""The marked last resort: a pickle, opened only by the caller's own word.

One of the three modules that touch pickle. Encoding passes bytes on unopened.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from geopod.codecs.encoded import Encoded, Source, read_bytes


@dataclass(frozen=True, slots=True, repr=False)
class PickledResult:
    """A result that only Python can read; `load()` runs the code that it names: trust its maker."""

    type_name: str
    """The type `f` returned, as its process called it."""
    size: int
    """Bytes of the pickle."""
    sha256: str
    source: Source

    def load(self, buffers: Iterable[memoryview] = ()) -> Any:
        """Unpickle the value; raises what its classes raise, ImportError where they are missing.

        `buffers`: out-of-band ones, which lie beside the pickle.
        """
        return pickle.loads(read_bytes(self.source), buffers=buffers)  # noqa: S301  # the caller asked for it

    @override
    def __repr__(self) -> str:
        return f"<PickledResult {self.type_name}, {self.size} bytes, sha256 {self.sha256[:12]}…>"


def encode_pickle(source: Source, meta: dict[str, Any]) -> Encoded:
    """Mark a pickle with the type it was made of; it is not opened here."""
    return Encoded("pickle", source, {"type": str(meta.get("type") or "object")})
