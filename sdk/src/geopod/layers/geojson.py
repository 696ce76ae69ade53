"""Refuse a GeoJSON whose CRS is an address: GDAL would ask for it, whoever lives there.

Source: the 2008 draft of GeoJSON, "linked CRS"; `importFromUrl` in GDAL's reader. Its parser takes
single quotes, escaped letters and comments too, so anything that may be such a member counts.
"""

from __future__ import annotations

import re
from typing import BinaryIO

from geopod.errors import LayerAccessError
from geopod.layers.sources import SourceFile

CHUNK_BYTES = 8 << 20
_MOST_VALUE = 4096
"""A member's value must begin, and one that names a CRS end, within so many bytes."""
_KEY = re.compile(
    rb"""["'](?:c|\\u00[46]3)(?:r|\\u00[57]2)(?:s|\\u00[57]3)(?:\\u0000[^"']{0,512})?["']""",
    re.IGNORECASE,
)
_NAMED = re.compile(
    rb"""\{\s*"type"\s*:\s*"name"\s*,\s*"properties"\s*:\s*\{\s*"name"\s*:\s*"[^"\\]*"\s*\}\s*\}"""
)


def check_crs(file: SourceFile, *, path_id: str) -> None:
    """Raise LayerAccessError if the CRS of a GeoJSON may be anything but a name.

    It reads the whole file, as GDAL does.
    """
    stream = file.path.open("rb") if file.remote is None else file.remote.open()
    with stream:
        if _has_address(stream):
            raise LayerAccessError.unreachable(
                path_id=path_id,
                words=f"the crs of {file.href} is no plain name; GeoJSON is in WGS 84: remove it",
                details={"href": file.href},
            )


def _has_address(stream: BinaryIO) -> bool:
    kept = b""
    while True:
        chunk = stream.read(CHUNK_BYTES)
        text = kept + chunk
        # A key near the end of what is known waits for its value.
        known = len(text) - 2 * _MOST_VALUE if chunk else len(text)
        for key in _KEY.finditer(text):
            if key.start() < known and not _is_plain(text[key.end() : key.end() + _MOST_VALUE]):
                return True
        if not chunk:
            return False
        kept = text[max(0, known) :]


def _is_plain(after: bytes) -> bool:
    """Say whether what stands after the word is no member, or one that names its CRS."""
    text = after.lstrip()
    if text[:1] != b":":
        return text[:1] in {b",", b"}", b"]"}
    value = text[1:].lstrip()
    return bool(value) and (value[:1] not in {b"{", b"/"} or bool(_NAMED.match(value)))
