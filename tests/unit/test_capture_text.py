"""The text of a function: where it is found, how it is cut, and when it must not be trusted."""

import json
import linecache

import pytest
from capture_builders import OTHER, load_source, program, user_module
from geopod.capture import capture_function
from geopod.errors import PythonVersionMismatchError, SourceUnavailableError

PLAIN = "def f(x):\n    return x + 1\n"


def test_text_is_cut_byte_for_byte_and_keeps_its_line_numbers(tmp_path):
    text = program(
        '''
        import sys

        if True:
            def f(x):
                """
          café
                """
                return sys._getframe().f_lineno
        '''
    )
    with user_module(tmp_path, text) as analysis:
        bundle = capture_function(analysis.f, node_python=OTHER)
    assert json.loads(bundle.payload)["pieces"] == [
        {
            "filename": str(tmp_path / "analysis.py"),
            "firstLine": 3,
            "text": "if 1:\n" + "".join(text.splitlines(keepends=True)[3:]),
        }
    ]
    assert load_source(bundle)(0) == 8


def test_function_of_a_notebook_cell_is_read_from_linecache():
    text = "K = 2\ndef f(x):\n    return x * K\n"
    filename = "<ipython-input-3-f00>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    cell = {"__name__": "__main__"}
    exec(compile(text, filename, "exec"), cell)  # noqa: S102  # as a notebook does
    assert load_source(capture_function(cell["f"], node_python=OTHER))(2) == 4
    del linecache.cache[filename]


def test_cell_that_awaits_at_its_top_is_read_too():
    text = "import asyncio\nawait asyncio.sleep(0)\n" + PLAIN
    filename = "<ipython-input-4-f00>"
    linecache.cache[filename] = (len(text), None, text.splitlines(keepends=True), filename)
    cell = {"__name__": "__main__"}
    exec(compile("\n\n" + PLAIN, filename, "exec"), cell)  # noqa: S102  # as a notebook does
    assert load_source(capture_function(cell["f"], node_python=OTHER))(2) == 3
    del linecache.cache[filename]


def test_function_typed_into_a_bare_interpreter_has_no_source():
    scope = {}
    exec(PLAIN, scope)  # noqa: S102  # as a bare interpreter does
    with pytest.raises(SourceUnavailableError) as caught:
        capture_function(scope["f"], node_python=OTHER)
    assert str(caught.value) == (
        "GP-E105 The source of 'f' cannot be read (typed into a bare interpreter).\n"
        "fix: 1) put it in a file or a notebook cell"
    )


EDITS = {
    "another body": "def f(x):\n    return x - 1\n",
    "another constant": "def f(x):\n    return x + 2\n",
    "moved": "\n\ndef f(x):\n    return x + 1\n",
    "renamed": "def g(x):\n    return x + 1\n",
    "broken": "def f(x:\n",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_file_edited_after_import_is_not_sent_in_place_of_the_function(tmp_path, edit):
    with user_module(tmp_path, PLAIN) as analysis:
        (tmp_path / "analysis.py").write_text(edit)
        with pytest.raises(SourceUnavailableError, match="has changed since it was loaded"):
            capture_function(analysis.f, node_python=OTHER)


def test_file_that_is_gone_is_named(tmp_path):
    with user_module(tmp_path, PLAIN) as analysis:
        (tmp_path / "analysis.py").unlink()
        analysis.f.__globals__["__loader__"] = None
        with pytest.raises(SourceUnavailableError, match=r"analysis\.py is not there"):
            capture_function(analysis.f, node_python=OTHER)


def test_syntax_newer_than_the_node_is_named_with_its_line(tmp_path):
    text = """
        import math
        def f(x):
            try:
                return x
            except* ValueError:
                pass
        """
    with (
        user_module(tmp_path, text) as analysis,
        pytest.raises(PythonVersionMismatchError, match=r"its text is no Python 3\.10 \(line 6: "),
    ):
        capture_function(analysis.f, node_python="3.10")
