"""ComputeRuns as their clients see them: one POST, one watch for all that is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from geopod.api import names
from geopod.api.compact import join_ranges
from geopod.api.run_resource import (
    cancelled_tasks,
    order_from_resource,
    resource_from_order,
    run_state,
)
from geopod.api.runs import RunOrder, RunState
from geopod.backends.kubernetes.artifacts import TokenBook
from geopod.backends.kubernetes.environments import Environments
from geopod.backends.kubernetes.feed import Deleted, Follower, RunFeed
from geopod.backends.kubernetes.manifests import (
    FIELD_MANAGER,
    Manifest,
    check_size,
    has_status,
    is_same_run,
)
from geopod.backends.kubernetes.operator_watch import OperatorWatch
from geopod.backends.kubernetes.refusals import callers_error
from geopod.cluster.client import ApiClient
from geopod.cluster.kinds import RUNS
from geopod.cluster.problems import ConflictApiError, NotFoundApiError
from geopod.errors import EnvironmentNotFoundError, InvalidInputError, RunNotFoundError

TERMINAL = frozenset({"Succeeded", "Failed", "Cancelled"})
AT_ONCE = 16
"""Runs that are cancelled or deleted at the same time."""
YOURS_SHOWN = 10


class Runs:
    """All runs of one namespace."""

    def __init__(
        self,
        api: ApiClient,
        environments: Environments,
        book: TokenBook,
        operator: OperatorWatch,
    ) -> None:
        self._api = api
        self._environments = environments
        self._book = book
        self._operator = operator
        self._feeds: dict[str, RunFeed] = {}

    async def submit(self, order: RunOrder) -> AsyncGenerator[RunState, None]:
        """Create a run and yield its states; one of the same name and order is the same run."""
        environment = await self._environments.name_of(order.environment)
        manifest = resource_from_order(
            order, environment=environment, namespace=self._api.namespace
        )
        check_size(manifest)
        feed = self._feed(environment)
        with feed.following(order.name) as follower:
            created = await self._create(manifest, order.environment)
            async with aclosing(self._states(feed, follower, created)) as states:
                async for state in states:
                    yield state

    async def publish(self, manifest: Manifest) -> RunState:
        """Create a run of mode Publish and return its last state; one that failed is tried anew."""
        feed = self._feed(manifest["spec"]["environment"])
        name = manifest["metadata"]["name"]
        with feed.following(name) as follower:
            created = await self._create(manifest)
            if (created.get("status") or {}).get("phase") in TERMINAL - {"Succeeded"}:
                await self._api.delete(RUNS, name, uid=created["metadata"]["uid"])
                created = await self._create(manifest)
            return await self._last(feed, follower, created)

    async def watch(self, name: str) -> AsyncGenerator[RunState, None]:
        """Yield a run's states until it has ended."""
        known = await self._read(name)
        feed = self._feed(known["spec"]["environment"])
        with feed.following(known["metadata"]["name"]) as follower:
            known = await self._read(known["metadata"]["name"])
            async with aclosing(self._states(feed, follower, known)) as states:
                async for state in states:
                    yield state

    async def _last(self, feed: RunFeed, follower: Follower, first: Manifest) -> RunState:
        state = self._state(first)
        async with aclosing(self._states(feed, follower, first)) as states:
            async for state in states:  # noqa: B007  # the last one is returned
                pass
        return state

    async def _states(
        self, feed: RunFeed, follower: Follower, first: Manifest
    ) -> AsyncGenerator[RunState, None]:
        """Yield the state of `first` and of what follows, until the run has ended or is gone."""
        state = self._state(first)
        yield state
        if state.phase in TERMINAL:
            return
        feed.start(first["metadata"]["resourceVersion"])
        patient = self._operator.patient(
            _news(follower, first["metadata"]["uid"]),
            name=state.name,
            is_touched=has_status,
            first=first,
        )
        async with aclosing(patient) as following:
            async for manifest in following:
                state = self._state(manifest)
                yield state
                if state.phase in TERMINAL:
                    return
        raise self._missing(state.name, history="It was deleted")

    def _state(self, manifest: Manifest) -> RunState:
        self._book.learn_run(manifest)
        return run_state(manifest)

    async def _create(self, manifest: Manifest, environment_uid: str = "") -> Manifest:
        """Return the created run, or the same one, if it is there already."""
        name = manifest["metadata"]["name"]
        try:
            with callers_error(f"run {name!r}"):
                return await self._api.create(RUNS, manifest, field_manager=FIELD_MANAGER)
        except ConflictApiError as conflict:
            try:
                known = await self._api.get(RUNS, name)
            except NotFoundApiError:  # deleted meanwhile: the name is free again
                return await self._create(manifest, environment_uid)
            if is_same_run(manifest, known, environment_uid=environment_uid):
                return known
            raise InvalidInputError.value(
                name="name", value=name, why="is the name of another run", fix="another name"
            ) from conflict

    async def get(self, name: str) -> tuple[RunOrder, RunState]:
        """Return a run by name or uid."""
        manifest = await self._read(name)
        uid = await self._environment_uid(manifest)
        return self._order(manifest, uid), self._state(manifest)

    async def _environment_uid(self, manifest: Manifest) -> str:
        """Return the uid of a run's environment; empty for one that never was."""
        bound = str((manifest.get("status") or {}).get("environmentUID") or "")
        if bound and self._environments.is_large(bound) is not None:
            return bound
        try:
            found = await self._environments.get(bound or manifest["spec"]["environment"])
        except EnvironmentNotFoundError:
            return bound
        return found.uid

    def _order(self, manifest: Manifest, environment_uid: str) -> RunOrder:
        """Return a run's order; a Publish run has no function, and is shown by its mode."""
        large = bool(self._environments.is_large(environment_uid))
        if manifest["spec"].get("mode") == "Publish":
            function = {"format": "source", "name": "publish", "pythonVersion": "", "sha256": ""}
            artifact = {"artifact": {"sha256": "", "bytes": 0}}
            spec = {**manifest["spec"], "mode": "PerNode", "function": {**function, **artifact}}
            manifest = {**manifest, "spec": spec}
        return order_from_resource(manifest, environment_uid=environment_uid, large_result=large)

    async def all(self, *, environment: str | None) -> list[tuple[RunOrder, RunState]]:
        """Return all runs, or those of one environment, newest first."""
        chosen = "" if environment is None else await self._selector(environment)
        listing = await self._api.list(RUNS, field_selector=chosen)
        bound = [str((it.get("status") or {}).get("environmentUID") or "") for it in listing.items]
        if any(self._environments.is_large(uid) is None for uid in bound):
            uids = await self._environments.uids()
        else:
            uids = {}
        found = []
        for manifest, uid in zip(listing.items, bound, strict=True):
            home = uid or uids.get(manifest["spec"]["environment"], "")
            found.append((self._order(manifest, home), self._state(manifest)))
        return sorted(found, key=lambda it: (it[1].created, it[1].name), reverse=True)

    async def _selector(self, environment: str) -> str:
        return f"spec.environment={(await self._environments.get(environment)).name}"

    async def cancel(self, name: str, *, indexes: list[int] | None) -> None:
        """Cancel a run, or some of its tasks; one that has ended stays as it is."""
        manifest = await self._read(name)
        if (manifest.get("status") or {}).get("phase") in TERMINAL:
            return
        change: Manifest = {"spec": {"cancel": True}}
        if indexes is not None:
            ranges = join_ranges(sorted({*cancelled_tasks(manifest), *indexes}))
            change = {"metadata": {"annotations": {names.ANNOTATION_CANCEL_TASKS: ranges}}}
        await self._patch(manifest["metadata"]["name"], change)

    async def cancel_all(self, environment: str) -> None:
        """Cancel every unfinished run of an environment."""
        listing = await self._api.list(RUNS, field_selector=f"spec.environment={environment}")
        going = [
            str(it["metadata"]["name"])
            for it in listing.items
            if (it.get("status") or {}).get("phase") not in TERMINAL
        ]
        for start in range(0, len(going), AT_ONCE):
            batch = going[start : start + AT_ONCE]
            await asyncio.gather(*(self._patch(name, {"spec": {"cancel": True}}) for name in batch))

    async def end(self, name: str) -> str:
        """Cancel a run and wait for its end; return its name, for one given by its uid."""
        manifest = await self._read(name)
        found = str(manifest["metadata"]["name"])
        if (manifest.get("status") or {}).get("phase") not in TERMINAL:
            await self._patch(found, {"spec": {"cancel": True}})
            async with aclosing(self.watch(found)) as states:
                async for _ in states:
                    pass
        return found

    async def delete(self, name: str) -> None:
        """Delete a run's resource."""
        manifest = await self._read(name)
        metadata = manifest["metadata"]
        await self._api.delete(RUNS, metadata["name"], uid=metadata["uid"])

    async def delete_all(self, environment: str) -> None:
        """Delete the resources of all runs of an environment."""
        listing = await self._api.list(RUNS, field_selector=f"spec.environment={environment}")
        found = [str(it["metadata"]["name"]) for it in listing.items]
        for start in range(0, len(found), AT_ONCE):
            batch = found[start : start + AT_ONCE]
            await asyncio.gather(*(self._api.delete(RUNS, name) for name in batch))

    async def close(self) -> None:
        """End all watches."""
        feeds, self._feeds = list(self._feeds.values()), {}
        for feed in feeds:
            await feed.close()

    def _feed(self, environment: str) -> RunFeed:
        return self._feeds.setdefault(environment, RunFeed(self._api, environment))

    async def _patch(self, name: str, change: Manifest) -> None:
        try:
            await self._api.patch(RUNS, name, change, field_manager=FIELD_MANAGER)
        except NotFoundApiError:
            return  # deleted meanwhile: nothing is left to cancel

    async def _read(self, name: str) -> Manifest:
        """Return the resource of a name or uid; raises RunNotFoundError naming the newest."""
        try:
            return await self._api.get(RUNS, name)
        except NotFoundApiError:
            listing = await self._api.list(RUNS)
        for manifest in listing.items:
            if manifest["metadata"]["uid"] == name:
                return manifest
        newest = sorted(
            listing.items, key=lambda it: str(it["metadata"]["creationTimestamp"]), reverse=True
        )
        yours = [str(it["metadata"]["name"]) for it in newest[:YOURS_SHOWN]]
        raise self._missing(name, yours=yours)

    def _missing(
        self, name: str, *, history: str = "", yours: list[str] | None = None
    ) -> Exception:
        return RunNotFoundError.missing(
            name=name,
            namespace=self._api.namespace,
            target=self._api.context,
            history=history,
            yours=yours or [],
        )


async def _news(follower: Follower, uid: str) -> AsyncGenerator[Manifest, None]:
    """Yield what a follower hears of the run of this uid, until it is gone."""
    while True:
        try:
            manifest = await follower.next()
        except Deleted as gone:
            if str(gone) in {"", uid}:
                return
            continue
        if manifest["metadata"]["uid"] == uid:
            yield manifest
