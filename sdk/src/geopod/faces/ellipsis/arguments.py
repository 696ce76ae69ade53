"""Arguments as Ellipsis' users write them: checked, and in one spelling. Pure, before any request.

What is wrong is an InvalidInputError that names the argument, what was given, and an example.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from geopod.errors import DuplicateKeyError, InvalidInputError, RequirementsError
from geopod.errors.wording import items_text

LAYERS_EXAMPLE = "layers=[{'pathId': 'dem', 'timestampId': '2024'}]"
TARGET_EXAMPLE = "writeToLayer={'pathId': 'ndvi', 'timestampId': '2024'}"
FORMATS = ("tif", "parquet", "gpkg", "fgb", "geojson")
"""What a layer's results may be written as; the layer's type has its usual one."""
MAX_NODES = 1000


def choose_nodes(spellings: Mapping[str, Any]) -> Any:
    """Return the number of nodes, whichever way it was given; raises when two ways differ."""
    given = {name: value for name, value in spellings.items() if value is not None}
    values = list(given.values())
    if any(value != values[0] for value in values):
        told = " and ".join(f"{name}={value!r}" for name, value in given.items())
        raise InvalidInputError(
            f"{told} are one argument, the number of nodes.",
            fixes=(f"nodes={values[0]!r} alone",),
            details={"name": "nodes"},
        )
    return values[0] if values else None


def read_token(token: Any) -> str | None:
    """Return a bearer token without the word `Bearer`; None: credentials of the target's own."""
    if token is None:
        return None
    text = token.strip() if isinstance(token, str) else ""
    text = text.removeprefix("Bearer").strip()
    if not text or any(character.isspace() for character in text):
        # The value itself is a secret: only its shape is said.
        shape = "a text with spaces" if text else "empty"
        shape = shape if isinstance(token, str) else f"of type {type(token).__name__}"
        raise InvalidInputError(
            f"token is {shape}; a token is one word.",
            fixes=("token=None takes your kubeconfig's", "kubectl create token ana"),
            details={"name": "token"},
        )
    return text


def read_layers(layers: Any, *, has_files: bool) -> list[dict[str, Any]]:
    """Return `layers` as the environment's spec takes them; timestampIds must differ."""
    if isinstance(layers, (str, Mapping)) or not isinstance(layers, Iterable):
        raise InvalidInputError.value(
            name="layers", value=layers, why="is no list of layers", fix=LAYERS_EXAMPLE
        )
    found = [_read_layer(f"layers[{index}]", layer) for index, layer in enumerate(layers)]
    if not found and not has_files:
        raise InvalidInputError(
            "layers=[] names no layer, so that f would get nothing.",
            fixes=(LAYERS_EXAMPLE, "geopod.connect().layers() lists what there is"),
            details={"name": "layers"},
        )
    counts = Counter(layer["timestampId"] for layer in found)
    for timestamp_id, count in counts.items():
        if count > 1:
            raise DuplicateKeyError.repeated(key=timestamp_id, times=count)
    return found


def _read_layer(name: str, layer: Any) -> dict[str, Any]:
    if not isinstance(layer, Mapping):
        raise InvalidInputError.value(
            name=name, value=layer, why="is no dictionary", fix=LAYERS_EXAMPLE
        )
    for key in ("pathId", "timestampId"):
        _check_id(name, layer, key, example=LAYERS_EXAMPLE)
    return dict(layer)


def _check_id(name: str, given: Mapping[Any, Any], key: str, *, example: str) -> None:
    if key not in given:
        raise InvalidInputError(
            f"{name}={dict(given)!r} has no {key!r}.", fixes=(example,), details={"name": name}
        )
    _check_name(f"{name}[{key!r}]", given[key], example=example)


def _check_name(name: str, value: Any, *, example: str) -> None:
    """Raise unless a pathId or timestampId is a text without spaces and slashes."""
    if not isinstance(value, str) or not value:
        raise InvalidInputError.value(name=name, value=value, why="is no text", fix=example)
    if re.search(r"[\s/\\]", value):
        raise InvalidInputError.value(
            name=name, value=value, why="has a space or a slash", fix=example
        )


def read_files(files: Any) -> list[str | Path]:
    """Return `files`: ids of stored files, and paths that are uploaded."""
    if files is None:
        return []
    example = "files=['model.json'], or the id of a file that was uploaded before"
    if isinstance(files, (str, Path, Mapping)) or not isinstance(files, Iterable):
        raise InvalidInputError.value(
            name="files", value=files, why="is no list of files", fix=example
        )
    found = list(files)
    for index, file in enumerate(found):
        if not isinstance(file, (str, Path)) or not str(file):
            raise InvalidInputError.value(
                name=f"files[{index}]", value=file, why="is neither an id nor a path", fix=example
            )
    return found


def read_nodes(nodes: Any) -> int | None:
    """Return how many nodes share the work; None: as many as the runtime gives."""
    if nodes is None:
        return None
    if isinstance(nodes, bool) or not hasattr(nodes, "__index__"):
        raise InvalidInputError.value(
            name="nodes", value=nodes, why="is no whole number", fix="nodes=4"
        )
    count = int(nodes.__index__())
    if not 1 <= count <= MAX_NODES:
        raise InvalidInputError.value(
            name="nodes", value=count, why=f"is not within 1 … {MAX_NODES}", fix="nodes=4"
        )
    return count


