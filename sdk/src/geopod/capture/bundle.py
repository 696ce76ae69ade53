"""A function as a zip of files: its own module, further ones, data; any Python minor.

Files travel as they are; the node imports the module and takes the function by its name. Nothing
is imported here but what the user's program has imported.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from geopod.api.bundles import BUNDLE_ENTRY, Captured
from geopod.capture.limits import MAX_BUNDLE_BYTES, Inclusion
from geopod.capture.names import NEVER_BY_VALUE, is_own_file, shape_name
from geopod.errors import (
    BoundGlobalError,
    FunctionTooLargeError,
    InvalidInputError,
    SourceUnavailableError,
)
from geopod.errors.wording import items_text, size_text

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest moment a zip can say: the same files make the same bytes."""
FILE_MODE = 0o100644 << 16


@dataclass(frozen=True, slots=True)
class _Files:
    """What goes into the zip: name there -> file here; and what each part of it is."""

    root: Path
    """Folder of the function's top module: data below it keep their place."""
    paths: dict[str, Path] = field(default_factory=dict)
    parts: list[Captured] = field(default_factory=list)

    def add(self, part: str, kind: Any, found: dict[str, Path]) -> None:
        """Take the files of one part; raises InvalidInputError when two would have one name."""
        for name, path in found.items():
            if self.paths.setdefault(name, path) != path:
                raise InvalidInputError(
                    f"{path} and {self.paths[name]} would both be {name!r} on the nodes.",
                    fixes=("give one of them another name",),
                )
        size = sum(path.stat().st_size for path in found.values())
        words = "1 file" if len(found) == 1 else f"{len(found)} files"
        self.parts.append(Captured(name=part, kind=kind, type=words, bytes=size))


def write_bundle(
    f: Callable[..., Any], name: str, inclusion: Inclusion
) -> tuple[bytes, tuple[Captured, ...]]:
    """Return the payload and what is in it.

    Raises SourceUnavailableError (E105) for a function or module without a file, BoundGlobalError
    (E103) for a module of the user's own that is imported and not included, FunctionTooLargeError
    (E104), InvalidInputError for data that are not there.
    """
    module, home = _home(f, name)
    top = module.partition(".")[0]
    files = _Files(_top_place(home, module).parent)
    files.add(top, "module", _module_files(_top_place(home, module), top))
    for wanted in inclusion.modules:
        other = _top_name(wanted)
        if other != top:
            place = _find_module(other)
            files.add(other, "module", _module_files(place, other))
    _check_imports(files, name)
    for data in inclusion.data:
        files.add(str(data), "file", _data_files(Path(data), files.root))
    _check_size(files, name)
    entry = {"module": module, "qualname": f.__qualname__}
    return _zip(files, entry), tuple(files.parts)


def _home(f: Callable[..., Any], name: str) -> tuple[str, Path]:
    """Return the name that the node imports, and the file it lies in here."""
    if not isinstance(f, FunctionType) or not f.__qualname__.replace(".", "_").isidentifier():
        what = shape_name(f)
        nested = what == "a function"
        raise SourceUnavailableError.not_importable(
            function=name, why="it is a nested function" if nested else f"it is {what}"
        )
    module = sys.modules.get(f.__module__)
    file = getattr(module, "__file__", None)
    if not isinstance(file, str) or Path(file).suffix != ".py":
        raise SourceUnavailableError.not_importable(function=name, why="its module is no file")
    if f.__module__ != "__main__":
        return f.__module__, Path(file)
    if not Path(file).stem.isidentifier():
        why = f"{Path(file).name} is no name that can be imported"
        raise SourceUnavailableError.not_importable(function=name, why=why)
    return Path(file).stem, Path(file)


def _top_place(file: Path, module: str) -> Path:
    """Return the file of a top-level module, or the folder of the package it is in."""
    depth = module.count(".") + (file.name == "__init__.py")
    return file.parents[depth - 1] if depth else file


def _top_name(module: str | ModuleType) -> str:
    text = module.__name__ if isinstance(module, ModuleType) else module
    return text.partition(".")[0]


def _find_module(name: str) -> Path:
    """Return the file or folder of a top-level module; raises SourceUnavailableError."""
    place = _place_of(name)
    if isinstance(place, Path):
        return place
    raise SourceUnavailableError.module(module=name, why=place)


def _place_of(name: str) -> Path | str:
    """Return where a top-level module lies, or why it cannot be included."""
    if name in sys.stdlib_module_names:
        return "it is part of Python, and there on every node"
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None:
        return "there is no such module here"
    folders = list(spec.submodule_search_locations or ())
    if len(folders) == 1:
        return Path(folders[0])
    if spec.origin is not None and Path(spec.origin).suffix == ".py":
        return Path(spec.origin)
    return "it is no Python file"


def _module_files(place: Path, top: str) -> dict[str, Path]:
    if place.is_file():
        return {f"{top}.py": place}
    return {f"{top}/{name}": path for name, path in _tree(place)}


def _tree(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder that are worth sending, in order."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part[0] == "." or part == "__pycache__" for part in inside.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            yield inside.as_posix(), path


def _data_files(given: Path, root: Path) -> dict[str, Path]:
    path = given.absolute()
    if not path.exists():
        raise InvalidInputError(f"include_data: there is no file {given}.")
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
    if path.is_file():
        return {name: path}
    return {f"{name}/{inside}": file for inside, file in _tree(path)}


def _check_imports(files: _Files, function: str) -> None:
    """Refuse a bundle whose modules import others of the user's own that would not be there."""
    there = {name.partition("/")[0].removesuffix(".py") for name in files.paths}
    for name, path in files.paths.items():
        if not name.endswith(".py"):
            continue
        for module, line in _imports(path):
            if module in there or module in NEVER_BY_VALUE:
                continue
            place = _place_of(module)
            if isinstance(place, Path) and is_own_file(str(place)):
                raise BoundGlobalError.not_included(
                    function=function, module=module, where=f"{path.name}:{line}"
                )


def _imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the top-level names that a file imports, and where."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise SourceUnavailableError.module(module=path.stem, why=str(error)) from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.partition(".")[0], node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def _check_size(files: _Files, function: str) -> None:
    size = sum(part.bytes for part in files.parts)
    if size > MAX_BUNDLE_BYTES:
        largest = sorted(files.parts, key=lambda part: -part.bytes)[:3]
        raise FunctionTooLargeError.bundle(
            function=function,
            size=size,
            limit=MAX_BUNDLE_BYTES,
            largest=[f"{part.name} {size_text(part.bytes)}" for part in largest],
        )


def _zip(files: _Files, entry: dict[str, str]) -> bytes:
    """Return the zip: sorted names, one date, one mode."""
    if BUNDLE_ENTRY in files.paths:
        raise InvalidInputError(f"{items_text([BUNDLE_ENTRY])} is geopod's own name in a bundle.")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _write(archive, BUNDLE_ENTRY, json.dumps(entry, sort_keys=True).encode())
        for name in sorted(files.paths):
            _write(archive, name, files.paths[name].read_bytes())
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, EPOCH)
    info.external_attr = FILE_MODE
    info.create_system = 3  # Unix, wherever the client runs
    info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, data)
