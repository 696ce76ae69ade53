"""Requests to one gateway: with its token, repeated as long as that makes sense.

It knows HTTP and nothing of objects. A token is read anew for each request and never logged.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import aiohttp
import yarl

from geopod.api import deployment
from geopod.errors import GatewayUnavailableError, RateLimitedError
from geopod.store.refusals import is_temporary, refusal

TokenSource = Callable[[], str]
"""Asked before each request; a file's token changes while we run."""
Broken = (aiohttp.ClientError, TimeoutError, OSError)
"""What a connection may raise; the request may be repeated."""
REFUSALS = 6
"""After so many 403 a way that was open is believed to be shut: some 5 s."""
SAID_LIMIT_BYTES = 2048
"""Of an answer that is an error, so much is read."""


class Route(Protocol):
    """How a gateway is reached; `geopod.cluster.client.ProxyTarget` is one."""

    @property
    def base_url(self) -> str:
        """URL before `/v1/objects/`, without a closing `/`."""
        ...

    @property
    def headers(self) -> Callable[[], Mapping[str, str]]:
        """Headers of each request beside geopod's own."""
        ...

    @property
    def ssl(self) -> ssl.SSLContext | bool:
        """Whom to believe, for `https`."""
        ...


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """A gateway at a URL of its own."""

    base_url: str
    headers: Callable[[], Mapping[str, str]] = dict
    ssl: ssl.SSLContext | bool = True


@dataclass(slots=True)
class Way:
    """What is known of a proxy before a gateway; all stores behind it may share that."""

    is_open: bool = False
    """It has let a request through. An API server that has just started lets none: it knows no
    roles for a second or two."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a gateway."""

    total_s: float = 90.0
    """Without any progress; a gateway whose pod moves to another machine is away for so long."""
    first_wait_s: float = 0.1
    longest_wait_s: float = 5.0
    connect_s: float = 5.0
    """A Service may send the first packets to a pod that is gone; the next try finds another."""
    silence_s: float = 60.0
    """Between two bytes of an answer; checking a large upload takes the gateway some seconds.

    Sent bytes that nobody takes for so long end a request too, where the kernel can count that.
    """


class TokenFile:
    """A token in a file that is replaced from time to time (a Secret's mount)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._token = ""

    def __call__(self) -> str:
        """Return the token; the file is read when it is another one than before."""
        status = self._path.stat()
        seen = (status.st_ino, status.st_mtime_ns, status.st_size)
        if seen != self._seen:
            self._token, self._seen = self._path.read_text("ascii").strip(), seen
        return self._token


@dataclass(slots=True)
class Attempts:
    """The tries of one operation: waits between them, and the error when it takes too long."""

    patience: Patience
    name: str
    count: int = 0
    refusals: int = 0
    """403 of the way to the gateway."""
    wait_s: float = 0.0
    began: float = field(default_factory=time.monotonic)

    def progressed(self) -> None:
        """Bytes came or went: begin to count anew."""
        self.began, self.wait_s, self.refusals = time.monotonic(), 0.0, 0

    async def failed(self, cause: BaseException, *, retry_after_s: float = 0.0) -> None:
        """Wait before the next try; raises GatewayUnavailableError when patience is at an end."""
        self.count += 1
        wait = self.wait_s or self.patience.first_wait_s
        self.wait_s = min(wait * 2, self.patience.longest_wait_s)
        wait = max(wait * (0.5 + random.random() / 2), retry_after_s)  # noqa: S311  # jitter
        waited = time.monotonic() - self.began
        if waited + wait <= self.patience.total_s:
            await asyncio.sleep(wait)
        elif retry_after_s:
            raise RateLimitedError.slow_down(retry_after_s=retry_after_s) from cause
        elif isinstance(cause, GatewayUnavailableError):
            fact = f"{cause.fact} Asked {self.count} times in {waited:.0f} s."
            raise GatewayUnavailableError(fact, fixes=cause.fixes) from cause
        else:
            raise GatewayUnavailableError.no_answer(
                route=self.name,
                timeout_s=round(waited, 1),
                tries=self.count,
                why="" if isinstance(cause, TimeoutError) else _words_of(cause),
            ) from cause


def _words_of(cause: BaseException) -> str:
    """Return what a connection that broke says of it, in a few words."""
    if isinstance(cause, OSError) and cause.errno is not None:
        return os.strerror(cause.errno).lower()
    return "connection lost"


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as it can be sent again."""

    method: str
    key: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Callable[[], Any] | None = None
    """Makes the body for each try."""


