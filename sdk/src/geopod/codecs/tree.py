"""Nested lists and dicts that hold arrays: a stored zip, one JSON and one `.npy` per leaf."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from typing import Any

from numpy.typing import NDArray

from geopod.codecs.array import load_array, read_header
from geopod.codecs.encoded import Encoded, MalformedValueError, Source

OUTLINE = "tree.json"
LEAF = "$npy"
"""In the outline `{"$npy": 3}` stands for the array in `3.npy`."""
MAX_LEAVES = 100_000
LOCAL_HEADER = struct.Struct("<4s5H3I2H")
"""The header before each member (APPNOTE 4.3.7); its last two fields are the lengths of the name
and of the extra field, behind which the bytes of a stored member lie."""


def encode_tree(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass a tree on after a look at its outline and at the header of every leaf."""
    del meta
    with _open(source) as archive:
        leaves = _leaves(archive)
        for info in leaves:
            with archive.open(info) as file:
                read_header(file, info.file_size)  # type: ignore[arg-type]  # a binary file
        _read_outline(archive)
    return Encoded("tree", source, {"leaves": len(leaves)})


def decode_tree(source: Source) -> Any:
    """Return the lists and dicts with their arrays in place; large leaves are mapped."""
    with _open(source) as archive:
        arrays = [_load(source, archive, info) for info in _leaves(archive)]
        return _filled(_read_outline(archive), arrays)


def _open(source: Source) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source)
    except (zipfile.BadZipFile, OSError) as error:
        raise MalformedValueError(f"no tree: {error}") from error


def _leaves(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are leaves, in order; a compressed member could be a bomb."""
    members = {info.filename: info for info in archive.infolist()}
    count = len(members) - 1
    names = [f"{number}.npy" for number in range(count)]
    if count > MAX_LEAVES or members.keys() != {OUTLINE, *names}:
        raise MalformedValueError(f"a tree with {count + 1} members, not {OUTLINE} and 0.npy, …")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise MalformedValueError("a tree with compressed members")
    return [members[name] for name in names]


def _read_outline(archive: zipfile.ZipFile) -> Any:
    try:
        return json.loads(archive.read(OUTLINE))
    except (ValueError, RecursionError, zipfile.BadZipFile) as error:
        raise MalformedValueError(f"a tree without outline: {error}") from error


def _load(source: Source, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
    if isinstance(source, bytes):
        return load_array(archive.read(info))
    with source.open("rb") as file:
        file.seek(info.header_offset)
        header = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    start = info.header_offset + LOCAL_HEADER.size + header[-2] + header[-1]
    return load_array(source, start=start, size=info.file_size)


def _filled(outline: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(outline, dict):
        if outline.keys() == {LEAF}:
            number = outline[LEAF]
            if not isinstance(number, int) or not 0 <= number < len(arrays):
                raise MalformedValueError(f"a tree that names leaf {number} of {len(arrays)}")
            return arrays[number]
        return {key: _filled(item, arrays) for key, item in outline.items()}
    if isinstance(outline, list):
        return [_filled(item, arrays) for item in outline]
    return outline
