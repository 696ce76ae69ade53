"""The README's pictures, from real runs on this machine: docs/notebook.png and docs/terminal.svg.

    make screenshots

A notebook is executed and photographed by a headless Chromium, once on white and once on black; a
terminal session runs behind a pseudo-terminal and is drawn by rich.
"""  # noqa: INP001  # a script

from __future__ import annotations

import asyncio
import fcntl
import html
import io
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS.parent / "examples"))
from sample_layers import countries, elevation  # noqa: E402  # the demo's layers

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WIDTH, HEIGHT = 760, 1510
COLUMNS = 100
CELLS = (
    """
import geopod

client = geopod.connect("local")
layers = ["srtm.tif", "naturalearth_lowres.shp"]
env = client.environment("relief", layers=layers, nodes=4)
env
""",
    """
def relief(params, ctx):
    own = params["srtm"]["raster"][0][params["srtm"]["core"]]
    if ctx.index == 2:
        raise ValueError("no pixel above 500 m")
    return {"highest": int(own.max()), "lowest": int(own.min())}

run = env.submit(relief).wait()
run
""",
    """run.results(errors="return")""",
)
SCRIPT = """
import time

def relief(params, ctx):
    time.sleep(1 + ctx.index)
    own = params["srtm"]["raster"][0][params["srtm"]["core"]]
    return {"highest": int(own.max()), "lowest": int(own.min())}

def fails(params, ctx):
    if ctx.index == 2:
        raise ValueError("no pixel above 500 m")
"""
COMMANDS = (
    "geopod --target local env create relief --layer srtm.tif --nodes 4",
    "geopod --target local run analysis.py:relief --env relief",
    "geopod --target local run analysis.py:fails --env relief",
    "geopod --target local runs list",
    "geopod --target local env terminate relief",
)


def main() -> None:
    """Make both pictures; the terminal's first, for it needs no browser."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        elevation(folder)
        for part in countries().parent.glob("naturalearth_lowres.*"):
            shutil.copy(part, folder)
        (folder / "analysis.py").write_text(SCRIPT)
        os.environ["GEOPOD_HOME"] = str(folder / "home-of-terminal")
        draw_terminal(folder, DOCS / "terminal.svg")
        os.environ["GEOPOD_HOME"] = str(folder / "home-of-notebook")
        photograph_notebook(folder, DOCS / "notebook.png")


def photograph_notebook(folder: Path, target: Path) -> None:
    """Execute the notebook and photograph its page."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"needs one of {', '.join(BROWSERS)}: apt-get install {BROWSERS[0]}")
    cells = [nbformat.v4.new_code_cell(text.strip()) for text in CELLS]
    goodbye = nbformat.v4.new_code_cell("env.terminate()\nclient.close()")
    book = nbformat.v4.new_notebook(cells=[*cells, goodbye])
    resources = {"metadata": {"path": str(folder)}}
    asyncio.run(NotebookClient(book, timeout=120, resources=resources).async_execute())
    page = folder / "page.html"
    page.write_text(notebook_page(book.cells[:-1]), "utf-8")
    subprocess.run(  # noqa: S603  # found above
        [
            browser, "--no-sandbox", "--hide-scrollbars", "--force-device-scale-factor=1.25",
            f"--window-size={2 * WIDTH},{HEIGHT}", f"--screenshot={target}", page.as_uri(),
        ],
        check=True, capture_output=True,
    )  # fmt: skip


def notebook_page(cells: list[Any]) -> str:
    """Return the cells as a page of two columns: a light theme, and a dark one."""
    shown = "".join(map(cell_html, cells))
    columns = "".join(
        f'<div style="background:{paper};color:{ink};--code:{code};padding:1em;box-sizing:'
        f'border-box;width:{WIDTH}px;min-height:{HEIGHT}px">{shown}</div>'
        for paper, ink, code in (("#fff", "#1f1f1f", "#f3f3f3"), ("#111", "#e6e6e6", "#222"))
    )
    return (
        '<!doctype html><meta charset="utf-8">'
        '<body style="margin:0;display:flex;font:14px sans-serif">'
        f"<style>pre.code{{background:var(--code);padding:.6em;margin:.8em 0}}</style>{columns}"
    )


def cell_html(cell: Any) -> str:
    """Return a cell's source and what it showed."""
    pieces = [f'<pre class="code">{html.escape(cell.source)}</pre>']
    for output in cell.outputs:
        data = output.get("data", {})
        plain = html.escape(data.get("text/plain", output.get("text", "")))
        pieces.append(data.get("text/html") or f"<pre>{plain}</pre>")
    return "".join(pieces)


def draw_terminal(folder: Path, target: Path) -> None:
    """Run the commands as on a terminal and draw what they printed."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), color_system="truecolor")
    for command in COMMANDS:
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(on_a_terminal(command, folder)))
    svg = console.export_svg(title="geopod")
    target.write_text(re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL), "utf-8")


def on_a_terminal(command: str, folder: Path) -> str:
    """Return what a command prints on a terminal of 100 columns, a moving line once."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = os.environ | {
        "TERM": "xterm-256color",
        "COLUMNS": str(COLUMNS),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    with subprocess.Popen(  # noqa: S602  # our own text
        command, shell=True, cwd=folder, env=environment,
        stdin=theirs, stdout=theirs, stderr=theirs,
    ):  # fmt: skip
        os.close(theirs)
        printed = b""
        while piece := _read(ours):
            printed += piece
    os.close(ours)
    return "\n".join(map(halfway, printed.decode().replace("\r\n", "\n").split("\n")))


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # the other end is closed
        return b""


def halfway(line: str) -> str:
    """Return a moving line as it was halfway, and what came after it."""
    *moving, rest = line.split("\r")
    frames = [frame.rstrip() for frame in moving if frame.strip()]
    return f"{frames[len(frames) // 2]}\n{rest}" if frames else rest


if __name__ == "__main__":
    main()
