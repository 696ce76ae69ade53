"""Sphinx extension: pages whose text is made from the code that it describes.

A page asks for such a text with a comment, `<!-- generated: errors -->`. Nothing is written into
the tree: the text takes the comment's place while the page is read. Links to Markdown files beside
`docs`, which are right where the repository is browsed, go to the pages that include them.
"""

# ruff: noqa: INP001  # loaded by Sphinx, from this folder

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from command_page import command_text
from error_page import error_text
from resource_page import resource_text

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARK = re.compile(r"<!-- generated: ([a-z ]+) -->")
TEXTS: Mapping[str, Callable[[], str]] = {
    "command line": command_text,
    "errors": error_text,
    "resources": resource_text,
}
INCLUDED = {
    "../../helm/geopod/README.md": "/reference/chart.md",
    "../../ARCHITECTURE.md": "/architecture.md",
    "../../CHANGELOG.md": "/changes.md",
}
"""File beside `docs`, as a guide links to it -> the page that includes it."""

CALLED = frozenset({
    "FunctionOptions", "GeopodError", "MemoryStore", "Retry", "RunOptions", "ScriptedBackend",
})  # fmt: skip  # a set of words reads best in lines
"""Classes whose constructor users call; the others' objects come from methods."""


def with_generated(text: str) -> str:
    """Return a page with its generated text in place; KeyError for a text that nobody makes."""
    for file, page in INCLUDED.items():
        text = text.replace(f"]({file}", f"]({page}")
    return MARK.sub(lambda mark: TEXTS[mark[1]](), text)


def _fill_in(app: Sphinx, docname: str, source: list[str]) -> None:
    del app, docname
    source[0] = with_generated(source[0])


def _without_constructor(  # the event's arguments
    app: Sphinx,
    what: str,
    name: str,
    described: object,
    options: object,
    signature: str | None,
    returned: str | None,
) -> tuple[str, str | None] | None:
    """Hide the parameters of a class that nobody calls; None leaves the signature as it is."""
    del app, described, options, returned
    is_called = what != "class" or name.rpartition(".")[2] in CALLED
    return None if is_called or signature is None else ("", None)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension."""
    app.connect("source-read", _fill_in)
    app.connect("autodoc-process-signature", _without_constructor)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
