"""Every code block of the guides that needs no cluster runs, and prints what the page shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guide_builders import (
    BLOCK_ENDS,
    CLUSTER,
    DATA,
    DOCS,
    GUIDES,
    NETWORK,
    blocks,
    is_as_printed,
    script,
)

RUNNER = """
import pathlib, runpy, subprocess, sys

def end():
    print("\\x1e", end="", flush=True)

def shell(command):
    done = subprocess.run(command, shell=True, text=True, stdout=subprocess.PIPE)
    print(done.stdout, end="", flush=True)

def save(name, text):
    pathlib.Path(name).write_text(text, "utf-8")

runpy.run_path(sys.argv[1], {"end": end, "shell": shell, "save": save}, run_name="__main__")
"""
FIRST_STEPS = DOCS / "guides" / "first-steps.md"


def runnable(page: Path):
    """The blocks of a page that run here."""
    languages = ("python", "console")
    found = [it for it in blocks(page) if it.language in languages]
    return [it for it in found if it.mark not in (CLUSTER, NETWORK, DATA)]


PAGES = [page for page in GUIDES if runnable(page)]


def run(*command, **options):
    """Run a command, which must succeed; return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def sample_files(tmp_path_factory):
    """The two files that all pages are about, made as the first page makes them."""
    folder = tmp_path_factory.mktemp("files")
    (made,) = [it for it in blocks(FIRST_STEPS) if it.mark == DATA]
    run(sys.executable, "-c", made.text, cwd=folder)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run_and_print_what_the_page_shows(page, sample_files, tmp_path, local_home):
    chosen = runnable(page)
    for file in sample_files:
        shutil.copy(file, tmp_path)
    (tmp_path / f"{page.stem}.py").write_text(script(chosen), "utf-8")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"GEOPOD_HOME": str(local_home), "GEOPOD_PROGRESS": "0", "PATH": path}
    command = (sys.executable, "-c", RUNNER, f"{page.stem}.py")
    printed = run(*command, cwd=tmp_path, env={**os.environ, **own}).split(BLOCK_ENDS)
    assert len(printed) == len(chosen) + 1
    for block, text in zip(chosen, printed[:-1], strict=True):
        if block.expected is not None:
            assert is_as_printed(block.expected, text), f"{page.name}, line {block.line}:\n{text}"
