"""The routes of single objects and folders: read, list, write, delete.

They do what `access.decide` allowed; the key that they are given is the one that was checked.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web
from geopod.api import deployment
from geopod.store import KeyExistsError, KeyMissingError

from geopod_gateway.access import Allowed
from geopod_gateway.app import asking, receiving
from geopod_gateway.app.asking import RefusedError, Upload
from geopod_gateway.app.room import Room
from geopod_gateway.app.storage import Facts, Opened, Storage
from geopod_gateway.metrics import Metrics

INLINE_BYTES = 256 << 10
"""Read and sent in one piece with the headers; more goes from file to socket by the kernel."""
SLOWEST_BYTES_PER_S = 64 << 10
"""A reader slower than this is cut off: it holds a descriptor and a connection."""


@dataclass(frozen=True, slots=True)
class Shelf:
    """What the routes work with."""

    storage: Storage
    room: Room
    metrics: Metrics
    idle_s: float

    def new_part(self) -> Path:
        """Return the name of a new file for what is not yet an object."""
        return self.storage.spool / f"put-{secrets.token_hex(12)}"


async def read(request: web.Request, allowed: Allowed, shelf: Shelf) -> web.StreamResponse:
    """Answer GET and HEAD of an object: whole, one range of it, or that it is unchanged."""
    opened = await shelf.storage.open(allowed.key)
    try:
        headers = describe(opened.facts)
        conditions = asking.etags(request, "If-Match")
        if conditions and not {"*", opened.facts.etag}.intersection(conditions):
            raise RefusedError(412, "Replaced", "The object is another one by now.")
        if {"*", opened.facts.etag}.intersection(asking.etags(request, "If-None-Match")):
            return web.Response(status=304, headers=headers)
        if request.method == "HEAD":
            return _head(opened.facts, headers)
        return await _send(request, allowed.key, shelf, opened, headers)
    finally:
        if opened.descriptor >= 0:
            os.close(opened.descriptor)


async def write(request: web.Request, allowed: Allowed, shelf: Shelf) -> web.StreamResponse:
    """Answer PUT: the object appears whole and checked, or not at all."""
    asked = asking.upload(request)
    before = await facts_of(shelf.storage, allowed.key)
    if before is not None and asked.if_absent:
        return refuse_second(before, asked)
    limit = shelf.room.limit(allowed.tenant, request.content_length)
    with shelf.room.promised(allowed.tenant, request.content_length or 0):
        spool, digest = await receiving.to_file(
            request, shelf.new_part(), limit=limit, idle_s=shelf.idle_s
        )
        try:
            if asked.digest not in {"", digest}:
                raise RefusedError(422, "OtherDigest", f"The body's sha256 is {digest}.")
            return await keep(shelf, allowed, spool.path, asked=asked, digest=digest)
        finally:
            await spool.discard()


async def keep(
    shelf: Shelf, allowed: Allowed, part: Path, *, asked: Upload, digest: str
) -> web.StreamResponse:
    """Give a whole, checked file its key and say so."""
    before = await facts_of(shelf.storage, allowed.key)
    size = part.stat().st_size  # noqa: ASYNC240  # a file of ours, just written
    writer = asked.writer if asked.if_absent else ""
    try:
        await shelf.storage.keep(
            part, allowed.key, digest=digest, writer=writer, if_absent=asked.if_absent
        )
    except KeyExistsError:
        return refuse_second(await facts_of(shelf.storage, allowed.key), asked)
    shelf.room.usage.changed(allowed.tenant, size - (before.size if before else 0))
    shelf.metrics.payload.labels("in").inc(size)
    return web.Response(status=201, headers={deployment.DIGEST_HEADER: digest})


async def list_folder(allowed: Allowed, shelf: Shelf) -> web.StreamResponse:
    """Answer GET of a folder."""
    names = await shelf.storage.names(allowed.key)
    body = json.dumps({"names": names}, separators=(",", ":")).encode()
    return web.Response(body=body, content_type="application/json")


async def delete(allowed: Allowed, shelf: Shelf) -> web.StreamResponse:
    """Answer DELETE of an object or a folder; what is not there is gone already."""
    if not allowed.key.endswith("/"):
        before = await facts_of(shelf.storage, allowed.key)
        freed = before.size if before else 0
    elif shelf.room.usage.quota_bytes:
        freed = sum((await shelf.storage.usage(allowed.key)).values())
    else:
        freed = 0  # without a quota the next sweep's count is soon enough
    await shelf.storage.delete(allowed.key)
    shelf.room.usage.changed(allowed.tenant, -freed)
    return web.Response(status=204)


async def facts_of(storage: Storage, key: str) -> Facts | None:
    """Return what lies under a key; None: nothing."""
    try:
        opened = await storage.open(key)
    except KeyMissingError:
        return None
    if opened.descriptor >= 0:
        os.close(opened.descriptor)
    return opened.facts


def refuse_second(there: Facts | None, asked: Upload) -> web.Response:
    """Answer a PUT that must be the first: 201 again if the same writer repeats it."""
    if there is not None and asked.writer and there.writer == asked.writer:
        return web.Response(status=201, headers=describe(there))
    raise RefusedError(412, "Exists", "The object is there already.")


def describe(facts: Facts) -> dict[str, str]:
    """Return the headers that say what an object is."""
    headers = {
        "ETag": f'"{facts.etag}"',
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "X-Content-Type-Options": "nosniff",
    }
    if facts.digest:
        headers[deployment.DIGEST_HEADER] = facts.digest
    return headers


def _head(facts: Facts, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_length = facts.size
    return response


async def _send(
    request: web.Request, key: str, shelf: Shelf, opened: Opened, headers: dict[str, str]
) -> web.StreamResponse:
    size = opened.facts.size
    wanted = asking.wanted_range(request, size)
    start, length = wanted or (0, size)
    status = 200 if wanted is None else 206
    if wanted is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{size}"
    shelf.metrics.payload.labels("out").inc(length)
    if opened.descriptor >= 0 and length <= INLINE_BYTES:
        data = os.pread(opened.descriptor, length, start)
        return web.Response(status=status, headers=headers, body=data)
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = length
    await response.prepare(request)
    async with asyncio.timeout(shelf.idle_s + length / SLOWEST_BYTES_PER_S):
        if opened.descriptor >= 0:
            await _send_file(request, opened.descriptor, start, length)
        else:
            async for chunk in shelf.storage.chunks(key, start, length):
                await response.write(chunk)
    await response.write_eof()
    return response


async def _send_file(request: web.Request, descriptor: int, start: int, length: int) -> None:
    """Let the kernel copy from the file to the socket."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("The reader is gone.")
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as file:
        await asyncio.get_running_loop().sendfile(transport, file, start, length)
