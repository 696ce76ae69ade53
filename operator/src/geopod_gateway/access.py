"""May this request touch this object? Pure: what was sent and `now` in, an answer out.

The key is read from the path as it was sent, and a key that would need any escaping is refused:
there is no second spelling of a key, so what is checked here is what the store opens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from geopod.api import deployment, tokens
from geopod.api.tokens import Permission, Refusal, TokenRefusedError

PART: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._=@+,~-]{0,254}")
"""One name of a key: all that geopod ever writes, and nothing that a file system, a URL or a proxy
reads in two ways (no escape, no backslash, no other alphabet, no leading dot)."""
BY_DIGEST: Final = re.compile(
    r"(?:[^/]+/(?:functions|arguments)|shared/[^/]+/files)/(?P<sha256>[0-9a-f]{64})"
)
"""Keys that users write themselves: functions, arguments of maps, files. See `names`."""
MAX_KEY: Final = 1024
"""S3 takes no longer key."""
MAX_QUERY: Final = 256
_PERMISSION: Mapping[str, Permission] = {
    "GET": "get",
    "HEAD": "get",
    "PUT": "put",
    "POST": "put",
    "DELETE": "delete",
}
METHODS: Final = frozenset(_PERMISSION)
_QUERIES: Mapping[str, frozenset[frozenset[str]]] = {
    "GET": frozenset({frozenset(), frozenset({"upload"})}),
    "HEAD": frozenset({frozenset()}),
    "PUT": frozenset({frozenset(), frozenset({"upload", "part"})}),
    "POST": frozenset({frozenset({"uploads"}), frozenset({"upload"})}),
    "DELETE": frozenset({frozenset(), frozenset({"upload"})}),
}
_UNKNOWN_TO_US = frozenset(
    {Refusal.MALFORMED, Refusal.UNKNOWN_KEY, Refusal.BAD_SIGNATURE, Refusal.EXPIRED}
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a request decides, as it was sent."""

    method: str
    target: str
    """Path and query, not unescaped."""
    tokens: Sequence[str]
    """All values of the token's header."""
    digest: str = ""
    """What the request says of the sha256 of its bytes; they are held to it."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """The request may be carried out."""

    key: str
    """One object, or a folder with its closing `/`."""
    tenant: str
    """Whose folder it is in: an environment's uid or `shared/<namespace>`."""
    query: Mapping[str, str] = field(default_factory=dict)
    by_digest: bool = False
    """The token may write nothing but what is named by its bytes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not carried out; `reason` is a word for metrics, no token is in it."""

    status: int
    reason: str
    message: str


def decide(asked: Asked, *, key_of: Callable[[str], bytes | None], now: float) -> Allowed | Refused:
    """Return what may be done. `key_of`: see `tokens.verify`; `now`: seconds since the epoch."""
    permission = _PERMISSION.get(asked.method)
    if permission is None:
        return Refused(405, "Method", f"{asked.method[:16]} is not offered.")
    path, mark, query_text = asked.target.partition("?")
    key = _key(path)
    if key is None:
        return Refused(400, "BadKey", "The path names no object.")
    query = _query(asked.method, query_text) if mark else {}
    if query is None or (key.endswith("/") and (query or asked.method not in {"GET", "DELETE"})):
        return Refused(400, "BadQuery", "This query belongs to no operation.")
    if not mark and asked.method == "POST":
        return Refused(400, "BadQuery", "POST begins or completes an upload.")
    allowed = _authorized(asked.tokens, "put" if query else permission, key, query, key_of, now)
    if isinstance(allowed, Allowed) and allowed.by_digest and not _is_named(asked, key, query):
        return Refused(403, "NotByDigest", "This token uploads what is named by its sha256.")
    return allowed


def _authorized(  # the parts of one decision, in here alone
    sent: Sequence[str],
    permission: Permission,
    key: str,
    query: Mapping[str, str],
    key_of: Callable[[str], bytes | None],
    now: float,
) -> Allowed | Refused:
    if len(sent) != 1 or not sent[0]:
        word = "NoToken" if not sent or not sent[0] else "ManyTokens"
        return Refused(401, word, f"One {deployment.TOKEN_HEADER} is needed.")
    try:
        grant = tokens.verify(sent[0], key_of=key_of, now=now)
    except TokenRefusedError as refused:
        status = 401 if refused.reason in _UNKNOWN_TO_US else 403
        return Refused(status, refused.reason.value, "The token opens nothing here.")
    by_digest = permission == "put" and "put" not in grant.may and "upload" in grant.may
    if permission not in grant.may and not by_digest:
        return Refused(403, Refusal.NOT_PERMITTED.value, f"The token may not {permission} here.")
    if not _covers(grant.path, key):
        return Refused(403, Refusal.OUT_OF_SCOPE.value, "The token opens another folder.")
    return Allowed(key, grant.key_id, query, by_digest)


def _is_named(asked: Asked, key: str, query: Mapping[str, str]) -> bool:
    """Say whether a key is of uploads by digest, and the digest is said where bytes begin.

    Later requests of an upload in parts name the upload, whose beginning was checked.
    """
    named = BY_DIGEST.fullmatch(key)
    return named is not None and ("upload" in query or asked.digest == named["sha256"])


def _covers(path: str, key: str) -> bool:
    """Say whether a grant's path is the key, or the key (or folder) lies in it."""
    return key == path or (path.endswith("/") and key.startswith(path))


def _key(path: str) -> str | None:
    """Return the key (a folder ends in `/`) of a path as it was sent; None: it names none."""
    if not path.startswith(deployment.OBJECTS_PATH):
        return None
    key = path[len(deployment.OBJECTS_PATH) :]
    if not key or len(key) > MAX_KEY:
        return None
    parts = key.removesuffix("/").split("/")
    return key if all(PART.fullmatch(part) for part in parts) else None


def _query(method: str, text: str) -> dict[str, str] | None:
    """Return the query's words, each once; None: no operation has them."""
    if len(text) > MAX_QUERY:
        return None
    pairs = parse_qsl(text, keep_blank_values=True)
    query = dict(pairs)
    fits = len(query) == len(pairs) and frozenset(query) in _QUERIES[method]
    return query if fits else None
