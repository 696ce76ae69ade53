"""How the documentation is built: `make docs` writes HTML into `docs/_build`."""

# ruff: noqa: INP001  # a configuration file, read by Sphinx

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import geopod  # noqa: E402  # after the path is known

project = "geopod"
release = version = geopod.__version__
author = "the geopod authors"
project_copyright = f"{author}. Apache-2.0"

extensions = ["myst_parser", "sphinx.ext.autodoc", "generated"]
exclude_patterns = ["_build", "_ext", "decisions/README.md"]

# Markdown. An anchor for every heading, so that links to sections are checked. Quotation marks stay
# as they are: people paste them.
smartquotes = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Docstrings. They quote code as Markdown does, with single backticks, and have no sections;
# napoleon would take the words before a colon for a type.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
add_module_names = False

# Links. A link or anchor inside the site that leads nowhere is a warning, and `make docs` takes
# warnings for errors. Links to other hosts are not looked at: a build needs no network. `make
# docs-links` asks them.
linkcheck_ignore = [
    r"https?://([^/]*\.)?example(\.(com|org|net))?([:/]|$)",
    r"https?://(localhost|127\.)",
]
linkcheck_timeout = 20
linkcheck_retries = 2
linkcheck_anchors = False
"""A page that is there suffices; anchors of other hosts are written by scripts."""

html_theme = "furo"
html_title = f"geopod {release}"
html_show_sourcelink = False
html_copy_source = False
