"""What lies beside a file on this machine: GDAL opens it with the file, whoever put it there.

A pipe among it would be waited for without end. Overviews and masks are opened with any driver, so
that a VRT of such a name would read what the layer's author must not see.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from os import DirEntry, scandir
from pathlib import Path, PurePath
from typing import NamedTuple

from geopod.errors import LayerAccessError

_IMAGES = (".msk", ".ovr")
_TEXTS = {".dim", ".txt", ".xml"}
"""Satellites' products have these under other stems: `DIM_a.XML` for `IMG_a.TIF`."""
_AFTER_STEM = ("", ".", "-", "_")


class _Listing(NamedTuple):
    """What matters of a folder, by name."""

    odd: tuple[str, ...]
    """Pipes, sockets and devices."""
    images: tuple[tuple[str, str], ...]
    """Overviews and masks: name without case, name; in this order."""


def check_companions(path: Path, *, path_id: str) -> None:
    """Raise LayerAccessError for a pipe, socket or device that GDAL would open with a file."""
    for name in _list_of(path).odd:
        if _shares_stem(name, path.stem) or PurePath(name).suffix.lower() in _TEXTS:
            raise LayerAccessError.unreachable(
                path_id=path_id,
                words=f"{path.with_name(name)}, which is read with {path.name}, is no plain file",
                details={"href": str(path)},
            )


def companion_images(path: Path) -> list[Path]:
    """Return the overviews and masks of a raster that lie beside it, and those of these."""
    images, begin = _list_of(path).images, f"{path.name.casefold()}."
    first = bisect_left(images, (begin, ""))
    found = []
    for folded, name in images[first:]:
        if not folded.startswith(begin):
            break
        found.append(path.with_name(name))
    return found


def _shares_stem(name: str, stem: str) -> bool:
    name, stem = name.casefold(), stem.casefold()
    return name.startswith(stem) and name[len(stem) : len(stem) + 1] in _AFTER_STEM


def _list_of(path: Path) -> _Listing:
    return _list_folder(path.parent, path.parent.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def _list_folder(folder: Path, _changed_ns: int) -> _Listing:
    """List a folder once for all files of a mosaic; it counts as another when it has changed."""
    odd, images = [], []
    with scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(_IMAGES):
                images.append((entry.name.casefold(), entry.name))
            if _is_odd(entry):
                odd.append(entry.name)
    return _Listing(tuple(sorted(odd)), tuple(sorted(images)))


def _is_odd(entry: DirEntry[str]) -> bool:
    """Whether opening it does more than read it; only a link costs a look at what it leads to."""
    try:
        return not entry.is_file() and not entry.is_dir() and Path(entry).exists()
    except OSError:  # links in a ring, or to where there is no right: nothing that could be opened
        return False
