"""Code blocks of the guides: found in the Markdown, and made into a script that runs a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"
GUIDES = sorted((DOCS / "guides").glob("*.md"))
BLOCK_ENDS = "\x1e"
"""Printed after each block: whose output is whose."""
CLUSTER, NETWORK, DATA, FILE = "cluster", "network", "data", "file"
"""What a comment before a block says of it: `<!-- cluster -->`, `<!-- file relief.py -->`."""

_MARK = re.compile(r"^<!-- ([a-z]+)(?: (\S+))? -->$")
_FENCE = re.compile(r"^```([a-z]*)$")
_COMMAND = "$ "


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: what it is in, where it stands, and what it must print."""

    language: str
    line: int
    """Of its first line, from 1."""
    lines: tuple[str, ...]
    mark: str = ""
    file: str = ""
    """Where a reader saves it, with the mark `file`."""
    expected: str | None = None

    @property
    def text(self) -> str:
        """Its lines as they stand."""
        return "\n".join(self.lines)

    @property
    def commands(self) -> tuple[str, ...]:
        """The commands of a console block."""
        return tuple(line.removeprefix(_COMMAND) for line in self.lines if _is_command(line))


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page; what a `text` block holds is what the one before it prints."""
    found: list[Block] = []
    for block in _fenced(page.read_text("utf-8").splitlines()):
        before = found[-1] if found else None
        if block.language == "text" and before is not None and before.language == "python":
            found[-1] = replace(before, expected=block.text)
        elif block.language == "console":
            printed = "\n".join(line for line in block.lines if not _is_command(line))
            found.append(replace(block, expected=printed or None))
        else:
            found.append(block)
    return found


def _fenced(lines: list[str]) -> Iterator[Block]:
    language, first, mark, file = None, 0, "", ""
    for number, line in enumerate(lines, start=1):
        fence = _FENCE.match(line)
        if language is not None and line == "```":
            yield Block(language, first, tuple(lines[first - 1 : number - 1]), mark, file)
            language, mark, file = None, "", ""
        elif language is None and fence:
            language, first = fence[1], number + 1
        elif language is None and line:
            marked = _MARK.match(line)
            mark, file = (marked[1], marked[2] or "") if marked else ("", "")


def _is_command(line: str) -> bool:
    return line.startswith(_COMMAND)


def script(chosen: list[Block]) -> str:
    """Return blocks as one script in which each stands where it stands in its page.

    So the lines of a traceback are the page's. `shell` runs a command, `save` writes a file, `end`
    prints BLOCK_ENDS.
    """
    lines: list[str] = []
    for block in chosen:
        lines += [""] * (block.line - 1 - len(lines))
        if block.mark == FILE:
            lines += [f"save({block.file!r}, {block.text!r})", *[""] * (len(block.lines) - 1)]
        elif block.language == "python":
            lines += block.lines
        else:
            lines += [_shelled(line) for line in block.lines]
        lines.append("end()")
    return "\n".join(lines) + "\n"


def _shelled(line: str) -> str:
    return f"shell({line.removeprefix(_COMMAND)!r})" if _is_command(line) else ""


def is_as_printed(expected: str, printed: str) -> bool:
    """Say whether a text is what a page shows; `…` in the page stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in expected.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None