class Channel:
    """One gateway's HTTP face."""

    def __init__(
        self,
        route: Route,
        token: TokenSource | None,
        *,
        session: aiohttp.ClientSession | None,
        patience: Patience,
        way: Way | None = None,
    ) -> None:
        self._route = route
        self._way = way or Way()
        self._token = token
        self._patience = patience
        self._session = session
        self._own_session = session is None
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=patience.connect_s, sock_read=patience.silence_s
        )

    def attempts(self) -> Attempts:
        """Return a new count of tries."""
        return Attempts(self._patience, self._route.base_url)

    async def ask(
        self, call: Call, attempts: Attempts, *, expected: frozenset[int] = frozenset()
    ) -> aiohttp.ClientResponse:
        """Return an answer of a status below 300 or in `expected`, its body not yet read.

        Repeats what may pass; raises what does not: KeyMissingError, KeyExistsError, AuthError,
        PermissionDeniedError, GatewayUnavailableError, RateLimitedError.
        """
        refused = ""
        while True:
            token = "" if self._token is None else self._token()
            try:
                answer = await self._send(call, token)
            except Broken as error:
                await attempts.failed(error)
                continue
            self._way.is_open |= is_ours(answer)
            if answer.status < 300 or (answer.status in expected and is_ours(answer)):  # noqa: PLR2004  # success
                return answer
            async with answer:
                said = await _said(answer)
            why = refusal(call.method, call.key, answer.status, said, ours=is_ours(answer))
            if answer.status in {401, 403} and token != refused and self._has_other(token):
                refused = token
            elif is_temporary(answer.status) or self._is_shut_for_now(answer, attempts):
                await attempts.failed(why, retry_after_s=_retry_after(answer))
            else:
                raise why

    def _is_shut_for_now(self, answer: aiohttp.ClientResponse, attempts: Attempts) -> bool:
        """Say whether a proxy refuses what it lately let through, and has not done so for long."""
        if answer.status != HTTPStatus.FORBIDDEN or is_ours(answer) or not self._way.is_open:
            return False
        attempts.refusals += 1
        return attempts.refusals <= REFUSALS

    async def close(self) -> None:
        """Close the connections, if they are not the caller's."""
        if self._session is not None and self._own_session:
            await self._session.close()
            self._session = None

    def _has_other(self, token: str) -> bool:
        """Say whether the source has another token than the one that was refused."""
        return self._token is not None and self._token() != token

    async def _send(self, call: Call, token: str) -> aiohttp.ClientResponse:
        headers = {"Accept-Encoding": "identity", **self._route.headers(), **call.headers}
        if token:
            headers[deployment.TOKEN_HEADER] = token
        base = f"{self._route.base_url.rstrip('/')}{deployment.OBJECTS_PATH}{quote(call.key)}"
        query = f"?{urlencode(call.query)}" if call.query else ""
        return await self._open().request(
            call.method,
            yarl.URL(base + query, encoded=True),
            headers=headers,
            data=call.body() if call.body else None,
            ssl=self._route.ssl,
            timeout=self._timeout,
            allow_redirects=False,
        )

    def _open(self) -> aiohttp.ClientSession:
        """Return the session; it is made in the loop that uses it first."""
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=32, keepalive_timeout=30, socket_factory=self._make_socket
            )
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session

    def _make_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Return a socket that breaks when what it sent is taken by nobody.

        Else an upload to a machine that is gone waits a quarter of an hour, and one to a gateway
        that stands still for ever. Source: tcp(7), TCP_USER_TIMEOUT.
        """
        family, kind, protocol, _, _ = address
        made = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            silence_ms = round(self._patience.silence_s * 1000)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
        return made


def is_ours(answer: aiohttp.ClientResponse) -> bool:
    """Say whether the gateway itself answered, not a proxy before it."""
    return deployment.GATEWAY_HEADER in answer.headers


async def _said(answer: aiohttp.ClientResponse) -> str:
    """Return the beginning of an error's text."""
    try:
        said = await answer.content.read(SAID_LIMIT_BYTES)
    except Broken:
        return ""
    return said.decode("utf-8", "replace").strip()


def _retry_after(answer: aiohttp.ClientResponse) -> float:
    """Return the seconds that the other side asks to wait; 0: it did not say."""
    word = answer.headers.get("Retry-After", "")
    return float(word) if word.isdecimal() else 0.0
