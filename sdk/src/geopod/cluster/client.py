"""Objects of the API server as plain dicts: get, list, watch, create, apply, patch, delete."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from geopod.cluster.kinds import Kind
from geopod.cluster.limits import Limits

Object = dict[str, Any]
"""One raw object of the API server."""
EventType = Literal["ADDED", "MODIFIED", "DELETED", "SYNCED"]


@dataclass(frozen=True, slots=True)
class Listing:
    """What a list answered; `resource_version` is where a watch may start."""

    items: list[Object]
    resource_version: str


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One change; `SYNCED` follows each list: what was not told since the one before is gone."""

    type: EventType
    object: Object
    """Of SYNCED: empty."""


@dataclass(frozen=True, slots=True)
class ProxyTarget:
    """A Service as reached through the API server's proxy."""

    base_url: str
    headers: Callable[[], Mapping[str, str]]
    """What authenticates at the API server; asked for each request, because tokens change."""
    ssl: ssl.SSLContext | bool


class ApiClient:
    """The API server of one cluster, as one user; closed by `close()` or `async with`."""

    namespace: str
    context: str

    @classmethod
    async def connect(
        cls,
        target: str | None = None,
        *,
        namespace: str | None = None,
        token: str | None = None,
        timeout_s: float = 30.0,
        limits: Limits | None = None,
    ) -> Self:
        """Return a client; `target`: a context of the kubeconfig, None: in-cluster, else current.

        Raises ConfigError (no cluster), MissingExtraError.
        """
        raise NotImplementedError

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        """Return one object; raises NotFoundApiError."""
        raise NotImplementedError

    async def list(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        cached: bool = False,
    ) -> Listing:
        """Return all objects, in chunks of 500; `cached`: from the server's cache, cheap."""
        raise NotImplementedError

    def watch(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent]:
        """Yield every object as ADDED, then SYNCED, then changes, for ever.

        Survives drops, 410 Gone and expired tokens: it goes on where it was, or lists again and
        yields ADDED for all and SYNCED again. Raises what does not pass by itself
        (PermissionDeniedError, AuthError, CRDsNotInstalledError, InvalidApiError).
        """
        raise NotImplementedError

    async def create(
        self, kind: Kind, manifest: Object, *, field_manager: str, strict: bool = True
    ) -> Object:
        """Return the created object; raises ConflictApiError if there is one of that name."""
        raise NotImplementedError

    async def apply(
        self,
        kind: Kind,
        manifest: Object,
        *,
        field_manager: str,
        force: bool = True,
        subresource: str = "",
    ) -> Object:
        """Return the object after server-side apply of all that `field_manager` owns."""
        raise NotImplementedError

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Object | list[Object],
        *,
        namespace: str | None = None,
        subresource: str = "",
        field_manager: str = "",
        type: Literal["merge", "json"] = "merge",  # noqa: A002  # Kubernetes' word
    ) -> Object:
        """Return the object after a merge patch or JSON patch; raises NotFoundApiError."""
        raise NotImplementedError

    async def delete(
        self,
        kind: Kind,
        name: str,
        *,
        namespace: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        uid: str | None = None,
        grace_s: int | None = None,
    ) -> None:
        """Delete one object; none, or one of another `uid`, is no error."""
        raise NotImplementedError

    def proxied(self, service: str, port: int, namespace: str) -> ProxyTarget:
        """Return how to reach a Service through the API server: where `kubectl` works."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close all connections; watches end."""
        raise NotImplementedError
