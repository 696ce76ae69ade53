"""Where values go on their way to the agent: into the answer, or into a file beside it."""

from __future__ import annotations

import importlib
import io
import math
import operator
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

MAX_INLINE_BYTES = 64 * 1024
"""Larger values are files: an answer holds many tasks and is at most 1 MiB."""
FOLLOWED_BYTES = 512 << 10
"""From here on the agent is told of a value before it is whole."""
PIECE_BYTES = 256 << 10
PREFIX = ".geopod-"
"""Before the names of values in the task folder, so that no user's file name clashes with one."""
NPY_MAGIC = b"\x93NUMPY\x01\x00"
NPY_ALIGNMENT = 64
PLAIN_KINDS = "biufc"
"""Kinds of numbers that one short text describes: as `PLAIN_HEADER` of `geopod.codecs.array`."""
TREE_JSON = "tree.json"
TREE_LEAF = "$npy"
"""In `tree.json`, `{"$npy": 3}` stands for the array in `3.npy`."""


class HandedOver:
    """One value: its kind, its bytes inline or its file's name below the task folder."""

    __slots__ = ("file", "inline", "kind", "meta")

    def __init__(
        self,
        kind: str,
        *,
        meta: dict[str, Any],
        inline: bytes | None = None,
        file: str | None = None,
    ) -> None:
        self.kind = kind
        self.meta = meta
        self.inline = inline
        self.file = file


class Refused(Exception):  # noqa: N818  # named for what it says of the value
    """The value is no result; `reason` is the manifest's word, `details` its numbers."""

    def __init__(self, reason: str, **details: Any) -> None:
        super().__init__(reason)
        self.reason = reason
        self.details = details


class Writer:
    """Writes one task's value; names its files after the task, so that none is used twice."""

    def __init__(
        self, folder: str, name: str, say: Callable[[str], object] = lambda _: None
    ) -> None:
        """`say(file)` is called when a large value has begun to be written."""
        self._folder = folder
        self._name = name
        self._say = say

    @property
    def folder(self) -> Path:
        """The task folder."""
        return Path(self._folder)

    def value(self, kind: str, data: bytes, meta: dict[str, Any]) -> HandedOver:
        """Hand over bytes, inline if they are small."""
        if len(data) <= MAX_INLINE_BYTES:
            return HandedOver(kind, meta=meta, inline=data)
        with self.open() as (file, name):
            self._write(file, name, data)
        return HandedOver(kind, meta=meta, file=name)

    def array(self, kind: str, array: Any, meta: dict[str, Any]) -> HandedOver:
        """Hand over an array as `.npy`, never with pickled objects in it."""
        if array.nbytes < MAX_INLINE_BYTES // 2:
            buffer = io.BytesIO()
            _write_array(buffer, array)
            return HandedOver(kind, meta=meta, inline=buffer.getvalue())
        with self.open() as (file, name):
            _write_array(file, array, lambda values: self._write(file, name, values))
        return HandedOver(kind, meta=meta, file=name)

    def _write(self, file: BinaryIO, name: str, data: Any) -> None:
        """Write bytes from the first to the last; the agent, if they are many, reads behind."""
        view = memoryview(data)
        for at in range(0, len(view), PIECE_BYTES):
            file.write(view[at : at + PIECE_BYTES])
            if at == 0 and len(view) > FOLLOWED_BYTES:
                file.flush()
                self._say(name)

    def tree(self, outline: bytes, leaves: Sequence[Any]) -> HandedOver:
        """Hand over a tree: a stored zip of its outline and one `.npy` per leaf."""
        with self.open() as (file, name), zipfile.ZipFile(file, "w", allowZip64=True) as archive:
            archive.writestr(TREE_JSON, outline)
            for number, leaf in enumerate(leaves):
                with archive.open(f"{number}.npy", "w", force_zip64=True) as member:
                    _write_array(member, leaf)
        return HandedOver("tree", meta={"leaves": len(leaves)}, file=name)

    @contextmanager
    def open(self) -> Iterator[tuple[BinaryIO, str]]:
        """Open the value's file for writing; yields it and its name below the task folder."""
        name = self.new_name()
        with open(f"{self._folder}/{name}", "wb") as file:  # noqa: PTH123  # no Path per task
            yield file, name

    def new_name(self) -> str:
        """Return the name of the value's file."""
        return f"{PREFIX}{self._name}"


def _write_array(file: Any, array: Any, write: Callable[[Any], object] | None = None) -> None:
    """Write an `.npy`: numbers that lie in a row by `write`; numpy takes twice as long."""
    numpy = importlib.import_module("numpy")
    plain = numpy.asarray(array)
    is_plain = plain.flags.c_contiguous and plain.nbytes and plain.dtype.kind in PLAIN_KINDS
    if not is_plain:
        numpy.lib.format.write_array(file, plain, allow_pickle=False)
        return
    file.write(_plain_header(plain.dtype.str, plain.shape))
    (write or file.write)(plain.reshape(-1).view(numpy.uint8))


def _plain_header(description: str, shape: tuple[int, ...]) -> bytes:
    """Return what numpy writes before plain numbers; its own way there costs 0.2 ms in a new child.

    Source of the format: numpy.lib.format (NEP 1).
    """
    text = f"{{'descr': '{description}', 'fortran_order': False, 'shape': {shape}, }}"
    ahead = len(NPY_MAGIC) + 2
    length = -(-(ahead + len(text) + 1) // NPY_ALIGNMENT) * NPY_ALIGNMENT - ahead
    return NPY_MAGIC + length.to_bytes(2, "little") + text.ljust(length - 1).encode() + b"\n"


def plain_number(number: Any) -> float | int | str | None:
    """Return a nodata value for JSON; NaN and infinities as `"nan"`, `"inf"`, `"-inf"`.

    Whole numbers of 64 bits keep all digits, numpy's too; an answer carries no longer ones.
    """
    if number is None:
        return None
    whole = int(operator.index(number)) if hasattr(number, "__index__") else None
    if whole is not None and -(1 << 63) <= whole < 1 << 64:
        return whole
    value = float(number)
    return value if math.isfinite(value) else str(value)
