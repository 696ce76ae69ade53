"""The documentation builds without a warning, and no link inside it leads nowhere."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest
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


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    built = tmp_path_factory.mktemp("site")
    options = ("-q", "-W", "--keep-going", "-b", "html", "-d", str(built / "tree"))
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(DOCS), str(built / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return built / "html"


def test_every_link_inside_the_site_leads_somewhere(site):
    pages = {path: Page(path.read_text("utf-8")) for path in site.rglob("*.html")}
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            named = unquote(parts.fragment)
            is_there = target.exists() and (
                not named or target not in pages or named in pages[target].anchors
            )
            if not is_there:
                lost.append(f"{path.relative_to(site)}: {link}")
    assert len(pages) > 30
    assert lost == []


def test_every_page_of_the_guides_and_decisions_is_in_the_site(site):
    written = {path.relative_to(DOCS).with_suffix(".html") for path in DOCS.rglob("*/*.md")}
    missing = {path for path in written if not (site / path).exists()}
    assert {str(path) for path in missing} <= {"decisions/README.html"}


def test_names_of_the_package_and_its_errors_are_described(site):
    import geopod
    from geopod import errors, testing
    from geopod.faces import ellipsis

    python = Page((site / "reference" / "python.html").read_text("utf-8"))
    assert {f"geopod.{name}" for name in ("connect", "Client", "Environment", "Run", "Task")} <= (
        python.anchors
    )
    described = {name.rpartition(".")[2] for name in python.anchors}
    left = set(geopod.__all__) - described - {"__version__", "errors", "testing"}
    assert left == set()
    for module in (testing, ellipsis):
        name = module.__name__.rpartition(".")[2]
        page = Page((site / "reference" / f"{name}.html").read_text("utf-8"))
        described = {name.rpartition(".")[2] for name in page.anchors}
        assert set(module.__all__) - described - {"compute"} == set()
    page = Page((site / "reference" / "errors.html").read_text("utf-8"))
    coded = [
        getattr(errors, name) for name in errors.__all__ if name.endswith(("Error", "Timeout"))
    ]
    for found in coded:
        if "code" in vars(found) and found is not errors.GeopodError:
            file, _, anchor = found("x").section.partition("#")
            assert (site / file).exists()
            assert anchor in page.anchors
