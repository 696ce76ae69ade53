"""The function that `FILE.py:FUNC` names, and where the user's own code went wrong."""

from __future__ import annotations

import ast
import importlib.util
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import click

GEOPOD = str(Path(__file__).parents[1])


class UsersError(Exception):
    """The user's own code raised; its cause is what it raised."""

    def __init__(self, what: str, *, exit_code: int) -> None:
        """`what` became of it; `exit_code`: the command's, as documented."""
        super().__init__(what)
        self.exit_code = exit_code


def load_function(reference: str) -> Callable[..., Any]:
    """Import the file of `FILE.py:FUNC` and return the function.

    Raises click.UsageError, and UsersError for what the file itself raises.
    """
    file, _, name = reference.rpartition(":")
    path = Path(file)
    if not file or not name.isidentifier():
        raise click.UsageError(f"{reference!r} is not FILE.py:FUNC, such as analysis.py:ndvi")
    if not path.is_file():
        raise click.UsageError(f"there is no file {path}")
    _require_name(path, name)
    sys.path.insert(0, str(path.parent.absolute()))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise click.UsageError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise UsersError(f"{path} cannot be loaded; nothing was started", exit_code=2) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise click.UsageError(f"{name!r} in {path} is no function")
    return function  # type: ignore[no-any-return]  # callable() is no type guard for Any


def _require_name(path: Path, name: str) -> None:
    """Refuse a function that the file does not define before the file is executed."""
    try:
        statements = ast.parse(path.read_bytes(), str(path)).body
    except SyntaxError as error:
        raise click.UsageError(f"{path}, line {error.lineno}: {error.msg}") from error
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    defined = [node.name for node in statements if isinstance(node, kinds)]
    assigned = {
        target.id
        for node in statements
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if name not in defined and name not in assigned:
        there = f"it has {', '.join(defined)}" if defined else "it has none"
        raise click.UsageError(f"{path} has no function {name!r}; {there}")


def users_traceback(error: BaseException) -> str:
    """Return an error's traceback from the user's first frame on; all of it if there is none."""
    whole = error.__traceback__
    frames = whole
    while frames is not None and not _is_users(frames):
        frames = frames.tb_next
    lines = traceback.format_exception(type(error), error, frames or whole)
    return "".join(lines).rstrip("\n")


def _is_users(frame: TracebackType) -> bool:
    """Whether a frame is neither geopod's, nor of what calls and loads for it."""
    module = str(frame.tb_frame.f_globals.get("__name__", ""))
    file = frame.tb_frame.f_code.co_filename
    return not (
        file.startswith((GEOPOD, "<frozen "))
        or module.partition(".")[0] in {"asyncio", "click"}
        or (module == "__main__" and Path(file).stem == "geopod")
    )
