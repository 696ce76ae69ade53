"""What `f` returned, in a form the agent can encode: JSON, arrays, Arrow, raw bytes.

The first row that fits wins; pickle is the marked last resort. Small values ride in the answer,
larger ones are files in the task folder. Nothing here imports a library that the value's own
type has not loaded already.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from .handover import TREE_LEAF, HandedOver, Refused, Writer
from .returned_files import hand_over_files
from .returned_rasters import hand_over_raster, place_array
from .returned_tables import hand_over_table

FILES_OF_LAYER = {
    "raster": frozenset({"raster", "bytes", "list"}),
    "vector": frozenset({"geoarrow", "arrow", "bytes", "list"}),
}
"""Kinds that can become part of a layer of that kind."""

MAX_DEPTH = 200
"""Deeper nesting goes to the last row instead of to the end of the stack."""
_NO_JSON = object()
"""In place of what has no JSON form: the encoder refuses it."""

Pickle = Callable[[Any], bytes]


def hand_over(
    value: Any,
    writer: Writer,
    *,
    rasters: list[dict[str, Any]],
    write_to: str | None,
    pickle: Pickle,
) -> HandedOver:
    """Hand a returned value over; raises Refused with the manifest's reason if it cannot be.

    `rasters`: the staged raster layers, for arrays that become part of a layer; `write_to`: the
    kind of the layer that results go to, or None.
    """
    placed = place_array(value, rasters) if write_to == "raster" else value
    handed = (
        (type(placed).__module__ == "numpy" and _array(placed, writer))  # no work for json
        or _plain(placed, writer)
        or hand_over_files(placed, writer)
        or hand_over_raster(placed, writer, rasters, crops=write_to == "raster")
        or _array(placed, writer)
        or hand_over_table(placed, writer)
        or _tree(placed, writer)
        or _pickled(placed, writer, pickle)
    )
    if write_to is not None and handed.kind not in FILES_OF_LAYER[write_to]:
        raise Refused("NotAFileResult", type=type_name(value))
    return handed


def rehearse_array() -> None:
    """Hand over an array that nobody gets, where numpy is loaded: the first one takes 0.3 ms."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        _array(numpy.ones(1), Writer("", ""))


def type_name(value: Any) -> str:
    """Return the value's type as people name it: `generator`, `sqlite3.Connection`."""
    kind = type(value)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _scalar(value: Any) -> Any:
    """Return a numpy scalar as the plain number it is; json asks for what it does not know."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.generic):
        item = value.item()
        if isinstance(item, bool | int | float | str):
            return item
    raise TypeError(type_name(value))


_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_scalar).encode


def _plain(value: Any, writer: Writer) -> HandedOver | None:
    text = _json_text(value)
    if text is None and _has_numpy() and isinstance(value, dict | list | tuple):
        text = _json_text(_with_plain_keys(value))
    if text is None:
        return None
    return writer.value("json", text.encode("utf-8", "surrogatepass"), {})


def _json_text(value: Any) -> str | None:
    try:
        return _encode_json(value)
    except (TypeError, ValueError, RecursionError):
        return None


def _with_plain_keys(value: Any, depth: int = 0) -> Any:
    """Return a copy without numpy scalars as keys, which a `groupby` makes and json refuses."""
    if depth > MAX_DEPTH:
        return _NO_JSON
    if isinstance(value, dict):
        return {_plain_key(key): _with_plain_keys(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_plain_keys(item, depth + 1) for item in value]
    return value


def _plain_key(key: Any) -> Any:
    return key.item() if isinstance(key, sys.modules["numpy"].generic) else key


def _has_numpy() -> bool:
    return "numpy" in sys.modules


def _is_array(value: Any) -> bool:
    """Say whether `npy` can hold it: an ndarray without Python objects and without a mask."""
    numpy = sys.modules.get("numpy")
    masked = sys.modules.get("numpy.ma")  # naming numpy.ma would import it: 40 ms in every run
    return (
        numpy is not None
        and isinstance(value, numpy.ndarray)
        and not (masked is not None and isinstance(value, masked.MaskedArray))
        and not value.dtype.hasobject
    )


def _array(value: Any, writer: Writer) -> HandedOver | None:
    return writer.array("npy", value, {}) if _is_array(value) else None


def _tree(value: Any, writer: Writer) -> HandedOver | None:
    """Nested lists and dicts with arrays in them: a zip of one JSON and one npy per leaf."""
    if not _has_numpy() or not isinstance(value, dict | list | tuple):
        return None
    leaves: list[Any] = []
    text = _json_text(_outline(value, leaves, 0))
    if text is None or not leaves:
        return None
    return writer.tree(text.encode("utf-8", "surrogatepass"), leaves)


def _outline(value: Any, leaves: list[Any], depth: int) -> Any:
    """Return the value with each array replaced by its mark, the arrays gathered in `leaves`."""
    if depth > MAX_DEPTH or (isinstance(value, dict) and TREE_LEAF in value):
        return _NO_JSON
    if _is_array(value):
        leaves.append(value)
        return {TREE_LEAF: len(leaves) - 1}
    if isinstance(value, dict):
        return {_plain_key(key): _outline(item, leaves, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_outline(item, leaves, depth + 1) for item in value]
    return value


def _pickled(value: Any, writer: Writer, pickle: Pickle) -> HandedOver:
    try:
        data = pickle(value)
    except Exception as refused:
        raise Refused("NotSerializable", type=type_name(value)) from refused
    return writer.value("pickle", data, {"type": type_name(value)})
