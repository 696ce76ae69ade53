"""The client of a command, and the function that `FILE.py:FUNC` names."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from geopod.client.sync import Client, connect


@dataclass(frozen=True, slots=True)
class Chosen:
    """Where a command works, as `--target` and `--namespace` say."""

    target: str | None = None
    namespace: str | None = None


def open_client(chosen: Chosen) -> Client:
    """Return the client of `--target`; without one this machine, and a line says so."""
    if chosen.target is None:
        click.echo("target: this machine (--target picks a cluster)", err=True)
    return connect(chosen.target or "local", namespace=chosen.namespace)


def load_function(reference: str) -> Callable[..., Any]:
    """Import the file of `FILE.py:FUNC` and return the function; raises click.UsageError."""
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
    spec.loader.exec_module(module)
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
        raise click.UsageError(f"{path} has no function {name!r}; it has {', '.join(defined)}")