def read_requirements(requirements: Any) -> list[str]:
    """Return the requirement strings; None is an empty list, as upstream documents it."""
    if requirements is None:
        return []
    if isinstance(requirements, str):
        raise RequirementsError.bare_string(text=requirements)
    example = "requirements=['numpy', 'scikit-image>=0.24']"
    if isinstance(requirements, Mapping) or not isinstance(requirements, Iterable):
        raise InvalidInputError.value(
            name="requirements", value=requirements, why="is no list of texts", fix=example
        )
    found = list(requirements)
    for index, line in enumerate(found):
        if not isinstance(line, str):
            raise InvalidInputError.value(
                name=f"requirements[{index}]", value=line, why="is no text", fix=example
            )
    return found


def read_interpreter(interpreter: Any) -> str:
    """Return an interpreter's name as the spec takes it."""
    if not isinstance(interpreter, str) or not re.fullmatch(r"python3\.\d{1,2}", interpreter):
        raise InvalidInputError.value(
            name="interpreter",
            value=interpreter,
            why="names no Python",
            fix="interpreter='python3.12'",
        )
    return interpreter


def read_flag(name: str, value: Any) -> bool:
    """Return a boolean; numbers and texts that only look like one are refused."""
    if not isinstance(value, bool):
        raise InvalidInputError.value(
            name=name, value=value, why="is neither True nor False", fix=f"{name}=True"
        )
    return value


def read_crs(crs: Any) -> str:
    """Return the working CRS as the spec takes it; `native`: the reference layer's."""
    if not isinstance(crs, str) or not re.fullmatch(r"native|EPSG:\d{4,6}", crs):
        raise InvalidInputError.value(
            name="crs",
            value=crs,
            why="names no CRS",
            fix="crs='EPSG:3857', or crs='native' for the layers' own",
        )
    return crs


def read_target(target: Any) -> dict[str, Any] | None:
    """Return a checked copy of `writeToLayer`: the caller's dictionary stays as it is."""
    if target is None:
        return None
    if not isinstance(target, Mapping):
        raise InvalidInputError.value(
            name="writeToLayer", value=target, why="is no dictionary", fix=TARGET_EXAMPLE
        )
    for key in ("pathId", "timestampId"):
        _check_id("writeToLayer", target, key, example=TARGET_EXAMPLE)
    _check_own_timestamp("writeToLayer['timestampId']", target["timestampId"])
    strange = [str(key) for key in target if key not in {"pathId", "timestampId", "file"}]
    if strange:
        raise InvalidInputError(
            f"writeToLayer has {items_text(strange)}; it takes pathId, timestampId and file.",
            fixes=(TARGET_EXAMPLE,),
            details={"name": "writeToLayer"},
        )
    found = {"pathId": target["pathId"], "timestampId": target["timestampId"]}
    return found | ({"file": _read_format(target["file"])} if target.get("file") else {})


def _read_format(file: Any) -> dict[str, str]:
    if not isinstance(file, Mapping) or file.get("format") not in FORMATS:
        raise InvalidInputError.value(
            name="writeToLayer['file']",
            value=file,
            why=f"names none of the formats {', '.join(FORMATS)}",
            fix="'file': {'format': 'tif'}",
        )
    return {"format": str(file["format"])}


def read_compute_id(compute_id: Any) -> str:
    """Return the id or name of a compute, from itself or the dictionary of createCompute."""
    found = compute_id.get("id") if isinstance(compute_id, Mapping) else compute_id
    text = str(found) if isinstance(found, str) or hasattr(found, "hex") else ""
    if not text.strip():
        raise InvalidInputError.value(
            name="computeId",
            value=compute_id,
            why="is no id of a compute",
            fix="computeId=createCompute(…)['id']",
        )
    return text.strip()


def order_execute(f: Any, token: Any) -> tuple[Callable[..., Any], Any]:
    """Return function and token of execute, whichever of its two documented orders was used."""
    if not callable(f) and callable(token):
        return token, f
    if not callable(f):
        raise InvalidInputError.value(
            name="f", value=f, why="is no function", fix="def f(params): …"
        )
    if callable(token):
        raise InvalidInputError(
            "f and token are both functions.", fixes=("execute(computeId, f, token)",)
        )
    return f, token


def check_destination_layer(path_id: Any, timestamp_id: Any) -> None:
    """Raise unless results can be added to this timestamp of this layer."""
    _check_name("pathId", path_id, example="pathId='ndvi'")
    _check_name("timestampId", timestamp_id, example="timestampId='2024'")
    _check_own_timestamp("timestampId", timestamp_id)


def _check_own_timestamp(name: str, timestamp_id: str) -> None:
    if timestamp_id == "latest":
        raise InvalidInputError.value(
            name=name,
            value=timestamp_id,
            why="is the newest timestamp that is there; results need a name of their own",
            fix="timestampId='2024'",
        )


def check_destination(path: Any, memfile: Any) -> None:
    """Raise unless a download has somewhere to go."""
    if path is None and memfile is None:
        raise InvalidInputError(
            "downloadFile has nowhere to write to.",
            fixes=("filePath='result.tif'", "memfile=io.BytesIO()"),
        )
    if path is not None and (not isinstance(path, str | Path) or not str(path)):
        raise InvalidInputError.value(
            name="filePath", value=path, why="is no path", fix="filePath='result.tif'"
        )
    if memfile is not None and not (hasattr(memfile, "write") and hasattr(memfile, "seek")):
        raise InvalidInputError.value(
            name="memfile", value=memfile, why="is no file object", fix="memfile=io.BytesIO()"
        )
