"""Epochs: which coordinator of an environment is the newest, by objects created once each."""

from __future__ import annotations

from geopod.api import names
from geopod.store import KeyExistsError, Store


class Fenced(Exception):  # noqa: N818  # not an error: a newer coordinator is at work
    """A newer coordinator serves this environment; this one must end."""


async def take_epoch(store: Store, environment_uid: str, *, above: int = 0) -> int:
    """Return a new epoch, higher than any other: the object that names it is created here.

    `above`: an epoch that is known from elsewhere.
    """
    epoch = max(above, await _highest_epoch(store, environment_uid))
    while True:
        epoch += 1
        try:
            await store.put(names.epoch_key(environment_uid, epoch), b"", if_absent=True)
        except KeyExistsError:
            continue
        return epoch


async def is_newest(store: Store, environment_uid: str, epoch: int) -> bool:
    """Say whether no other coordinator has taken a higher epoch."""
    return not await store.exists(names.epoch_key(environment_uid, epoch + 1))


async def _highest_epoch(store: Store, environment_uid: str) -> int:
    taken = await store.names(names.epoch_prefix(environment_uid))
    return int(taken[-1].rpartition("/")[2]) if taken else 0
