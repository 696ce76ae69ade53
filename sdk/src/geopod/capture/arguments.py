"""The arguments of a map: one blob per task, a pickle on the same minor and JSON on another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from geopod.api.bundles import ArgumentsRef, digest, pack_arguments
from geopod.capture.bytecode import find_unpicklable, pickle_arguments
from geopod.capture.function import OWN_MINOR
from geopod.capture.names import type_name
from geopod.errors import InvalidInputError, UnpicklableFunctionError


def encode_arguments(
    args_list: Sequence[Sequence[Any]],
    kwargs: Sequence[Mapping[str, Any]] | None = None,
    *,
    variables: Sequence[Mapping[str, str]] | None = None,
    node_python: str,
    client_python: str = OWN_MINOR,
) -> tuple[ArgumentsRef, bytes]:
    """Return the arguments object of a map: `f(*args_list[i], **kwargs[i])` for each task i.

    `kwargs` None: positional arguments only; `variables`: each task's environment variables.
    Raises InvalidInputError when lengths differ, and UnpicklableFunctionError for an argument that
    cannot be sent.
    """
    for name, several in (("kwargs", kwargs), ("environments", variables)):
        if several is not None and len(several) != len(args_list):
            raise InvalidInputError.value(
                name=name, value=len(several), why=f"items for {len(args_list)} argument lists"
            )
    is_same_minor = node_python == client_python
    encode = _pickled if is_same_minor else _json
    named = [{}] * len(args_list) if kwargs is None else kwargs
    own = [{}] * len(args_list) if variables is None else variables
    blobs = [
        encode(task, args, dict(keywords), *([dict(changes)] if changes else []))
        for task, (args, keywords, changes) in enumerate(zip(args_list, named, own, strict=True))
    ]
    data = pack_arguments(blobs)
    ref = ArgumentsRef(
        format="pickle" if is_same_minor else "json",
        sha256=digest(data),
        size=len(data),
        count=len(blobs),
    )
    return ref, data


def _pickled(task: int, args: Sequence[Any], kwargs: dict[str, Any], *more: Any) -> bytes:
    try:
        return pickle_arguments(args, kwargs, *more)
    except Exception as error:
        named = {**{f"argument {i}": value for i, value in enumerate(args)}, **kwargs}
        for name, value in named.items():
            found = find_unpicklable(value)
            if found is not None:
                raise UnpicklableFunctionError.argument(
                    task=task,
                    name=f"{name}{found[0]}",
                    type_name=type_name(found[1]),
                    why="cannot be pickled",
                ) from error
        raise


def _json(task: int, args: Sequence[Any], kwargs: dict[str, Any], *more: Any) -> bytes:
    try:
        return json.dumps([list(args), kwargs, *more], default=_numpy_scalar).encode()
    except (TypeError, ValueError, RecursionError) as error:
        named = {**{f"argument {i}": value for i, value in enumerate(args)}, **kwargs}
        why = "is not JSON, the only form that arguments cross Python minors in"
        for name, value in named.items():
            if not _is_json(value):
                raise UnpicklableFunctionError.argument(
                    task=task, name=name, type_name=type_name(value), why=why
                ) from error
        raise


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, default=_numpy_scalar)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _numpy_scalar(value: Any) -> Any:
    """Return a numpy scalar as the Python number it stands for, as results do."""
    if type(value).__module__ == "numpy" and getattr(value, "shape", None) == ():
        return value.item()
    raise TypeError(type_name(value))
