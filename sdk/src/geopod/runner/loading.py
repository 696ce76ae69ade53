"""A function sent as source: fill a namespace, run its pieces, take its entry.

Source of the payload's form: `api.bundles`. The text is run as it was written, byte for byte.
A function sent with files is unpacked and imported instead.
"""

from __future__ import annotations

import importlib
import io
import json
import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from .absent import stand_in_for_geopod

BUNDLE_ENTRY = ".geopod.json"
MODULE_NAME = "geopod_function"
"""`__module__` of everything that the source defines."""


class NotLoadableError(Exception):
    """The payload is no function that this interpreter can run."""


def load_source(payload: bytes) -> Callable[..., Any]:
    """Return the entry of a `source` payload; raises what its code raises."""
    bundle = json.loads(payload)
    module = ModuleType(MODULE_NAME)
    sys.modules[MODULE_NAME] = module
    namespace = module.__dict__
    namespace.update(bundle.get("constants") or {})
    for name, attribute, alias in bundle.get("imports") or ():
        imported: Any = importlib.import_module(name)
        namespace[alias] = imported if attribute is None else getattr(imported, attribute)
    pieces = bundle["pieces"]
    _prime_source_lines(pieces)
    for piece in pieces:
        text, first_line = piece["text"], piece["firstLine"]
        code = compile(_at_line(text, first_line), piece["filename"], "exec", dont_inherit=True)
        exec(code, namespace)  # noqa: S102  # running what users send is the runner's duty
    entry = namespace.get(bundle["entry"])
    if not callable(entry):
        raise NotLoadableError(f"the source defines no function {bundle['entry']!r}")
    return entry  # type: ignore[no-any-return]  # callable() was asked


def _at_line(text: str, first_line: int) -> str:
    """Return the text with its first line at `first_line`, so that tracebacks tell the truth.

    Indented text runs inside `if 1:`, never dedented: that would change multi-line strings.
    """
    if text[:1] in {" ", "\t"}:
        return "\n" * max(first_line - 2, 0) + "if 1:\n" + text
    return "\n" * (first_line - 1) + text


def _prime_source_lines(pieces: list[dict[str, Any]]) -> None:
    """Put the pieces where tracebacks look for source lines; the client's files are not here."""
    files: dict[str, list[str]] = {}
    for piece in pieces:
        lines = files.setdefault(piece["filename"], [])
        own = piece["text"].splitlines(keepends=True)
        missing = piece["firstLine"] - 1 + len(own) - len(lines)
        lines.extend(["\n"] * max(missing, 0))
        lines[piece["firstLine"] - 1 : piece["firstLine"] - 1 + len(own)] = own
    for filename, lines in files.items():
        size = sum(map(len, lines))
        linecache.cache[filename] = (size, None, lines, filename)


def load_bundle(payload: bytes, folder: Path) -> Callable[..., Any]:
    """Unpack a `bundle` payload below `folder`, work there, and return its entry."""
    import zipfile  # 10 ms, needed for bundles alone

    with zipfile.ZipFile(io.BytesIO(payload)) as archive:
        entry = json.loads(archive.read(BUNDLE_ENTRY))
        archive.extractall(folder)  # zipfile keeps names below the folder
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    stand_in_for_geopod()
    found: Any = importlib.import_module(entry["module"])
    for name in entry["qualname"].split("."):
        found = getattr(found, name, None)
    found = getattr(found, "__geopod_function__", found)
    if not callable(found):
        raise NotLoadableError(f"{entry['module']} defines no function {entry['qualname']!r}")
    return found  # type: ignore[no-any-return]  # callable() was asked


def declares_context(function: Callable[..., Any]) -> bool:
    """Say whether the function has a parameter `ctx`: only then it is called with one."""
    if isinstance(function, FunctionType) and not hasattr(function, "__wrapped__"):
        code = function.__code__
        return "ctx" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    import inspect  # 5 ms, needed for callable objects and wrappers alone

    try:
        return "ctx" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
