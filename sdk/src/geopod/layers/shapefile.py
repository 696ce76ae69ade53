"""Whether a Shapefile is all there: GDAL reads one that is cut off as a shorter one.

Source: ESRI Shapefile Technical Description (1998); dBASE's header has the sizes of its table.
"""

from __future__ import annotations

from pathlib import Path

_HEAD_BYTES = 100
_OWN_SUFFIXES = (".shp", ".shx", ".dbf")


def cut_off(path: Path) -> str | None:
    """Return which part of a Shapefile ends before its header says; None: none does."""
    for suffix in _OWN_SUFFIXES:
        for part in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
            if not part.exists():
                continue
            with part.open("rb") as file:
                told = _told_size(file.read(_HEAD_BYTES), is_table=suffix == ".dbf")
            if (size := part.stat().st_size) < told:
                return f"{part} is cut off: it says that it has {told:,} bytes, and has {size:,}"
    return None


def _told_size(head: bytes, *, is_table: bool) -> int:
    if not is_table:
        return 2 * int.from_bytes(head[24:28], "big")
    rows, head_bytes, row_bytes = (
        int.from_bytes(head[start:stop], "little") for start, stop in ((4, 8), (8, 10), (10, 12))
    )
    return head_bytes + rows * row_bytes
