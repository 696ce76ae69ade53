"""File results as execute names them: `/compute/<computeId>/file/<run uid>-<node>`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from typing_extensions import override

from geopod.errors import InvalidInputError, NotAFileResultError

FORM = "/compute/<computeId>/file/<fileId>"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_URL = re.compile(rf"/compute/[^/\s]+/file/({_UUID})-(\d{{1,9}})(?:-(\d{{1,9}}))?")
SHOWN = 100
"""Characters of a wrong value that a sentence bears."""


@dataclass(frozen=True, slots=True)
class FileId:
    """A file result: which run, which node, and which of several files of that node."""

    run: str
    node: int
    part: int | None = None

    @override
    def __str__(self) -> str:
        return f"{self.run}-{self.node}" + ("" if self.part is None else f"-{self.part}")

    def url(self, compute_id: str) -> str:
        """Return what execute hands back for the file."""
        return f"/compute/{compute_id}/file/{self}"


def read_url(url: Any, *, name: str = "url") -> FileId:
    """Return the file that a string of execute names; raises NotAFileResultError (GP-E311)."""
    match = _URL.fullmatch(url) if isinstance(url, str) else None
    if match is None:
        raise NotAFileResultError(
            f"{name} is {_shown(url)}, not a file that execute returned ({FORM}).",
            fixes=("createCompute(…, largeResult=True)", "return a BytesIO or an array from f"),
            details={"name": name},
        )
    run, node, part = match.groups()
    return FileId(run, int(node), None if part is None else int(part))


def read_response(response: Any) -> list[FileId]:
    """Return the files in what execute returned; None is skipped, lists of a node are flattened."""
    if isinstance(response, (str, bytes, Mapping)) or not isinstance(response, Iterable):
        raise InvalidInputError.value(
            name="response",
            value=response,
            why="is not the list that execute returned",
            fix="addLayer(execute(…), pathId, timestampId, token)",
        )
    found: list[FileId] = []
    for index, entry in enumerate(response):
        parts = entry if isinstance(entry, list) else [entry]
        found += [read_url(part, name=f"response[{index}]") for part in parts if part is not None]
    if not found:
        raise InvalidInputError(
            "response holds no file: there is nothing to add.",
            fixes=("f returns a file where its partition is not empty", "wait() for the result"),
            details={"name": "response"},
        )
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
