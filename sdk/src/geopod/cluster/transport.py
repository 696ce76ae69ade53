"""One request to the API server: token bucket, time-out, retries, sign-in, errors.

Connections are reused, requests never leave the event loop's thread (TCP_NODELAY is aiohttp's
default).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import msgspec

from geopod.cluster.connection import Connection, Source
from geopod.cluster.limits import Limits, TokenBucket
from geopod.cluster.problems import (
    TOO_MANY,
    UNAUTHORIZED,
    ApiError,
    Request,
    problem,
)
from geopod.cluster.rights import Rights
from geopod.errors import ClusterUnreachableError, PermissionDeniedError, RateLimitedError

ERRORS_FROM = 400
PASSING = frozenset({TOO_MANY, 502, 503, 504})
"""The server, or what stands before it, did not get to the request. 500 is not among them: a
status field that the CRD lacks is one, and stays one."""
CONNECT_S = 10.0
KEEP_S = 75.0
"""Idle connections are kept for the next call."""
BACKOFF_S, BACKOFF_MAX_S = 0.1, 5.0
RETRY_AFTER_MAX_S = 30.0
LOST = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, TimeoutError)

Answered = Callable[[Request, int], None]
"""Told about each answer; status 0: none came."""

encode: Final = msgspec.json.encode
decode: Final = msgspec.json.decode


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request."""

    request: Request
    method: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    path: str = ""
    """Empty: that of the request's object."""
    content_type: str = "application/json"
    may_repeat: bool = True
    """A second time does no harm, also when the first one was carried out."""


