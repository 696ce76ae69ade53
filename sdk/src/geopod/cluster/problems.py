"""What the API server refuses, as errors: the public ones where the user or administrator acts.

A token, a body or a header is never part of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from geopod.cluster.kinds import Kind
from geopod.errors import (
    AuthError,
    ClusterError,
    CRDsNotInstalledError,
    GeopodError,
    PermissionDeniedError,
    RateLimitedError,
)

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CONFLICT, GONE = 401, 403, 404, 409, 410
PRECONDITION_FAILED, TOO_LARGE, INVALID, TOO_MANY, SERVER_ERROR = 412, 413, 422, 429, 500
MESSAGE_MAX = 2000
"""A refusal of a whole pod template can be long; what people read is its start."""
_USER = re.compile(r'User "([^"]*)"')


class ApiError(ClusterError):
    """The API server answered with an error that no other public error tells better.

    `status` is the HTTP status, `reason` the server's word (`AlreadyExists`, `Conflict`,
    `Invalid`, `NotFound`, `Expired` …), `message` its sentence.
    """

    def __init__(self, status: int, reason: str, message: str, **kwargs: Any) -> None:
        """Keep the server's answer."""
        super().__init__(f"The API server answered {status} {reason}: {message}", **kwargs)
        self.status = status
        self.reason = reason
        self.message = message

    @property
    def is_transient(self) -> bool:
        """The same call may succeed later."""
        return self.status >= SERVER_ERROR or self.status == TOO_MANY


class NotFoundApiError(ApiError):
    """404: there is no such object."""


class ConflictApiError(ApiError):
    """409: it exists already, or it has changed since it was read (`reason` tells which)."""

    @property
    def already_exists(self) -> bool:
        """A create met an object of that name."""
        return self.reason == "AlreadyExists"


class InvalidApiError(ApiError):
    """400, 413 or 422: the object breaks the schema or a rule, or is too large."""


class ExpiredApiError(ApiError):
    """410: the resourceVersion is too old; list again."""


@dataclass(frozen=True, slots=True)
class Request:
    """Who was asked for what: all that a message may say about a request."""

    cluster: str
    verb: str
    """`get`, `list`, `watch`, `create`, `patch`, `delete`: the word RBAC uses."""
    kind: Kind
    namespace: str
    name: str = ""
    subresource: str = ""


_CLASSES: dict[int, type[ApiError]] = {
    400: InvalidApiError,
    NOT_FOUND: NotFoundApiError,
    CONFLICT: ConflictApiError,
    GONE: ExpiredApiError,
    PRECONDITION_FAILED: ConflictApiError,
    TOO_LARGE: InvalidApiError,
    INVALID: InvalidApiError,
}


def problem(
    request: Request, status: int, body: Mapping[str, Any], *, wait_s: float
) -> GeopodError:
    """Return the error of one answer; `body` is the server's Status object, or empty."""
    message = str(body.get("message") or "no further words")[:MESSAGE_MAX]
    if status == UNAUTHORIZED:
        return AuthError.token_refused()
    if status == FORBIDDEN and not _is_about_the_object(body):
        return _forbidden(request, message)
    if status == NOT_FOUND and _whole_kind_is_missing(request, body):
        return CRDsNotInstalledError.unknown_kind(
            cluster=request.cluster, kind=request.kind.kind, api_version=request.kind.api_version
        )
    if status == TOO_MANY:
        return RateLimitedError(
            f"The API server asks to slow down (retry after {wait_s:g} s).",
            details={"retryAfter": wait_s},
        )
    found = _CLASSES.get(status, ApiError)
    return found(status, str(body.get("reason") or "Unknown"), message)


def _forbidden(request: Request, message: str) -> GeopodError:
    user = _USER.search(message)
    resource = f"{request.kind.plural}/{request.subresource}".rstrip("/")
    return PermissionDeniedError.forbidden(
        verb=request.verb,
        resource=resource,
        namespace=request.namespace,
        user=user.group(1) if user else "unknown",
    )


def _is_about_the_object(body: Mapping[str, Any]) -> bool:
    """Quota, Pod Security and a namespace being deleted answer 403 too; no right is missing."""
    message = str(body.get("message") or "")
    return not _USER.search(message) and bool(message)


def _whole_kind_is_missing(request: Request, body: Mapping[str, Any]) -> bool:
    """An unknown group or plural is answered by the server's front, without naming an object."""
    details = body.get("details") or {}
    return bool(request.kind.group) and not details.get("name") and not details.get("kind")
