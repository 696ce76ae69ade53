"""Objects of the API server as plain dicts: get, list, watch, create, apply, patch, delete."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from geopod.cluster.connection import Source
from geopod.cluster.kinds import NODES, Kind
from geopod.cluster.limits import Limits
from geopod.cluster.problems import ApiError, ConflictApiError, NotFoundApiError, Request
from geopod.cluster.transport import Answered, Call, Transport, decode
from geopod.cluster.watching import Listing, Selection, WatchEvent, list_all, watch_all
from geopod.errors import PermissionDeniedError

Object = dict[str, Any]
"""One raw object of the API server."""
Patch = Object | list[Object]
"""A merge patch, or the operations of a JSON patch."""
CREATED = 201
PATCH_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}


@dataclass(frozen=True, slots=True)
class ProxyTarget:
    """A Service as reached through the API server's proxy."""

    base_url: str
    headers: Callable[[], Mapping[str, str]]
    """What authenticates at the API server; asked for each request, because tokens change."""
    ssl: ssl.SSLContext | bool


class ApiClient:
    """The API server of one cluster, as one user; closed by `close()` or `async with`.

    `namespace=None` of a call means the client's own, `namespace=""` all of them. Every call may
    raise ClusterUnreachableError, AuthError, PermissionDeniedError (at once, but for what was
    allowed before: `cluster.rights`), CRDsNotInstalledError, RateLimitedError and ApiError.
    """

    def __init__(self, transport: Transport) -> None:
        """Take an opened transport; `connect` makes one."""
        self._transport = transport
        self.namespace: str = transport.connection.namespace
        self.context: str = transport.connection.context

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

        Raises ConfigError (no cluster), MissingExtraError, AuthError (a credential plugin failed).
        Nothing is asked of the server yet.
        """
        source = Source(target=target, namespace=namespace, token=token)
        return await cls.opened(source, timeout_s=timeout_s, limits=limits)

    @classmethod
    async def opened(
        cls, source: Source, *, timeout_s: float = 30.0, limits: Limits | None = None
    ) -> Self:
        """Return a client of what `source` names."""
        transport = Transport(source, limits or Limits(), timeout_s=timeout_s)
        await transport.open()
        return cls(transport)

    def count(self, on_answer: Answered) -> None:
        """Tell `on_answer` about each answer from now on: request and status (0: none came)."""
        self._transport.on_answer = on_answer

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def get(self, kind: Kind, name: str, *, namespace: str | None = None) -> Object:
        """Return one object; raises NotFoundApiError."""
        request = self._request("get", kind, namespace, name)
        return await self._answered(Call(request=request, method="GET"))

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
        request = self._request("list", kind, namespace)
        chosen = Selection(request, label_selector, field_selector)
        return await list_all(self._transport, chosen, cached=cached)

    def watch(
        self,
        kind: Kind,
        *,
        namespace: str | None = None,
        label_selector: str = "",
        field_selector: str = "",
        since: str = "",
    ) -> AsyncGenerator[WatchEvent]:
        """Yield every object as ADDED, then SYNCED, then changes, for ever.

        Survives drops, 410 Gone and expired tokens: it goes on where it was, or lists again and
        yields ADDED for all and SYNCED again. Raises what does not pass by itself
        (PermissionDeniedError, AuthError, CRDsNotInstalledError, InvalidApiError), and anything
        that the first list meets. With `since`, the resourceVersion of an object or list, nothing
        is listed and no SYNCED told until a version expires. Close it: `contextlib.aclosing`.
        """
        request = self._request("watch", kind, namespace)
        chosen = Selection(request, label_selector, field_selector)
        return watch_all(self._transport, chosen, since=since)

    async def create(
        self, kind: Kind, manifest: Object, *, field_manager: str, strict: bool = True
    ) -> Object:
        """Return the created object; raises ConflictApiError if there is one of that name.

        After a connection that broke the call is repeated: the one of that name may be this one.
        """
        query = {"fieldManager": field_manager} | ({"fieldValidation": "Strict"} if strict else {})
        request = self._request("create", kind, manifest["metadata"].get("namespace"))
        body = _whole(kind, manifest)
        return await self._answered(Call(request=request, method="POST", query=query, body=body))

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
        query = {"fieldManager": field_manager, "force": "true" if force else "false"}
        return await self._answered(self._applying(kind, manifest, query, subresource))

    async def make(
        self, kind: Kind, manifest: Object, *, field_manager: str
    ) -> tuple[Object, bool]:
        """Return the object after `apply`, and whether this call created it.

        After a connection that broke the call is repeated: what it made then counts as found.
        """
        query = {"fieldManager": field_manager, "force": "true"}
        status, body = await self._transport.answered(self._applying(kind, manifest, query))
        return decode(body), status == CREATED

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Patch,
        *,
        namespace: str | None = None,
        subresource: str = "",
        field_manager: str = "",
        type: Literal["merge", "json"] = "merge",  # noqa: A002  # Kubernetes' word
    ) -> Object:
        """Return the object after a merge patch or JSON patch; raises NotFoundApiError."""
        call = Call(
            request=self._request("patch", kind, namespace, name, subresource),
            method="PATCH",
            query={"fieldManager": field_manager} if field_manager else {},
            body=patch,
            content_type=PATCH_TYPES[type],
            may_repeat=type == "merge",
        )
        return await self._answered(call)

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
        options: Object = {"propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        request = self._request("delete", kind, namespace, name)
        try:
            await self._transport.send(Call(request=request, method="DELETE", body=options))
        except NotFoundApiError:
            return
        except ConflictApiError:
            if uid is None:
                raise

    async def version(self) -> tuple[int, int]:
        """Return the server's major and minor version; (0, 0) if it does not say."""
        call = Call(request=self._request("get", NODES, ""), method="GET", path="/version")
        try:
            answer = await self._answered(call)
        except (ApiError, PermissionDeniedError):
            return 0, 0
        major, minor = (
            re.match(r"\d*", str(answer.get(part)))[0] or "0"  # type: ignore[index]  # matches
            for part in ("major", "minor")
        )
        return int(major), int(minor)

    async def status_schema(self, kind: Kind) -> dict[str, Any]:
        """Return what the server knows of a kind's status; raises what `get` raises."""
        request = self._request("get", kind, "")
        call = Call(request=request, method="GET", path=f"/openapi/v3/apis/{kind.api_version}")
        schemas = (await self._answered(call))["components"]["schemas"]
        told = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        for schema in schemas.values():
            if told in schema.get("x-kubernetes-group-version-kind", ()):
                return dict(schema.get("properties", {}).get("status", {}))
        return {}

    def proxied(self, service: str, port: int, namespace: str) -> ProxyTarget:
        """Return how to reach a Service through the API server: where `kubectl` works."""

        def headers() -> Mapping[str, str]:
            return self._transport.connection.headers()

        connection = self._transport.connection
        path = f"/api/v1/namespaces/{namespace}/services/{service}:{port}/proxy"
        return ProxyTarget(connection.base_url + path, headers, connection.ssl)

    def session(
        self, response_class: type[aiohttp.ClientResponse] = aiohttp.ClientResponse
    ) -> aiohttp.ClientSession:
        """Return a session for another library, signed in as this client; the caller closes it."""
        return self._transport.session(response_class)

    @property
    def base_url(self) -> str:
        """Where the API server is, `https://host:port`."""
        return self._transport.connection.base_url

    async def close(self) -> None:
        """Close all connections; watches end."""
        await self._transport.close()

    def _applying(
        self, kind: Kind, manifest: Object, query: Mapping[str, str], subresource: str = ""
    ) -> Call:
        meta, body = manifest["metadata"], _whole(kind, manifest)
        request = self._request("patch", kind, meta.get("namespace"), meta["name"], subresource)
        as_apply = PATCH_TYPES["apply"]
        return Call(request=request, method="PATCH", query=query, body=body, content_type=as_apply)

    async def _answered(self, call: Call) -> Object:
        answer: Object = await self._transport.send(call)
        return answer

    def _request(
        self, verb: str, kind: Kind, namespace: str | None, name: str = "", subresource: str = ""
    ) -> Request:
        where = self.namespace if namespace is None else namespace
        return Request(
            cluster=self.context,
            verb=verb,
            kind=kind,
            namespace=where if kind.namespaced else "",
            name=name,
            subresource=subresource,
        )


def _whole(kind: Kind, manifest: Object) -> Object:
    return {"apiVersion": kind.api_version, "kind": kind.kind, **manifest}
