"""Store tokens of an environment: minted on a grid of time, so that a plan need not read them.

A token of life L is minted at the slots of a grid of 2/3 L, and its text follows from keys and
slot alone: two plans in one slot want the same Secret, and none lives on with less than L/3.
Each environment has its own offset, so that a thousand of them do not mint at once.
Source: the project's architecture, §8.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256

from geopod.api import names, tokens

from geopod_operator.environment.observed import Settings
from geopod_operator.environment.resolved import Identity


@dataclass(frozen=True, slots=True)
class Slot:
    """One step of the grid, in seconds since the epoch."""

    start: float
    next: float
    """When tokens of this slot are replaced."""
    end: float
    """When they expire."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Keys and tokens of one environment for one slot."""

    environment_key: str
    link_key: str
    """Both in hex."""
    store: str
    """Of the agents: the environment's folder."""
    shared: str
    """Of the agents: reads what the namespace shares."""
    user: str
    """Of users: reads the environment's folder, uploads functions and arguments by digest."""
    user_shared: str
    """Of users: uploads files by digest; reads what the namespace shares, build logs too."""
    slot: Slot

    @property
    def secrets(self) -> tuple[str, ...]:
        """All values that no message may show."""
        return (self.environment_key, self.link_key, self.store, self.shared, self.user)

    @property
    def expires_at(self) -> datetime:
        """When all of them end."""
        return datetime.fromtimestamp(self.slot.end, UTC)


def slot_at(uid: str, now: float, lifetime_s: float) -> Slot:
    """Return the slot that `now` lies in."""
    step = float(int(lifetime_s * 2 / 3))
    offset = int.from_bytes(sha256(uid.encode()).digest()[:4], "big") % int(step)
    start = (now - offset) // step * step + offset
    return Slot(start, start + step, start + lifetime_s)


def mint_build_token(namespace: str, key: str, settings: Settings, now: datetime) -> str:
    """Return the builder's token: reads and writes the folder of its one bundle."""
    shared_id = names.shared_prefix(namespace)[:-1]
    slot = slot_at(key, now.timestamp(), settings.token_lifetime_s)
    return tokens.mint(
        tokens.shared_key(settings.signing_key, namespace),
        key_id=shared_id,
        path=names.bundle_key(namespace, key),
        may=("get", "put"),
        now=slot.start,
        lifetime_s=settings.token_lifetime_s,
    )


def mint_purge_token(identity: Identity, settings: Settings, now: datetime) -> str:
    """Return the token that deletes the environment's folder."""
    slot = slot_at(identity.uid, now.timestamp(), settings.token_lifetime_s)
    return tokens.mint(
        tokens.environment_key(settings.signing_key, identity.uid),
        key_id=identity.uid,
        path=f"{identity.uid}/",
        may=("get", "delete"),
        now=slot.start,
        lifetime_s=settings.token_lifetime_s,
    )


def mint_tokens(identity: Identity, settings: Settings, now: datetime) -> Tokens:
    """Return the environment's keys and the tokens of the present slot."""
    slot = slot_at(identity.uid, now.timestamp(), settings.token_lifetime_s)
    own = tokens.environment_key(settings.signing_key, identity.uid)
    shared_id = names.shared_prefix(identity.namespace)[:-1]
    shared = tokens.shared_key(settings.signing_key, identity.namespace)

    def token(key: bytes, key_id: str, path: str, may: tuple[tokens.Permission, ...]) -> str:
        return tokens.mint(
            key,
            key_id=key_id,
            path=path,
            may=may,
            now=slot.start,
            lifetime_s=settings.token_lifetime_s,
        )

    folder = f"{shared_id}/"
    return Tokens(
        environment_key=own.hex(),
        link_key=tokens.link_key(own).hex(),
        store=token(own, identity.uid, f"{identity.uid}/", ("get", "put")),
        shared=token(shared, shared_id, folder, ("get",)),
        user=token(own, identity.uid, f"{identity.uid}/", ("get", "upload")),
        user_shared=token(shared, shared_id, folder, ("get", "upload")),
        slot=slot,
    )
