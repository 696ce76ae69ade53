"""The documentation builds without a warning, and no link inside it leads nowhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import geopod
from geopod import errors, testing
from geopod.faces import ellipsis
from guide_builders import DOCS


class Page(HTMLParser):
    """What a page links to, and what of it can be linked to."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links = set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        self.links |= {found[name] for name in ("href", "src") if found.get(name)}


def build(folder):
    """The site, built as `make docs` builds it."""
    options = ("-q", "-W", "--keep-going", "-b", "html", "-d", str(folder / "tree"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def lost_links(site, pages):
    """Links to files and anchors of the site that are not there."""
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = unquote(parts.fragment)
            is_anchor = not named or target not in pages or named in pages[target].anchors
            if not target.exists() or not is_anchor:
                yield f"{path.relative_to(site)}: {link}"


def unwritten_pages(site):
    """Markdown that did not become a page."""
    for path in DOCS.rglob("*/*.md"):
        page = path.relative_to(DOCS).with_suffix(".html")
        if not (site / page).exists():
            yield str(page)


def undescribed_names(reference):
    """Public names without a description."""
    homes = {"python": geopod, "testing": testing, "ellipsis": ellipsis}
    for name, module in homes.items():
        described = {anchor.rpartition(".")[2] for anchor in reference[name].anchors}
        yield from set(module.__all__) - described
    for found in vars(errors).values():
        if hasattr(found, "from_wire") and found.code != "E000":
            file, _, anchor = found("x").section.partition("#")
            if file != "reference/errors.html" or anchor not in reference["errors"].anchors:
                yield found.code


def test_site_builds_without_a_warning_and_nothing_in_it_leads_nowhere(tmp_path):
    site = build(tmp_path)
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 30
    assert list(lost_links(site, pages)) == []
    assert set(unwritten_pages(site)) <= {"decisions/README.html"}
    reference = {path.stem: it for path, it in pages.items() if path.parent.name == "reference"}
    assert set(undescribed_names(reference)) <= {"__version__", "errors", "testing", "compute"}
