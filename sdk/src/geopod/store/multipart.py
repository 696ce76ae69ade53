"""A large object sent to a gateway in parts, and sent on after a break where it stopped.

The gateway names an upload by its key, size and beginning: a client that starts again finds its
parts. The sha256 of the whole is made while they are sent and said at the end, where it is checked;
parts of other bytes that began alike cost another round.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geopod.api import deployment
from geopod.store import KeyMissingError
from geopod.store.channel import Attempts, Broken, Call, Channel
from geopod.store.sources import Source

PART_BYTES = 32 << 20
MARK_BYTES = 1 << 20
"""Of the beginning, hashed before anything is sent."""
ROUNDS = 2
"""An upload may vanish: swept, refused by its sha256, or begun at another replica."""


async def upload(channel: Channel, key: str, source: Source, *, headers: Mapping[str, str]) -> bool:
    """Write all of `source` under `key`; `headers` are the conditions of a PUT of the whole.

    False: its parts do not stay together; send it in one piece.
    """
    mark = await source.sha256(MARK_BYTES)
    hashing = asyncio.ensure_future(source.sha256())
    try:
        for _ in range(ROUNDS):
            try:
                await _round(channel, key, _Marked(source, mark, hashing), headers)
            except KeyMissingError:
                if await _is_there(channel, key, await hashing):
                    return True  # the answer to the last request was lost
            else:
                return True
        return False
    finally:
        hashing.cancel()


@dataclass(frozen=True, slots=True)
class _Marked:
    """What is sent, the sha256 of its beginning, and that of all of it as soon as it is known."""

    source: Source
    mark: str
    hashing: asyncio.Future[str]


async def _round(channel: Channel, key: str, marked: _Marked, headers: Mapping[str, str]) -> None:
    attempts, source = channel.attempts(), marked.source
    plan = json.dumps(
        {"bytes": source.size, "partBytes": PART_BYTES, "beginning": marked.mark}
    ).encode()
    begin = Call("POST", key, {"uploads": ""}, headers, lambda: plan)
    answer = await _json(channel, begin, attempts)
    query = {"upload": str(answer["upload"])}
    there = {int(number) for number in answer["parts"]}
    for number, start in enumerate(range(0, source.size, PART_BYTES), start=1):
        if number not in there:
            await _send_part(channel, key, source, {**query, "part": str(number)}, start)
    whole = {**headers, deployment.DIGEST_HEADER: await marked.hashing}
    complete = Call("POST", key, query, whole, lambda: b"")
    (await channel.ask(complete, channel.attempts())).release()


async def _send_part(
    channel: Channel, key: str, source: Source, query: Mapping[str, str], start: int
) -> None:
    length = min(PART_BYTES, source.size - start)
    size = {"Content-Length": str(length)}
    call = Call("PUT", key, query, size, lambda: source.body(start, length))
    (await channel.ask(call, channel.attempts())).release()


async def _json(channel: Channel, call: Call, attempts: Attempts) -> dict[str, Any]:
    while True:
        answer = await channel.ask(call, attempts)
        try:
            async with answer:
                return dict(await answer.json(content_type=None))
        except Broken as error:
            await attempts.failed(error)


async def _is_there(channel: Channel, key: str, sha256: str) -> bool:
    try:
        answer = await channel.ask(Call("HEAD", key), channel.attempts())
    except KeyMissingError:
        return False
    answer.release()
    return answer.headers.get(deployment.DIGEST_HEADER) == sha256
