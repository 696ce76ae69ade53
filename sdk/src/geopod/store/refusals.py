"""What a gateway's refusal means: the status and its words become an error of ours."""

from __future__ import annotations

import json
from http import HTTPStatus

from geopod.errors import AuthError, GatewayUnavailableError, PermissionDeniedError
from geopod.store import KeyExistsError, KeyMissingError

TEMPORARY = frozenset({408, 422, 425, 429, 500, 502, 503, 504})
"""422: bytes arrived that were not sent. 503: a proxy found no gateway behind it."""
_VERBS = {"GET": "read", "HEAD": "read", "PUT": "write", "POST": "write", "DELETE": "delete"}


def is_temporary(status: int) -> bool:
    """Say whether the same request may be answered otherwise a moment later."""
    return status in TEMPORARY


def refusal(method: str, key: str, status: int, said: str, *, ours: bool) -> Exception:
    """Return the error of one refused request; `ours`: by the gateway, not a proxy before it."""
    verb = _VERBS.get(method, method)
    who = "The gateway" if ours else "The way to the gateway"
    words = _words(said)
    because = f": {words}" if words else ""
    match status:
        case HTTPStatus.NOT_FOUND if ours:
            return KeyMissingError(key)
        case HTTPStatus.PRECONDITION_FAILED if ours:
            return KeyExistsError(key)
        case HTTPStatus.UNAUTHORIZED:
            return AuthError(
                f"{who} refused the token for {key!r} (401){because}.", fixes=("sign in again",)
            )
        case HTTPStatus.FORBIDDEN:
            return PermissionDeniedError(
                f"{who} does not let you {verb} {key!r} (403){because}.",
                fixes=("ask for ClusterRole geopod-edit in this namespace",),
            )
        case _:
            is_full = status == HTTPStatus.INSUFFICIENT_STORAGE
            return GatewayUnavailableError(
                f"{who} did not {verb} {key!r} ({status}){because}.",
                fixes=("free space in the store",) if is_full else ("geopod doctor",),
                details={"status": status},
            )


def _words(said: str) -> str:
    """Return what an answer says in words: its first line, or the message of an API server."""
    try:
        message = json.loads(said)["message"]
    except (ValueError, KeyError, TypeError):
        message = said.partition("\n")[0]
    return str(message)[:300].rstrip(". ")
