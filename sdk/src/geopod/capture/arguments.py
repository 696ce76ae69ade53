"""The arguments of a map: one blob per task, a pickle on the same minor and JSON on another.

Keyword arguments that all tasks get are encoded once, beside the blobs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geopod.api.bundles import ArgumentsRef, digest, pack_arguments
from geopod.capture.bytecode import find_unpicklable, pickle_apart, pickle_arguments
from geopod.capture.function import OWN_MINOR
from geopod.capture.names import type_name
from geopod.errors import InvalidInputError, UnpicklableFunctionError


def encode_arguments(
    args_list: Sequence[Sequence[Any]],
    kwargs: Mapping[str, Any] | None = None,
    *,
    variables: Sequence[Mapping[str, str]] | None = None,
    node_python: str,
    client_python: str = OWN_MINOR,
) -> tuple[ArgumentsRef, bytes]:
    """Return the arguments object of a map: `f(*args_list[i], **kwargs)` for each task i.

    `variables`: each task's environment variables. Raises InvalidInputError when lengths differ,
    and UnpicklableFunctionError for an argument that cannot be sent.
    """
    if variables is not None and len(variables) != len(args_list):
        raise InvalidInputError.value(
            name="environments",
            value=len(variables),
            why=f"items for {len(args_list)} argument lists",
        )
    is_same_minor = node_python == client_python
    encode, encode_shared = (_pickled, _pickled_apart) if is_same_minor else (_json, _json_apart)
    own = [{}] * len(args_list) if variables is None else variables
    blobs = [
        encode(task, args, *([dict(changes)] if changes else []))
        for task, (args, changes) in enumerate(zip(args_list, own, strict=True))
    ]
    data = pack_arguments(blobs, encode_shared(dict(kwargs)) if kwargs else ())
    ref = ArgumentsRef(
        format="pickle" if is_same_minor else "json",
        sha256=digest(data),
        size=len(data),
        count=len(blobs),
    )
    return ref, data


def _pickled(task: int, args: Sequence[Any], *more: Any) -> bytes:
    try:
        return pickle_arguments(args, {}, *more)
    except Exception as error:
        _name_unpicklable(task, _numbered(args), error)
        raise


def _pickled_apart(kwargs: dict[str, Any]) -> list[bytes | memoryview]:
    try:
        return pickle_apart(kwargs)
    except Exception as error:
        _name_unpicklable(0, kwargs, error)
        raise


def _name_unpicklable(task: int, named: Mapping[str, Any], error: Exception) -> None:
    """Raise UnpicklableFunctionError for the first of these that cannot be pickled, if one is."""
    for name, value in named.items():
        found = find_unpicklable(value)
        if found is not None:
            raise UnpicklableFunctionError.argument(
                task=task,
                name=f"{name}{found[0]}",
                type_name=type_name(found[1]),
                why="cannot be pickled",
            ) from error


def _json(task: int, args: Sequence[Any], *more: Any) -> bytes:
    try:
        return _dumped([list(args), {}, *more])
    except NOT_JSON as error:
        _name_not_json(task, _numbered(args), error)
        raise


def _json_apart(kwargs: dict[str, Any]) -> list[bytes | memoryview]:
    try:
        return [_dumped(kwargs)]
    except NOT_JSON as error:
        _name_not_json(0, kwargs, error)
        raise


def _name_not_json(task: int, named: Mapping[str, Any], error: Exception) -> None:
    """Raise UnpicklableFunctionError for the first of these that is not JSON, if one is."""
    why = "is not JSON, the only form that arguments cross Python minors in"
    for name, value in named.items():
        try:
            _dumped(value)
        except NOT_JSON:
            raise UnpicklableFunctionError.argument(
                task=task, name=name, type_name=type_name(value), why=why
            ) from error


def _dumped(value: Any) -> bytes:
    return json.dumps(value, default=_numpy_scalar).encode()


NOT_JSON = (TypeError, ValueError, RecursionError)
"""What `json.dumps` raises."""


def _numbered(args: Sequence[Any]) -> dict[str, Any]:
    return {f"argument {i}": value for i, value in enumerate(args)}


def _numpy_scalar(value: Any) -> Any:
    """Return a numpy scalar as the Python number it stands for, as results do."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(type_name(value))
