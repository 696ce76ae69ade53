"""Rules of the tree that no linter knows."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("sdk/src/**/*.py")) + sorted(ROOT.glob("operator/src/**/*.py"))
RUNNER = sorted((ROOT / "sdk/src/geopod/runner").glob("*.py"))
MAX_LINES = 300


def test_no_package_is_called_operator():
    shadows = [path for path in ROOT.glob("**/operator/__init__.py") if ".venv" not in path.parts]
    assert shadows == [], "this file shadows the standard library's operator"


def test_tests_have_no_packages():
    assert list(ROOT.glob("tests/**/__init__.py")) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short_and_say_what_they_are_for(path):
    text = path.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_LINES
    assert ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("path", RUNNER, ids=lambda path: path.name)
def test_runner_needs_the_standard_library_and_cloudpickle_only(path):
    allowed = sys.stdlib_module_names | {"cloudpickle"}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.split(".")[0] for alias in node.names} <= allowed
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert (node.module or "").split(".")[0] in allowed


HEAVY = ("aiohttp", "geopandas", "kubernetes", "numpy", "pandas", "pyarrow", "pydantic", "rasterio")


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import geopod", (*HEAVY, "asyncio", "click", "rich")),
        ("import geopod; geopod.connect", ("geopandas", "numpy", "pandas", "rasterio")),
        ("import geopod.cli.command", HEAVY),
        ("import geopod.coordinator.service", ("numpy", "pandas", "pydantic", "rasterio")),
        ("import geopod.agent.node", ("numpy", "pandas", "pydantic", "rasterio")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_import_stays_light(statement, absent):
    code = f"{statement}; import sys; print(*sorted(set({absent!r}) & set(sys.modules)))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.split() == []
