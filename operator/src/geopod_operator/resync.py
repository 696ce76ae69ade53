"""Lists every kind at start and from time to time: a watch that broke misses deletions."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from geopod.errors import GeopodError

from geopod_operator.cluster import (
    LISTED_CHILDREN,
    OWN,
    RUNS,
    RUNTIMES,
    WATCHED_CHILDREN,
    Cluster,
    Kind,
    passes_by_itself,
)
from geopod_operator.environment.sweep import sweep_builds
from geopod_operator.stores import ENVIRONMENT, Key, Raw, Stores, WorkKey, component_of, key_of

EVERY_S, JITTER = 300.0, 0.2
RETRY_S, RETRY_MAX_S = 1.0, 30.0
AT_ONCE = 8
"""So many keys of a resync are looked at immediately, the others one after the other."""
FIRST_SPREAD_S, SPREAD_S = 0.2, 0.05
"""Between two keys: at start each one takes a dozen calls, later none. A change in between does
not stand behind all of them."""
UNFINISHED = frozenset({"Queued", "Running"})
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """What this operator looks at."""

    namespaces: tuple[str, ...] = ()
    """Empty: all."""
    watches_runtimes: bool = True
    """False: they came from a file."""


@dataclass(slots=True)
class Found:
    """What one resync told."""

    concerned: set[WorkKey] = field(default_factory=set)
    stray: dict[Key, list[Raw]] = field(default_factory=lambda: defaultdict(list))
    """Unfinished runs whose environment is gone or another one."""


class Resync:
    """Takes whole lists into the stores."""

    def __init__(self, stores: Stores, cluster: Cluster, scope: Scope) -> None:
        """Nothing is listed yet."""
        self._stores = stores
        self._cluster = cluster
        self._scope = scope

    async def once(self) -> Found:
        """List every kind, drop what is gone, delete builds that nobody needs."""
        found = Found()
        unfinished: list[Raw] = []
        for kind in (*OWN, *WATCHED_CHILDREN, *LISTED_CHILDREN):
            if kind is RUNTIMES and not self._scope.watches_runtimes:
                continue
            for namespace in self._scope.namespaces if kind.namespaced else ():
                unfinished += await self._take(kind, namespace, found)
            if not self._scope.namespaces or not kind.namespaced:
                unfinished += await self._take(kind, "", found)
        for run in unfinished:
            owner = (key_of(run)[0], run["spec"]["environment"])
            if self._is_stray(run, owner):
                found.stray[owner].append(run)
        await self._sweep_builds()
        return found

    async def _take(self, kind: Kind, namespace: str, found: Found) -> list[Raw]:
        """Take one list into the store; return the runs in it that are not watched."""
        listing = await self._cluster.list(kind, namespace)
        items, unfinished = listing.items, []
        if kind is RUNS:
            unfinished = [run for run in items if _is_unfinished(run)]
            items = [run for run in items if not _is_unfinished(run)]
        found.concerned |= self._stores.sweep(
            kind.kind,
            (namespace,) if namespace else (),
            items,
            version=listing.resource_version,
        )
        return unfinished

    def _is_stray(self, run: Raw, owner: Key) -> bool:
        environment = self._stores.environment(owner)
        if environment is None:
            return True
        bound = (run.get("status") or {}).get("environmentUID")
        return bool(bound) and bound != environment["metadata"]["uid"]

    async def _sweep_builds(self) -> None:
        by_namespace: Mapping[str, list[Raw]] = self._environments_by_namespace()
        for namespace in self._stores.namespaces_of_children():
            builds = [
                child
                for child in self._stores.children(namespace).values()
                if child is not None and component_of(child) == "builder"
            ]
            for each in sweep_builds(builds, by_namespace.get(namespace, ())) if builds else ():
                await self._cluster.delete(
                    namespace,
                    each.ref,
                    uid=each.uid,
                    propagation=each.propagation,
                    grace_s=each.grace_s,
                )
                self._stores.forget_children(namespace, [each.ref])

    def _environments_by_namespace(self) -> dict[str, list[Raw]]:
        found: dict[str, list[Raw]] = defaultdict(list)
        for (namespace, _), environment in self._stores.environments().items():
            found[namespace].append(environment)
        return found

    def all_keys(self, found: Found) -> list[WorkKey]:
        """Return what is to be looked at after a resync: what it told first, then all the rest."""
        owners = {*self._stores.environments(), *self._stores.keys_of_runs(), *found.stray}
        rest = {(ENVIRONMENT, *key) for key in owners} - found.concerned
        return [*sorted(found.concerned), *sorted(rest)]


Add = Callable[[WorkKey, float], None]
"""Puts a key into the queue, due after so many seconds."""


class Resyncer:
    """Resyncs at start and for ever after."""

    def __init__(
        self, resync: Resync, *, add: Add, take_stray: Callable[[dict[Key, list[Raw]]], None]
    ) -> None:
        """Nothing is listed yet."""
        self._resync = resync
        self._add = add
        self._take_stray = take_stray
        self.is_synced = False

    async def start(self) -> None:
        """List every kind once; raises what does not pass by itself (CRDs, rights)."""
        wait_s = RETRY_S
        while True:
            try:
                await self.once(FIRST_SPREAD_S)
            except GeopodError as error:
                if not passes_by_itself(error):
                    raise
                logger.warning("the first lists are tried again in %.0f s: %s", wait_s, error.fact)
                await asyncio.sleep(wait_s)
                wait_s = min(RETRY_MAX_S, 2 * wait_s)
            else:
                return

    async def run(self) -> None:
        """Resync until cancelled."""
        while True:
            await asyncio.sleep(_jittered(EVERY_S))
            try:
                await self.once(SPREAD_S)
            except GeopodError as error:
                logger.warning("a resync failed, the next one follows: %s", error.fact)

    async def once(self, spread_s: float = SPREAD_S) -> None:
        """List and sweep now, and let everything be looked at."""
        found = await self._resync.once()
        self._take_stray(found.stray)
        for number, key in enumerate(self._resync.all_keys(found)):
            self._add(key, max(0, number - AT_ONCE) * spread_s)
        self.is_synced = True


def _is_unfinished(run: Raw) -> bool:
    return (run.get("status") or {}).get("phase") in UNFINISHED


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311  # spreads, guards nothing
