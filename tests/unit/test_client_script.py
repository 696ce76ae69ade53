"""Requirements that a script names itself (PEP 723)."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
from geopod.client.options import environment_spec, read_requirements
from geopod.client.script import script_requirements
from geopod.errors import InvalidInputError

BLOCK = '# /// script\n# dependencies = [\n#   "numpy>=2",\n#   "rasterio",\n# ]\n# ///\n'


@pytest.fixture
def running(tmp_path, monkeypatch):
    """Make a text the script that this process runs."""

    def run(text):
        script = tmp_path / "analysis.py"
        script.write_text(text)
        main = ModuleType("__main__")
        main.__file__ = str(script)
        monkeypatch.setitem(sys.modules, "__main__", main)

    return run


def test_script_names_its_own_requirements(running):
    running(f"#!/usr/bin/env python\n{BLOCK}\nimport numpy\n")

    assert read_requirements("script") == ["numpy>=2", "rasterio"]


PYTHON = "# /// script\n# requires-python = {!r}\n# dependencies = []\n# ///\n"
PYTHONS = [">=3.11", "==3.12.*", ">=3.12.4", "<3.12.4", "~=3.11", "==3.12.7", ">3.12.1,<3.12.9"]


@pytest.mark.parametrize("wanted", PYTHONS)
def test_nodes_with_a_python_that_a_script_allows_are_taken(running, wanted):
    running(PYTHON.format(wanted))
    options = {"requirements": "script", "interpreter": "python3.12"}

    assert environment_spec(options, layers=[], files=[])["requirements"] == []


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (">=3.13", "requires Python >=3.13; its nodes would have python3.12."),
        ("<3.12", "requires Python <3.12; its nodes would have python3.12."),
        (">=3.99", "fix: 1) correct requires-python"),
        ("newer", "has no versions in `requires-python`: 'newer'"),
    ],
    ids=["newer", "older", "never", "words"],
)
def test_nodes_with_a_python_that_a_script_refuses_are_not_started(running, wanted, words):
    running(PYTHON.format(wanted))
    options = {"requirements": "script", "interpreter": "python3.12"}

    with pytest.raises(InvalidInputError) as caught:
        environment_spec(options, layers=[], files=[])
    assert words in str(caught.value)


def test_python_that_would_do_is_named(running):
    running(PYTHON.format(">=3.13"))

    with pytest.raises(InvalidInputError) as caught:
        environment_spec(
            {"requirements": "script", "interpreter": "python3.12"}, layers=[], files=[]
        )
    assert caught.value.fixes == ("interpreter='python3.13'",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import numpy\n", "analysis.py has no block `# /// script`"),
        ("# /// script\n# dependencies = [\n# ///\n", "analysis.py is not TOML"),
        ("# /// script\n# dependencies = 'numpy'\n# ///\n", "are no list of texts"),
        (f"{BLOCK}\n{BLOCK}", "has 2 blocks"),
    ],
    ids=["none", "broken", "no-list", "two"],
)
def test_block_that_says_nothing_is_refused_with_an_example(running, text, words):
    running(text)

    with pytest.raises(InvalidInputError) as caught:
        read_requirements("script")
    assert words in caught.value.fact
    assert '# dependencies = ["numpy"]' in str(caught.value)


def test_notebook_has_no_script(monkeypatch):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))

    with pytest.raises(InvalidInputError, match="and none does"):
        read_requirements("script")


def test_other_blocks_are_not_looked_at(tmp_path):
    script = tmp_path / "analysis.py"
    script.write_text('# /// tool\n# dependencies = ["x"]\n# ///\n')

    assert script_requirements(script) is None
