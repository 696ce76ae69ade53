"""Returned bytes and files: handed over as they are, nothing parsed."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

from .handover import HandedOver, Refused, Writer

RAW = (bytes, bytearray, memoryview)
FILE_TYPES = (*RAW, io.BytesIO, os.PathLike)


def hand_over_files(value: Any, writer: Writer) -> HandedOver | None:
    """Hand over bytes, a BytesIO, a path under the scratch folder, or a list of these.

    None: the value is none of them. A BytesIO counts from its beginning; a file is taken away,
    those of a list are copied.
    """
    if isinstance(value, list | tuple):
        if not value or not all(isinstance(item, FILE_TYPES) for item in value):
            return None
        return _several(value, writer)
    if isinstance(value, os.PathLike):
        name = _beneath(value, writer.folder)
        taken = writer.new_name()
        (writer.folder / name).rename(writer.folder / taken)
        return HandedOver("bytes", meta={"name": name}, file=taken)
    if isinstance(value, FILE_TYPES):
        return writer.value("bytes", _raw(value), {})
    return None


def _several(values: Any, writer: Writer) -> HandedOver:
    """Write all items end to end into one file; `meta.items` says where each of them lies."""
    items: list[dict[str, Any]] = []
    with writer.open() as (file, name):
        for value in values:
            start = file.tell()
            item: dict[str, Any] = {}
            if isinstance(value, os.PathLike):
                item["name"] = _beneath(value, writer.folder)
                _append(writer.folder / item["name"], file)
            else:
                file.write(_raw(value))
            items.append({**item, "start": start, "stop": file.tell()})
    return HandedOver("list", meta={"items": items}, file=name)


def _raw(value: Any) -> bytes:
    return value.getvalue() if isinstance(value, io.BytesIO) else bytes(value)


def _append(path: Path, target: BinaryIO) -> None:
    with path.open("rb") as source:
        shutil.copyfileobj(source, target, 1 << 20)


def _beneath(value: os.PathLike[Any], folder: Path) -> str:
    """Return a returned path relative to the scratch folder; Refused if it names no file there."""
    root = folder.resolve()
    path = Path(os.fsdecode(value))
    found = (path if path.is_absolute() else root / path).resolve()
    if not found.is_file():
        raise Refused("NotSerializable", type=f"path that is no file ({path})")
    if not found.is_relative_to(root):
        raise Refused("NotSerializable", type=f"path outside ctx.scratch ({path})")
    return found.relative_to(root).as_posix()
