"""Observe, plan, act, come back later. What to do is decided in `environment` alone."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import cast

from geopod.errors import GeopodError, PermissionDeniedError

from geopod_operator.answers import child_tells_of_others, status_tells_of_others
from geopod_operator.cluster import Cluster
from geopod_operator.environment.absent import Absence, plan_absent
from geopod_operator.environment.catalogue import plan_layer, plan_runtime
from geopod_operator.environment.observed import Observed, Raw, Ref, Settings
from geopod_operator.environment.outcome import Delete, Event, Needs, Outcome
from geopod_operator.environment.reconcile import plan
from geopod_operator.environment.wanted import in_waves
from geopod_operator.memory import COUNTS_S, Memory
from geopod_operator.stores import (
    ENVIRONMENT,
    LAYER,
    RUN,
    RUNTIME,
    Key,
    Stores,
    WorkKey,
    ref_of,
)
from geopod_operator.work import is_unanswered

HEALED_S = 1.0
"""A refusal that is over is still told of: another look ends that."""
REFUSALS = frozenset({400, 403, 413, 422})
ROUNDS = 5
"""A plan asks for children, then for pods; more rounds than this are a bug."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Time, read in one place."""

    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic


class Reconciler:
    """One reconcile per key: of an environment, a Layer, a ComputeRuntime."""

    def __init__(
        self,
        stores: Stores,
        cluster: Cluster,
        *,
        settings: Settings,
        clocks: Clocks,
        counts_s: float = COUNTS_S,
    ) -> None:
        """Nothing is asked of the cluster yet."""
        self._stores = stores
        self._cluster = cluster
        self._settings = settings
        self._clocks = clocks
        self._counts_s = counts_s
        self._memories: dict[Key, Memory] = {}
        self._stray: dict[Key, list[Raw]] = {}
        """Unfinished runs whose environment is gone or another one."""

    def take_stray(self, stray: dict[Key, list[Raw]]) -> None:
        """Remember unfinished runs whose environment is gone or another one, as a list told."""
        self._stray = stray

    async def reconcile(self, key: WorkKey) -> float | None:
        """Do what the plan of one key says; return the seconds until it may change by itself."""
        kind, namespace, name = key
        if kind == ENVIRONMENT:
            return await self._reconcile_environment((namespace, name))
        found = self._stores.layer((namespace, name)) if kind == LAYER else None
        if kind == RUNTIME:
            found = self._stores.runtimes().get(name)
        if found is not None and found["metadata"].get("uid"):
            status = (plan_layer if kind == LAYER else plan_runtime)(found, self._clocks.now())
            if status is not None:
                await self._write_status(kind, found, status)
        return None

    # ---- one environment

    async def _reconcile_environment(self, key: Key) -> float | None:
        environment = self._stores.environment(key)
        stray = self._stray.pop(key, [])
        if environment is None:
            return await self._end_absent(key, stray)
        if stray:
            await self._plan_absent(key, stray)
        memory = self._memory(key, environment)
        outcome, observed = await self._whole_plan(key, memory, environment)
        self._stores.forget_children(key[0], outcome.stale)
        await self._act(observed, memory, outcome)
        if observed.refused and not memory.refused:
            return HEALED_S
        return outcome.requeue_after

    async def _whole_plan(
        self, key: Key, memory: Memory, environment: Raw
    ) -> tuple[Outcome, Observed]:
        observed = self._observe(key, memory, environment)
        for _ in range(ROUNDS):
            outcome = plan(observed)
            if not outcome.needs:
                return outcome, observed
            observed = await self._fetch(key, memory, observed, outcome.needs)
        raise RuntimeError(f"the plan of {key} is never whole: {outcome.needs}")

    def _observe(self, key: Key, memory: Memory, environment: Raw) -> Observed:
        runtimes = self._stores.runtimes()
        return Observed(
            now=self._clocks.now(),
            settings=self._settings,
            environment=environment,
            runtime=runtimes.get(environment["spec"].get("runtime", "default")),
            runtimes=tuple(runtimes),
            layers=self._stores.layers(key[0]),
            runs=self._stores.runs(key),
            children=self._children(key[0]),
            applied=memory.applied,
            pods_listed_at=memory.pods_listed_at,
            counts_wait_s=memory.counts_wait_s(self._clocks.monotonic(), self._counts_s),
            told=memory.told,
            refused=dict(memory.refused),
        )

    async def _fetch(self, key: Key, memory: Memory, observed: Observed, needs: Needs) -> Observed:
        namespace = key[0]
        refs = sorted(needs.children)
        answers = await asyncio.gather(*(self._cluster.get(namespace, ref) for ref in refs))
        for ref, found in zip(refs, answers, strict=True):
            if found is None:
                self._stores.put_absent(namespace, ref)
            else:
                self._stores.put(found)
        observed = replace(observed, children=self._children(namespace))
        if not needs.pods:
            return observed
        pods = await self._cluster.pods(namespace, needs.pod_selector)
        events = await self._cluster.refusals(namespace, needs.events_about)
        memory.pods_listed_at = observed.now
        return replace(observed, pods=pods, events=events, pods_listed_at=observed.now)

    def _children(self, namespace: str) -> Mapping[Ref, Raw | None]:
        return cast("Mapping[Ref, Raw | None]", self._stores.children(namespace))

    async def _act(self, observed: Observed, memory: Memory, outcome: Outcome) -> None:
        environment = observed.environment
        namespace = environment["metadata"]["namespace"]
        self._stores.forget_children(namespace, outcome.stale)
        await self._delete(namespace, outcome.deletes)
        refused = await self._apply(memory, outcome.applies)
        conflict = await self._write_runs(observed.runs, outcome)
        if outcome.finalizers is not None:
            changed = await self._cluster.set_finalizers(environment, outcome.finalizers)
            if changed is not None:
                self._stores.put(changed)
        if outcome.status is not None:
            await self._write_status(ENVIRONMENT, environment, outcome.status)
        memory.note_counts(self._clocks.monotonic(), are_held=outcome.holds_counts)
        for event in outcome.events:
            if event.about is None:
                memory.told[event.reason] = self._clocks.now()
                await self._tell(environment, event)
        failed = refused or conflict
        if failed is not None:
            raise failed

    async def _apply(self, memory: Memory, manifests: Iterable[Raw]) -> GeopodError | None:
        """Apply wave by wave and return the first refusal: the status is written all the same."""
        memory.refused.clear()
        for wave in in_waves(manifests):
            answers = await asyncio.gather(
                *(self._apply_one(memory, manifest) for manifest in wave), return_exceptions=True
            )
            errors = [it for it in answers if isinstance(it, BaseException)]
            for error in errors:
                if not isinstance(error, GeopodError) or is_unanswered(error):
                    raise error
            if errors:
                return cast("GeopodError", errors[0])
        return None

    async def _apply_one(self, memory: Memory, manifest: Raw) -> None:
        ref = Ref(*ref_of(manifest))
        try:
            applied = await self._cluster.apply(manifest)
        except GeopodError as error:
            if _is_refusal(error):
                memory.refused[ref] = getattr(error, "message", error.fact)
            raise
        if not child_tells_of_others(self._stores.held(applied), applied):
            self._stores.put(applied)
        memory.applied[ref] = applied["metadata"].get("generation", 0)

    async def _delete(self, namespace: str, deletes: Iterable[Delete]) -> None:
        for each in deletes:
            await self._cluster.delete(
                namespace,
                each.ref,
                uid=each.uid,
                propagation=each.propagation,
                grace_s=each.grace_s,
            )
            self._stores.forget_children(namespace, [each.ref])

    async def _write_runs(self, runs: Iterable[Raw], outcome: Outcome) -> GeopodError | None:
        """Write what runs are told, each with its Event, and return the first refusal.

        A run that its coordinator has taken meanwhile holds no other one up.
        """
        by_name = {run["metadata"]["name"]: run for run in runs}
        events = {it.about: it for it in outcome.events}
        first: GeopodError | None = None
        for each in outcome.run_statuses:
            try:
                written = await self._cluster.write_status(RUN, by_name[each.name], each.status)
            except GeopodError as error:
                if is_unanswered(error):
                    raise
                first = first or error
                continue
            event = events.get(Ref(RUN, each.name))
            if written is not None:
                self._stores.put(written)
                if event is not None:
                    await self._tell(written, event)
        return first

    async def _tell(self, about: Raw, event: Event) -> None:
        """Create an Event; one that cannot be created holds nothing up."""
        try:
            said = (event.type, event.reason, event.message)
            await self._cluster.tell(about, said, self._clocks.now())
        except GeopodError as error:
            logger.warning("an Event %s was not taken: %s", event.reason, error.fact)

    # ---- runs without an environment

    async def _end_absent(self, key: Key, stray: list[Raw]) -> float | None:
        was_here = self._memories.pop(key, None) is not None
        if was_here:
            self._stores.forget_children_of(key)
            stray = await self._cluster.runs_of(*key)
        return await self._plan_absent(key, [*stray, *self._stores.runs(key)])

    async def _plan_absent(self, key: Key, runs: list[Raw]) -> float | None:
        namespace, name = key
        by_name = {run["metadata"]["name"]: run for run in runs}
        if not by_name:
            return None
        there = (other for space, other in self._stores.environments() if space == namespace)
        outcome = plan_absent(
            Absence(
                now=self._clocks.now(),
                namespace=namespace,
                name=name,
                environments=tuple(sorted(there)),
                runs=tuple(run for _, run in sorted(by_name.items())),
            )
        )
        await self._delete(namespace, outcome.deletes)
        conflict = await self._write_runs(by_name.values(), outcome)
        if conflict is not None:
            raise conflict
        return outcome.requeue_after

    # ---- what is remembered

    def _memory(self, key: Key, environment: Raw) -> Memory:
        uid, at = environment["metadata"]["uid"], self._clocks.monotonic()
        memory = self._memories.get(key)
        if memory is None or memory.uid != uid:
            memory = self._memories[key] = Memory.of(uid, at)
        memory.age(at)
        return memory

    async def _write_status(self, kind: str, about: Raw, status: Raw) -> None:
        """Write a status; what others did meanwhile is left for the watch to tell."""
        written = await self._cluster.write_status(kind, about, status)
        if written and not status_tells_of_others(self._stores.held(written), written, status):
            self._stores.put(written)


def _is_refusal(error: GeopodError) -> bool:
    """Whether the server has judged the object, and would judge it so again."""
    status = getattr(error, "status", None)
    return isinstance(error, PermissionDeniedError) or status in REFUSALS
