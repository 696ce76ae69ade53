"""Results of one execute as its callers know them: one element per node, and typed items."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from geopod.api.results import Entry, TaskRecord
from geopod.client.aio import Run
from geopod.client.aio.outcomes import stopped_error
from geopod.errors import (
    GeopodError,
    RemoteFunctionError,
    ResultExpiredError,
    RunFailedError,
    from_condition,
)
from geopod.faces.ellipsis.file_ids import FileId
from geopod.faces.ellipsis.value_errors import in_own_words

VALUE_CODECS = frozenset({"json", "pickle"})
"""What comes back as itself with `largeResult=True`; everything else is a file to fetch."""

AT_ONCE = 16
"""Results that are fetched at the same time."""


async def read_elements(run: Run, *, compute_id: str) -> list[Any]:
    """Return one element per node of a run that has ended; None for an empty partition.

    Raises RunFailedError when `f` failed on a node; it keeps the other nodes' elements.
    """
    refusal = from_condition(run.state.reason, run.state.message, during="run")
    never_ran = run.phase == "Failed" and not await run.records()
    if never_ran and not isinstance(refusal, RunFailedError):
        raise refusal
    errors = {index: await run.exception(index) for index in run.indexes}
    exceptions = {index: error for index, error in errors.items() if error is not None}
    for error in exceptions.values():
        if isinstance(error, ResultExpiredError):
            raise error
    turns = asyncio.Semaphore(AT_ONCE)

    async def element(index: int) -> Any:
        async with turns:
            return None if index in exceptions else await _element(run, index, compute_id)

    elements = list(await asyncio.gather(*map(element, run.indexes)))
    if exceptions:
        if (stopped := stopped_error(run, exceptions, elements)) is not None:
            stopped.fixes = tuple(_from_error(fix, 0) for fix in stopped.fixes)
        raise stopped or failed_run(exceptions, elements)
    if run.phase == "Failed":
        raise refusal
    return elements


async def _element(run: Run, index: int, compute_id: str) -> Any:
    record = await run.record(index)
    if record is None or record.entry is None:
        return None
    files = _file_ids(run, index, record.entry)
    if run.order.write_to is not None:
        uploads = [_upload(run, record.entry, file) for file in files]
        return uploads if record.entry.codec == "list" else uploads[0]
    if not _is_file(run, record):
        return await run.value(index)
    urls = [file.url(compute_id) for file in files]
    return urls if record.entry.codec == "list" else urls[0]


def _is_file(run: Run, record: TaskRecord) -> bool:
    entry = record.entry
    return entry is not None and run.order.large_result and entry.codec not in VALUE_CODECS


def _file_ids(run: Run, index: int, entry: Entry) -> list[FileId]:
    if entry.codec != "list":
        return [FileId(run.id, index)]
    return [FileId(run.id, index, part) for part in range(len(entry.meta.get("items", ())))]


def _upload(run: Run, entry: Entry, file: FileId) -> dict[str, Any]:
    target = run.order.write_to or {}
    items = entry.meta.get("items", ())
    item = items[file.part] if file.part is not None else None
    return {
        "pathId": target["pathId"],
        "timestampId": target["timestampId"],
        "fileId": str(file),
        "bytes": entry.bytes if item is None else item["stop"] - item["start"],
    }


async def read_items(run: Run) -> list[dict[str, Any]]:
    """Return the flat list of `{'type', 'value'}` of a run that has ended, in node order."""
    found: list[dict[str, Any]] = []
    for index in run.indexes:
        error = await run.exception(index)
        try:
            found += [_failed(error)] if error else await _items(run, index)
        except ResultExpiredError as expired:
            found.append(_failed(expired))
    return found


async def _items(run: Run, index: int) -> list[dict[str, Any]]:
    record = await run.record(index)
    if record is None or record.entry is None:
        return [{"type": "json", "value": None}]
    files = _file_ids(run, index, record.entry)
    if run.order.write_to is not None:
        return [{"type": "upload", "value": _upload(run, record.entry, file)} for file in files]
    if _is_file(run, record):
        return [{"type": "file", "value": str(file)} for file in files]
    return [{"type": "json", "value": await run.value(index)}]


def _failed(error: GeopodError) -> dict[str, Any]:
    return {"type": "exception", "value": _told(error)}


def _told(error: GeopodError) -> str:
    """Return `<Type>: <message>` of a user's exception, the fact of any other failure."""
    if isinstance(error, RemoteFunctionError) and error.remote is not None:
        return f"{error.remote.type}: {error.remote.message}".removesuffix(": ")
    return in_own_words(error.fact)


def _from_error(fix: str, task: int) -> str:
    """Return a fix as code that can be pasted where the error was caught as `error`."""
    for word, path in (("run.", "error.run."), ("task.", f"error.run.tasks[{task}].")):
        if fix.startswith(word):
            return path + fix.removeprefix(word)
    return fix


def failed_run(exceptions: Mapping[int, GeopodError], elements: Sequence[Any]) -> RunFailedError:
    """Return the error of nodes that failed: the first one's text, and how many others did.

    Its code is that of the failures where they share one and it is not the user's own exception.
    """
    total, first = len(elements), min(exceptions)
    error = RunFailedError.failed(exceptions=exceptions, completed=elements, total=total)
    others, kept = len(exceptions) - 1, total - len(exceptions)
    error.fact = f"{_told(exceptions[first]).rstrip('.')} (node {first}, of 0..{total - 1})."
    if others:
        error.fact += f" {others} other {'node' if others == 1 else 'nodes'} failed too."
    if kept:
        error.fact += f" {kept} of {total} results are kept in .completed."
    error.args = (error.fact,)
    codes = {it.code for it in exceptions.values()}
    if len(codes) == 1 and codes != {RemoteFunctionError.code}:
        error.__dict__["code"] = codes.pop()
        fixes = exceptions[first].fixes
    else:
        fixes = ("task.reproduce()", "run.logs()")
    error.fixes = tuple(_from_error(in_own_words(fix), first) for fix in fixes)
    return error
