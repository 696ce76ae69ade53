"""Arrays as `.npy`, never with pickled objects; large files are mapped, not read.

Source of the format: numpy.lib.format (NEP 1). Mapped copy on write: the caller may change the
array, the cached file stays as it is.
"""

from __future__ import annotations

import ast
import io
import math
import mmap
import operator
import re
import struct
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from geopod.codecs.encoded import Encoded, MalformedValueError, Source, size_of

MAP_BYTES = 1 << 20
"""From here on mapping is faster than reading; a page fault costs more than small reads."""
MAX_HEADER_BYTES = 10_000
"""numpy's own limit: a longer text can crash Python's parser."""
UNREADABLE = (
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    MemoryError,
    RecursionError,
)
"""What reading a hostile header may raise."""


@dataclass(frozen=True, slots=True)
class ArrayHeader:
    """What the header of an `.npy` says."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int
    """Where the values begin, from the start of the `.npy`."""

    @property
    def order(self) -> Literal["F", "C"]:
        """The order of the values in memory."""
        return "F" if self.fortran else "C"

    @property
    def nbytes(self) -> int:
        """Bytes that the values take."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: BinaryIO, size: int) -> ArrayHeader:
    """Return the header of the `.npy` of `size` bytes that begins where `file` stands.

    Raises MalformedValueError: no header, Python objects, or another size than it promises.
    """
    start = file.tell()
    try:
        shape, fortran, dtype = _read_plain_header(file) or _read_any_header(file, start)
    except UNREADABLE as error:
        raise MalformedValueError(f"no .npy: {error}") from error
    if dtype.hasobject:
        raise MalformedValueError("an .npy of Python objects would have to be unpickled")
    if any(length < 0 for length in shape):
        raise MalformedValueError(f"an .npy of shape {shape}")
    header = ArrayHeader(shape, fortran, dtype, file.tell() - start)
    if header.offset + header.nbytes != size:
        promised = header.offset + header.nbytes
        raise MalformedValueError(f"an .npy of {size} bytes whose header promises {promised}")
    return header


PLAIN_PREFIX = b"\x93NUMPY\x01\x00"
PLAIN_HEADER = re.compile(
    rb"\{'descr': '([<>|=][a-zA-Z]\d{1,9})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*(?:\d{1,18})?)\), \} *\n"
)


def _read_plain_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]] | None:
    """Read the header that numpy writes for plain numbers; None: another one.

    numpy parses it as Python: 0.2 ms at the first time after a while, for agent and client each.
    """
    head = file.read(10)
    if not head.startswith(PLAIN_PREFIX) or len(head) < 10:  # noqa: PLR2004  # magic, version, u16
        return None
    found = PLAIN_HEADER.fullmatch(file.read(int.from_bytes(head[8:], "little")))
    if found is None:
        return None
    shape = tuple(int(number) for number in found[3].split(b",") if number.strip())
    return shape, found[2] == b"True", np.dtype(found[1].decode())


def _read_any_header(file: BinaryIO, start: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    file.seek(start)
    return HEADER_READERS[npy.read_magic(file)](file)


HeaderReader = Callable[[BinaryIO], tuple[tuple[int, ...], bool, np.dtype[Any]]]


def _read_header_3_0(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of version 3 (UTF-8 field names), for which numpy has no public reader."""
    (length,) = struct.unpack("<I", file.read(4))
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length} bytes")
    header = ast.literal_eval(file.read(length).decode())
    shape = tuple(operator.index(number) for number in header["shape"])
    return shape, bool(header["fortran_order"]), npy.descr_to_dtype(header["descr"])


HEADER_READERS: dict[tuple[int, int], HeaderReader] = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
    (3, 0): _read_header_3_0,
}


def header_of(source: Source) -> ArrayHeader:
    """Return the header of an `.npy`, checked against its size."""
    if isinstance(source, bytes):
        return read_header(io.BytesIO(source), len(source))
    with source.open("rb") as file:
        return read_header(file, size_of(source))


def load_array(source: Source, *, start: int = 0, size: int | None = None) -> NDArray[Any]:
    """Return the array of the `.npy` of `size` bytes at `start`; the whole source by default."""
    length = size_of(source) - start if size is None else size
    if isinstance(source, bytes):
        data = source[start : start + length]
        return _array_of(data, read_header(io.BytesIO(data), length))
    with source.open("rb") as file:
        file.seek(start)
        header = read_header(file, length)
        if header.nbytes < MAP_BYTES:
            file.seek(start)
            return _array_of(file.read(length), header)
    return _mapped(source, header, start)


def _array_of(data: bytes, header: ArrayHeader) -> NDArray[Any]:
    if not header.nbytes:
        return np.empty(header.shape, header.dtype, order=header.order)
    flat = np.frombuffer(data, header.dtype, offset=header.offset)
    return flat.reshape(header.shape, order=header.order).copy(order=header.order)


def _mapped(path: Path, header: ArrayHeader, start: int) -> NDArray[Any]:
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    count = math.prod(header.shape)
    flat = np.frombuffer(memory, header.dtype, count=count, offset=start + header.offset)
    return flat.reshape(header.shape, order=header.order)


def encode_array(source: Source, meta: dict[str, Any]) -> Encoded:
    """Pass an `.npy` on after a look at its header."""
    del meta
    header = header_of(source)
    return Encoded("npy", source, {"shape": list(header.shape), "dtype": header.dtype.str})
