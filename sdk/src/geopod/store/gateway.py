"""Bytes by key behind geopod's gateway: HTTP with a capability token. A Store.

Every operation is repeated while the gateway is away, a download goes on where it broke off, a
large upload is sent in parts that are not sent twice. What arrives is checked by its sha256.
Wire format: `geopod.api.deployment`, "the store over HTTP".
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from geopod.api import deployment
from geopod.errors import GatewayUnavailableError
from geopod.store import KeyMissingError, multipart
from geopod.store.cache import FileCache, remove_file
from geopod.store.channel import (
    Broken,
    Call,
    Channel,
    DirectRoute,
    Patience,
    Route,
    TokenFile,
    TokenSource,
    Way,
)
from geopod.store.keys import check_key, check_prefix
from geopod.store.sources import BytesSource, FileSource, Source
from geopod.store.spool import Spool

MULTIPART_BYTES = 64 << 20
"""Larger objects are sent in parts: a broken connection then costs one part."""
ROTTEN_LIMIT = 3
"""Bytes of another sha256 may be the way's fault once or twice; then they are the store's."""
NOT_MODIFIED, REPLACED, NOTHING_THERE = 304, 412, 416


class GatewayStore:
    """A Store (`geopod.store.Store`) behind a gateway; closed by `close()` or `async with`.

    `target` is the gateway's URL or a Route to it (the API server's service proxy); `token` a
    file or a function, asked before each request. `cache` is the folder that `fetch` fills. `way`:
    what other stores know of the same route.
    """

    def __init__(
        self,
        target: str | Route,
        *,
        token: Path | TokenSource | None,
        cache: Path,
        cache_bytes: int | None = None,
        session: aiohttp.ClientSession | None = None,
        patience: Patience | None = None,
        way: Way | None = None,
    ) -> None:
        route = DirectRoute(target) if isinstance(target, str) else target
        source = TokenFile(token) if isinstance(token, Path) else token
        self._channel = Channel(
            route, source, session=session, patience=patience or Patience(), way=way
        )
        self._cache = FileCache(cache, limit_bytes=cache_bytes)

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        await self._put(check_key(key), BytesSource(data), if_absent=if_absent)

    async def put_file(
        self, key: str, source: Path, *, move: bool = False, if_absent: bool = False
    ) -> None:
        """Write a file's bytes under `key`; `move`: the file goes when they have arrived."""
        file = FileSource(source)
        try:
            await self._put(check_key(key), file, if_absent=if_absent)
        finally:
            file.close()
        if move:
            remove_file(source)

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        if length == 0:
            await self._release("HEAD", check_key(key))
            return b""
        rotten = 0
        while rotten < ROTTEN_LIMIT:
            download = _Download(self._channel, check_key(key), start, length)
            try:
                parts = [chunk async for chunk in download.chunks()]
            except _ReplacedError:
                continue
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            is_whole = start == 0 and length is None
            if not is_whole or not download.differs(hashlib.sha256(data).hexdigest()):
                return data
            rotten += 1
        raise _rotten(key)

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        rotten = 0
        while rotten < ROTTEN_LIMIT:
            known = self._cache.recall(key)
            download = _Download(self._channel, check_key(key), 0, None)
            spool = Spool(self._cache.new_part(), is_hashed_aside=True)
            try:
                async for chunk in download.chunks(unless=known[0] if known else ""):
                    await spool.add(chunk)
                if known and download.is_unchanged:
                    return known[1]
                digest = await spool.finish()
                if not download.differs(digest):
                    return self._cache.keep(spool.path, key=key, digest=digest, etag=download.etag)
                rotten += 1
            except _ReplacedError:
                continue
            finally:
                await spool.discard()
        raise _rotten(key)

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        try:
            await self._release("HEAD", check_key(key))
        except KeyMissingError:
            return False
        return True

    async def describe(self, key: str) -> tuple[int, str]:
        """Return size and sha256 of what lies under `key`; raises KeyMissingError.

        The sha256 is empty where the gateway's disk cannot keep it.
        """
        answer = await self._channel.ask(Call("HEAD", check_key(key)), self._channel.attempts())
        answer.release()
        size = int(answer.headers.get("Content-Length", "0"))
        return size, answer.headers.get(deployment.DIGEST_HEADER, "")

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        attempts = self._channel.attempts()
        while True:
            answer = await self._channel.ask(Call("GET", check_prefix(prefix)), attempts)
            try:
                async with answer:
                    listing = await answer.json(content_type=None)
            except Broken as error:
                await attempts.failed(error)
                continue
            return [str(name) for name in listing["names"]]

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`; missing: nothing."""
        key = check_prefix(prefix) if prefix.endswith("/") else check_key(prefix)
        await self._release("DELETE", key)

    async def close(self) -> None:
        """Close the connections."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _release(self, method: str, key: str) -> None:
        """Send a request whose answer has nothing to read."""
        answer = await self._channel.ask(Call(method, key), self._channel.attempts())
        answer.release()

    async def _put(self, key: str, source: Source, *, if_absent: bool) -> None:
        headers: dict[str, str] = {}
        if if_absent:
            headers["If-None-Match"] = "*"
            headers[deployment.WRITER_HEADER] = secrets.token_hex(16)
        if source.size > MULTIPART_BYTES and await multipart.upload(
            self._channel, key, source, headers=headers
        ):
            return
        headers[deployment.DIGEST_HEADER] = await source.sha256()
        headers["Content-Length"] = str(source.size)
        call = Call("PUT", key, headers=headers, body=lambda: source.body(0, source.size))
        answer = await self._channel.ask(call, self._channel.attempts())
        answer.release()


def _rotten(key: str) -> GatewayUnavailableError:
    """Return the error for bytes that are not those that were once stored."""
    return GatewayUnavailableError(
        f"The gateway holds other bytes under {key!r} than their sha256 says "
        f"(read {ROTTEN_LIMIT} times)."
    )


class _ReplacedError(Exception):
    """The object became another one between two parts of its download."""


class _Download:
    """One object's bytes, over as many connections as it takes."""

    def __init__(self, channel: Channel, key: str, start: int, length: int | None) -> None:
        self.etag = ""
        self.is_unchanged = False
        self._attempts = channel.attempts()
        self._channel = channel
        self._key = key
        self._position = start
        self._end = None if length is None else start + length
        self._digest = ""

    def differs(self, sha256: str) -> bool:
        """Say whether the gateway has the bytes of another hash; it may not know one."""
        return self._digest not in {"", sha256}

    async def chunks(self, *, unless: str = "") -> AsyncIterator[bytes]:
        """Yield the bytes; `unless`: none if the object still has this ETag."""
        while True:
            answer = await self._channel.ask(
                Call("GET", self._key, headers=self._headers(unless)),
                self._attempts,
                expected=frozenset({NOT_MODIFIED, REPLACED, NOTHING_THERE}),
            )
            async with answer:
                if not self._is_open(answer):
                    return
                try:
                    async for chunk in answer.content.iter_any():
                        self._position += len(chunk)
                        self._attempts.progressed()
                        yield chunk
                except Broken as error:
                    await self._attempts.failed(error)
                else:
                    return

    def _headers(self, unless: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        if self._position or self._end is not None:
            last = "" if self._end is None else str(self._end - 1)
            headers["Range"] = f"bytes={self._position}-{last}"
        if self.etag:
            headers["If-Match"] = self.etag
        elif unless:
            headers["If-None-Match"] = unless
        return headers

    def _is_open(self, answer: aiohttp.ClientResponse) -> bool:
        """Take note of what an answer's headers say; False: no bytes follow."""
        if answer.status == REPLACED:
            raise _ReplacedError
        self.is_unchanged = answer.status == NOT_MODIFIED
        if self.is_unchanged or answer.status == NOTHING_THERE:
            return False
        if self._position and "Content-Range" not in answer.headers:
            raise GatewayUnavailableError(
                f"The way to the gateway ignored the range asked of {self._key!r}."
            )
        self.etag = answer.headers.get("ETag", "")
        self._digest = answer.headers.get(deployment.DIGEST_HEADER, "")
        return True