class Transport:
    """Carries calls to one API server."""

    def __init__(self, source: Source, limits: Limits, *, timeout_s: float) -> None:
        """Connect on first use."""
        self.on_answer: Answered = _ignore
        self.connection: Connection
        self._source = source
        self._limits = limits
        self._timeout_s = timeout_s
        self._bucket = TokenBucket(limits, time.monotonic)
        self._rights = Rights(limits)
        self._session: aiohttp.ClientSession | None = None
        self._renewing = asyncio.Lock()
        self._expires_at: float | None = None

    async def open(self) -> None:
        """Load the connection; raises ConfigError, AuthError, MissingExtraError."""
        self._take(await self._source.load())
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_S),
            headers={"User-Agent": "geopod", "Accept": "application/json"},
        )

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def session(
        self, response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
    ) -> aiohttp.ClientSession:
        """Return a session of its own whose requests are signed in as this client's are."""

        async def sign_in(
            request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            await self._stay_signed_in()
            request.headers.update(self.connection.headers())
            return await handler(request)

        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=self.connection.ssl),
            response_class=response_class,
            middlewares=(sign_in,),
            proxy=self.connection.proxy,
        )

    async def send(self, call: Call) -> Any:
        """Return the answer's JSON; raises the public errors and ApiError."""
        return decode(await self.read(call))

    async def read(self, call: Call) -> bytes:
        """Return the answer's body; raises what `send` raises."""
        _, body = await self.answered(call)
        return body

    async def answered(self, call: Call) -> tuple[int, bytes]:
        """Return the answer's status and body; raises what `send` raises."""
        async with self.opened(call, read_s=self._timeout_s, total_s=self._timeout_s) as answer:
            try:
                return answer.status, await answer.read()
            except LOST as error:
                raise self._unreachable(call, error, 1) from error

    @asynccontextmanager
    async def opened(
        self, call: Call, *, read_s: float, total_s: float | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Give the successful answer with its body unread."""
        allowed = aiohttp.ClientTimeout(total=total_s, connect=CONNECT_S, sock_read=read_s)
        tried = self._tried if call.path else self._permitted
        answer = await tried(call, allowed)
        try:
            yield answer
        finally:
            if answer.content.at_eof():
                answer.release()
            else:
                _hang_up(answer)

    async def _permitted(
        self, call: Call, allowed: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """Return the answer; a server that may not have read yet who may do what is asked again."""
        refusals = 0
        while True:
            try:
                answer = await self._tried(call, allowed)
            except PermissionDeniedError:
                refusals += 1
                if not self._rights.refused(call.request, refusals):
                    raise
            else:
                self._rights.allowed(call.request)
                return answer
            await asyncio.sleep(_backoff_s(refusals))

    async def _tried(self, call: Call, allowed: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        signed_in_again = False
        for trial in range(1, self._limits.tries + 1):
            last = trial == self._limits.tries
            try:
                answer = await self._once(call, allowed)
            except LOST as error:
                self.on_answer(call.request, 0)
                if last or not (call.may_repeat or isinstance(error, aiohttp.ClientConnectorError)):
                    raise self._unreachable(call, error, trial) from error
                await asyncio.sleep(_backoff_s(trial))
                continue
            self.on_answer(call.request, answer.status)
            if answer.status < ERRORS_FROM:
                return answer
            if answer.status == UNAUTHORIZED and not signed_in_again:
                signed_in_again = True
                answer.close()
                await self._renew()
                continue
            wait_s = _retry_after_s(answer, trial)
            if answer.status in PASSING and not last:
                answer.close()
                await asyncio.sleep(wait_s)
                continue
            raise problem(call.request, answer.status, await _status(answer), wait_s=wait_s)
        raise AssertionError(call.request.verb)  # the last trial returned or raised

    async def _once(self, call: Call, allowed: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        if wait_s := self._bucket.take():
            await asyncio.sleep(wait_s)
        await self._stay_signed_in()
        if self._session is None:
            raise RuntimeError(call.request.verb)  # open() comes first
        request, connection = call.request, self.connection
        headers = connection.headers()
        if call.body is not None:
            headers["Content-Type"] = call.content_type
        path = request.kind.path(request.namespace, request.name, request.subresource)
        return await self._session.request(
            call.method,
            connection.base_url + (call.path or path),
            params=call.query,
            data=None if call.body is None else encode(call.body),
            headers=headers,
            ssl=connection.ssl,
            proxy=connection.proxy,
            server_hostname=connection.server_name,
            timeout=allowed,
        )

    async def _stay_signed_in(self) -> None:
        if self._expires_at is not None and time.monotonic() >= self._expires_at:
            await self._renew()

    async def _renew(self) -> None:
        """Load the connection again; who waited for another's renewal takes that one."""
        before = self.connection
        async with self._renewing:
            if self.connection is before:
                self._take(await self._source.load(before))

    def _take(self, connection: Connection) -> None:
        self.connection = connection
        left = connection.expires_in_s
        self._expires_at = None if left is None else time.monotonic() + left

    def _unreachable(self, call: Call, error: Exception, tries: int) -> ClusterUnreachableError:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "connection lost"
        return ClusterUnreachableError.no_answer(
            cluster=call.request.cluster,
            timeout_s=self._timeout_s,
            tries=tries,
            why="" if isinstance(error, TimeoutError) else why,
        )


def _hang_up(answer: aiohttp.ClientResponse) -> None:
    """Drop a connection whose answer is not read to its end (a watch that is left).

    TLS would wait for the server's farewell, beyond the end of a short program's loop.
    """
    connection = answer.connection
    if connection is not None and connection.transport is not None:
        connection.transport.abort()
    answer.close()


def passes_by_itself(error: Exception) -> bool:
    """Whether the same call may succeed later, without anybody doing anything."""
    if isinstance(error, ApiError):
        return error.is_transient
    return isinstance(error, (*LOST, ClusterUnreachableError, RateLimitedError))


def _ignore(request: Request, status: int) -> None:
    """Nobody counts."""


def _backoff_s(trial: int) -> float:
    longest = min(BACKOFF_MAX_S, BACKOFF_S * 2**trial)
    return random.uniform(longest / 2, longest)  # noqa: S311  # spreads callers, guards nothing


def _retry_after_s(answer: aiohttp.ClientResponse, trial: int) -> float:
    with suppress(KeyError, ValueError):
        return min(RETRY_AFTER_MAX_S, max(0.0, float(answer.headers["Retry-After"])))
    return _backoff_s(trial)


async def _status(answer: aiohttp.ClientResponse) -> dict[str, Any]:
    """Return the server's Status object; a proxy's page has none."""
    try:
        body = decode(await answer.read())
    except (msgspec.DecodeError, *LOST):
        return {"message": f"{answer.reason or 'no reason'} (not from the API server)"}
    finally:
        answer.release()
    return body if isinstance(body, dict) else {}
