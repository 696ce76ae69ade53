"""Capability tokens: who may read or write which folder of the artifact store.

JWTs (HS256) with `exp`, a `path` and what it allows. The key id says whose key signed: an
environment's uid opens `<uid>/` alone, `shared/<namespace>` opens that folder alone, whatever the
claims say. Keys, random bytes and `now` are arguments; a token is never logged.
Source: the project's architecture, §8.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from hmac import digest as hmac_digest
from typing import Any, Literal

import jwt

from geopod.api import names

ALGORITHM = "HS256"
LEEWAY_S = 30.0
"""Clocks of two machines may differ by this much."""
MAX_TOKEN_CHARACTERS = 4096

Permission = Literal["get", "put", "upload", "delete"]
"""`upload` is less than `put`: only objects whose name is the sha256 of their bytes."""
PERMISSIONS: tuple[Permission, ...] = ("get", "put", "upload", "delete")


class Refusal(StrEnum):
    """Why a token does not open what was asked for."""

    MALFORMED = "Malformed"
    UNKNOWN_KEY = "UnknownKey"
    BAD_SIGNATURE = "BadSignature"
    EXPIRED = "Expired"
    OUT_OF_SCOPE = "OutOfScope"
    NOT_PERMITTED = "NotPermitted"


class TokenRefusedError(Exception):
    """A token that does not open what was asked for; `reason` says why, the token is not shown."""

    def __init__(self, reason: Refusal) -> None:
        """Keep the reason."""
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token allows."""

    key_id: str
    """The environment's uid, or `shared/<namespace>`."""
    path: str
    """A store key, or a folder with its closing `/`."""
    may: frozenset[Permission]
    expires: float
    """Seconds since the epoch."""

    def allows(self, permission: Permission, key: str) -> bool:
        """Say whether the grant covers one operation on one store key."""
        return permission in self.may and is_plain_key(key) and _is_below(key, self.path)


def environment_key(signing_key: bytes, environment_uid: str) -> bytes:
    """Return an environment's key: HMAC-SHA256(signing key, uid). Its coordinator holds it."""
    return hmac_digest(signing_key, environment_uid.encode(), "sha256")


def shared_key(signing_key: bytes, namespace: str) -> bytes:
    """Return a namespace's key for what its environments share; nobody else holds it."""
    return hmac_digest(signing_key, names.shared_prefix(namespace)[:-1].encode(), "sha256")


def link_key(key_of_environment: bytes) -> bytes:
    """Return the key that agents prove to hold when they dial the coordinator."""
    return hmac_digest(key_of_environment, b"link", "sha256")


def key_for(signing_key: bytes, key_id: str) -> bytes:
    """Return the key of a key id; operator and gateway know all of them from the signing key."""
    return hmac_digest(signing_key, key_id.encode(), "sha256")


def link_proof(key_of_link: bytes, nonce: bytes, instance: str, index: int) -> str:
    """Return the `mac` of HELLO: HMAC-SHA256(link key, nonce + instance + index) in hex."""
    return hmac_digest(key_of_link, nonce + instance.encode() + str(index).encode(), "sha256").hex()


def mint(
    key: bytes,
    *,
    key_id: str,
    path: str,
    may: Collection[Permission],
    now: float,
    lifetime_s: float,
) -> str:
    """Return a token for `path`; raises TokenRefusedError if that is outside the key's folder."""
    if not (is_plain_key(path.removesuffix("/")) and _is_below(path, f"{key_id}/")):
        raise TokenRefusedError(Refusal.OUT_OF_SCOPE)
    claims = {"path": path, "may": sorted(may), "exp": int(now + lifetime_s)}
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id})


def narrow(
    grant: Grant,
    key: bytes,
    *,
    path: str,
    may: Collection[Permission],
    now: float,
    lifetime_s: float,
) -> str:
    """Return a token for less than `grant`: deeper in its path, no more permissions, no longer."""
    if not (_is_below(path, grant.path) and grant.may.issuperset(may)):
        raise TokenRefusedError(Refusal.OUT_OF_SCOPE)
    lifetime = min(lifetime_s, grant.expires - now)
    return mint(key, key_id=grant.key_id, path=path, may=may, now=now, lifetime_s=lifetime)


def verify(token: str, *, key_of: Callable[[str], bytes | None], now: float) -> Grant:
    """Return what a token grants.

    `key_of` takes a key id and returns its key, or None for one that it does not know. Raises
    TokenRefusedError; nothing of the token is believed before its signature holds.
    """
    key_id = _key_id(token)
    key = key_of(key_id)
    if key is None:
        raise TokenRefusedError(Refusal.UNKNOWN_KEY)
    grant = _grant(key_id, _claims(token, key))
    if grant.expires + LEEWAY_S <= now:
        raise TokenRefusedError(Refusal.EXPIRED)
    if not _is_below(grant.path, f"{key_id}/"):
        raise TokenRefusedError(Refusal.OUT_OF_SCOPE)
    return grant


def authorize(
    token: str,
    permission: Permission,
    key: str,
    *,
    key_of: Callable[[str], bytes | None],
    now: float,
) -> Grant:
    """Return the grant that lets `token` do this to store key `key`; raises TokenRefusedError."""
    grant = verify(token, key_of=key_of, now=now)
    if permission not in grant.may:
        raise TokenRefusedError(Refusal.NOT_PERMITTED)
    if not grant.allows(permission, key):
        raise TokenRefusedError(Refusal.OUT_OF_SCOPE)
    return grant


def is_plain_key(key: str) -> bool:
    """Say whether a store key means itself: no empty, `.` or `..` part, no backslash, no `%`."""
    parts = key.split("/")
    return not any(part in {"", ".", ".."} for part in parts) and not set(key) & set("\\%\0")


def _is_below(path: str, folder: str) -> bool:
    """Say whether `path` is `folder` or lies in it; a folder ends in `/`."""
    return path == folder or (folder.endswith("/") and path.startswith(folder))


def _key_id(token: str) -> str:
    try:
        header = jwt.get_unverified_header(token[:MAX_TOKEN_CHARACTERS])
    except jwt.PyJWTError as malformed:
        raise TokenRefusedError(Refusal.MALFORMED) from malformed
    key_id = header.get("kid")
    if not isinstance(key_id, str) or not is_plain_key(key_id):
        raise TokenRefusedError(Refusal.MALFORMED)
    return key_id


def _claims(token: str, key: bytes) -> dict[str, Any]:
    # The clock is an argument here, so expiry is checked by the caller.
    options: Any = {"verify_exp": False, "require": ["exp"]}
    try:
        return jwt.decode(token, key, algorithms=[ALGORITHM], options=options)
    except jwt.InvalidSignatureError as forged:
        raise TokenRefusedError(Refusal.BAD_SIGNATURE) from forged
    except jwt.PyJWTError as malformed:
        raise TokenRefusedError(Refusal.MALFORMED) from malformed


def _grant(key_id: str, claims: dict[str, Any]) -> Grant:
    path, may, expires = claims.get("path"), claims.get("may"), claims.get("exp")
    if not (isinstance(path, str) and isinstance(may, list) and isinstance(expires, int)):
        raise TokenRefusedError(Refusal.MALFORMED)
    if not is_plain_key(path.removesuffix("/")):
        raise TokenRefusedError(Refusal.MALFORMED)
    return Grant(key_id, path, frozenset(word for word in PERMISSIONS if word in may), expires)
