"""The store behind a cluster's gateway, opened by the tokens that statuses tell.

Who may read an environment or a run may read its folder: the token lies in its status, guarded by
Kubernetes' own rights. One folder, one token; none is ever logged or put into a URL.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from geopod.api.run_report import seconds
from geopod.errors import (
    AuthError,
    EnvironmentNotFoundError,
    GatewayUnavailableError,
    PermissionDeniedError,
)
from geopod.store import Store
from geopod.store.channel import Patience, Route, Way
from geopod.store.gateway import GatewayStore

EARLY_S = 60.0
"""A token is read anew so long before its end."""
SHARED = "shared"
Manifest = Mapping[str, Any]
Refresh = Callable[[str], Awaitable[Manifest]]
"""Takes an environment's uid; returns it with its tokens, waiting for them if they are due."""
Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Token:
    """One capability token."""

    text: str
    expires: float
    """Seconds since the epoch."""

    def is_good(self, now: float) -> bool:
        """Say whether it opens its folder for some time."""
        return self.expires - now > EARLY_S


class TokenBook:
    """The newest token of each folder."""

    def __init__(self) -> None:
        self._tokens: dict[str, Token] = {}

    def learn_environment(self, manifest: Manifest) -> bool:
        """Take the tokens of a ComputeEnvironment; False: it has none yet."""
        access = (manifest.get("status") or {}).get("access") or {}
        if not access.get("token"):
            return False
        expires = seconds(access.get("expiresAt")) or float("inf")
        self._tokens[manifest["metadata"]["uid"]] = Token(access["token"], expires)
        if access.get("sharedToken"):
            self._tokens[SHARED] = Token(access["sharedToken"], expires)
        return True

    def learn_run(self, manifest: Manifest) -> None:
        """Take the token of a ComputeRun's results."""
        results = (manifest.get("status") or {}).get("results") or {}
        if results.get("token"):
            expires = seconds(results.get("expiresAt")) or float("inf")
            self._tokens[manifest["metadata"]["uid"]] = Token(results["token"], expires)

    def find(self, owner: str) -> Token | None:
        """Return the token of an environment's uid, a run's uid, or `shared`."""
        return self._tokens.get(owner)

    def forget(self, owner: str) -> None:
        """Drop a token that was refused."""
        self._tokens.pop(owner, None)


class ArtifactStore:
    """A Store over all folders that this client may open."""

    def __init__(
        self,
        route: str | Route,
        book: TokenBook,
        refresh: Refresh,
        *,
        cache: Path,
        patience: Patience,
    ) -> None:
        self._route = route
        self._book = book
        self._refresh = refresh
        self._cache = cache
        self._patience = patience
        self._way = Way()
        self._session: aiohttp.ClientSession | None = None
        self._stores: dict[str, GatewayStore] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def put(self, key: str, data: bytes, *, if_absent: bool = False) -> None:
        """Write all of `data` under `key`, or nothing; raises KeyExistsError with `if_absent`."""
        await self._do(key, lambda store: store.put(key, data, if_absent=if_absent))

    async def put_file(self, key: str, source: Path, *, move: bool = False) -> None:
        """Write a file's bytes under `key`."""
        await self._do(key, lambda store: store.put_file(key, source, move=move))

    async def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        """Return the bytes under `key`, or `length` from `start`; raises KeyMissingError."""
        return await self._do(key, lambda store: store.get(key, start=start, length=length))

    async def fetch(self, key: str) -> Path:
        """Return a local, read-only file with the bytes under `key`; raises KeyMissingError."""
        return await self._do(key, lambda store: store.fetch(key))

    async def exists(self, key: str) -> bool:
        """Say whether something lies under `key`."""
        return await self._do(key, lambda store: store.exists(key))

    async def names(self, prefix: str) -> list[str]:
        """Return all keys below `prefix` (which ends in `/`), sorted."""
        return await self._do(prefix, lambda store: store.names(prefix))

    async def delete(self, prefix: str) -> None:
        """Remove the key `prefix`, or all keys below it if it ends in `/`."""
        await self._do(prefix, lambda store: store.delete(prefix))

    async def answers(self) -> None:
        """Return if a gateway is there; raises GatewayUnavailableError if none is."""
        try:
            await self._store("").exists(f"{SHARED}/nobody/files/nothing")
        except (AuthError, PermissionDeniedError):
            return  # it asks for a token: it answers

    async def close(self) -> None:
        """Close the connections."""
        session, self._session = self._session, None
        self._stores.clear()
        if session is not None:
            await session.close()

    async def _do(self, key: str, action: Callable[[Store], Awaitable[Value]]) -> Value:
        """Do something with the best token; one that is refused is replaced once."""
        owner = await self._owner(key)
        try:
            return await action(self._store(owner))
        except AuthError:
            self._book.forget(owner)
            return await action(self._store(await self._owner(key)))

    async def _owner(self, key: str) -> str:
        """Return whose token opens `key`: a run's own, else its environment's."""
        folder, *rest = key.split("/", 3)
        now = time.time()
        if folder != SHARED and len(rest) > 1 and rest[0] == "runs":
            own = self._book.find(rest[1])
            if own is not None and own.is_good(now):
                return rest[1]
        known = self._book.find(folder)
        if known is None or not known.is_good(now):
            await self._renew(folder, now)
        return folder

    async def _renew(self, owner: str, now: float) -> None:
        async with self._turns.setdefault(owner, asyncio.Lock()):
            known = self._book.find(owner)
            if known is not None and known.is_good(now):
                return
            try:
                self._book.learn_environment(await self._refresh(owner))
            except EnvironmentNotFoundError as gone:
                raise PermissionDeniedError(
                    "The environment is gone and its run gives no token: nothing opens its folder.",
                    fixes=("create it again",),
                ) from gone
            if self._book.find(owner) is None:
                raise GatewayUnavailableError(
                    "The environment's status holds no token for the gateway.",
                    fixes=("geopod doctor",),
                )

    def _store(self, owner: str) -> GatewayStore:
        store = self._stores.get(owner)
        if store is None:
            store = self._stores[owner] = GatewayStore(
                self._route,
                token=lambda: token.text if (token := self._book.find(owner)) else "",
                cache=self._cache,
                session=self._open(),
                patience=self._patience,
                way=self._way,
            )
        return store

    def _open(self) -> aiohttp.ClientSession:
        """Return the one session; it is made in the loop that uses it first."""
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=32, keepalive_timeout=30)
            self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        return self._session
