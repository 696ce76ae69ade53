"""The runs of one environment as resources: taken in once, cancelled, forgotten."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import msgspec

from geopod.api import names
from geopod.api.control import RunUpdate
from geopod.api.reasons import RunCondition, sentence
from geopod.api.run_conditions import TERMINAL
from geopod.api.run_resource import (
    cancelled_tasks,
    inline_arguments,
    order_from_resource,
    run_state,
)
from geopod.api.runs import RunOrder, RunState
from geopod.cluster.kinds import RUNS
from geopod.cluster.watching import WatchEvent
from geopod.coordinator.figures import RunFigures
from geopod.coordinator.outside import Desk
from geopod.coordinator.patience import TROUBLES, until_served
from geopod.coordinator.pod.admission import Refusal, complete_target, refusal_of, unready
from geopod.coordinator.pod.office import Cover, Object, Office
from geopod.coordinator.pod.publications import (
    Publications,
    Reader,
    started_publication,
)
from geopod.coordinator.pod.removal import is_removal_due, remove_results
from geopod.coordinator.pod.run_writer import Bureau, RunWriter
from geopod.coordinator.pod.throttle import ProgressBudget
from geopod.coordinator.recovery import UnfinishedRun, read_run, read_state
from geopod.dispatch import events
from geopod.errors import InvalidInputError
from geopod.store import Store

KEEP_S = 604_800

log = logging.getLogger(__name__)


class RunDesk:
    """All ComputeRuns of one environment that have not ended, each with its writer."""

    def __init__(self, office: Office, lister: Reader, store: Store, cover: Cover) -> None:
        self.version = ""
        """resourceVersion that `unfinished` has read the runs at."""
        self.spec: Object = {}
        """Of the environment, as it is now."""
        self._office = office
        self._lister = lister
        self._store = store
        self._uid = office.pod.environment_uid
        self._selector = f"spec.environment={office.pod.environment}"
        self._writers: dict[str, RunWriter] = {}
        self._waiting: list[Object] = []
        self._layers: Mapping[str, Object] = {}
        self._publications = Publications(office, lister, store)
        self._desk: Desk
        self._bureau = Bureau(
            office=office,
            cover=cover,
            budget=ProgressBudget(),
            keep_s=lambda: float((self.spec.get("results") or {}).get("keepSeconds", KEEP_S)),
            show=self._show,
            figures=self._figures,
            store=store,
        )

    async def unfinished(self, desk: Desk, spec: Object) -> list[UnfinishedRun]:
        """Return the runs that an earlier coordinator has begun; keep the others for `open`."""
        self._desk, self.spec = desk, spec
        listing = await self._lister.list(RUNS, field_selector=self._selector)
        self.version = listing.resource_version
        begun = []
        for manifest in sorted(listing.items, key=_age):
            if not self._is_open(manifest):
                self._clear(manifest)
                continue
            run = await self._read_begun(manifest)
            if run is None:
                self._waiting.append(manifest)
            else:
                begun.append(run)
        return begun

    async def open(self, layers: Mapping[str, Object]) -> None:
        """Take the runs that nobody has begun; `layers`: the catalogue, which goes on changing."""
        self._layers = layers
        waiting, self._waiting = self._waiting, []
        for manifest in waiting:
            await self._submit(manifest)
        for manifest in waiting:
            self._pass_on_cancels(manifest)

    async def take(self, event: WatchEvent) -> None:
        """Follow one change of a ComputeRun."""
        if event.type == "SYNCED":
            await self._sweep()
            return
        uid = event.object["metadata"]["uid"]
        writer = self._writers.get(uid)
        if event.type == "DELETED":
            self._forget(uid)
        elif (event.object.get("status") or {}).get("phase") in TERMINAL:
            if writer is not None and not writer.has_ended:  # the operator ended it
                self._forget(uid)
            self._writers.pop(uid, None)
            self._clear(event.object)
        elif writer is None:
            if self._is_open(event.object):
                await self._submit(event.object)
                self._pass_on_cancels(event.object)
        else:
            writer.observe(event.object)
            self._pass_on_cancels(event.object)

    # ---- in

    def _is_open(self, manifest: Object) -> bool:
        """Whether a run is this environment's and has not ended."""
        status = manifest.get("status") or {}
        bound = status.get("environmentUID")
        return status.get("phase") not in TERMINAL and bound in {None, "", self._uid}

    async def _read_begun(self, manifest: Object) -> UnfinishedRun | None:
        """Return a run with what is stored of it; None: no coordinator has begun it."""
        try:
            order = self._order(manifest)
        except InvalidInputError:
            return None
        state = await read_state(self._store, self._uid, order.uid)
        writer = RunWriter(self._bureau, manifest)
        self._publish_after(writer, order)
        run = await read_run(self._store, order, state, writer)
        told = run_state(manifest)
        if not run.chunks and state is None and not told.phase:
            return None
        self._writers[order.uid] = writer
        if state is None or state.finished is not None:  # its last word was not written
            run = UnfinishedRun(order, told, run.chunks, run.records, run.digest, writer)
        return run

    async def _submit(self, manifest: Object) -> None:
        """Take a run in, or say why not."""
        writer = RunWriter(self._bureau, manifest)
        self._writers[writer.uid] = writer
        ended = await self._known_end(manifest)
        if ended is not None:
            writer.send(RunUpdate(state=ended))
            return
        if manifest["spec"].get("mode") == "Publish":
            self._office.spawn(self._publish(manifest, writer))
            return
        try:
            order = complete_target(self._order(manifest), self._layers)
        except InvalidInputError as error:
            self._refuse(writer, Refusal("FunctionNotLoadable", error.fact))
            return
        refused = refusal_of(order, self.spec)
        if refused is not None:
            self._refuse(writer, refused)
            return
        store_arguments = partial(_store_arguments, self._store, manifest, order)
        try:
            await store_arguments()
        except TROUBLES as trouble:
            self._refuse(writer, unready(self._office.pod.environment, trouble), for_now=True)
            self._office.spawn(self._admit_later(order, writer, store_arguments))
        else:
            self._admit(order, writer)

    async def _admit_later(
        self, order: RunOrder, writer: RunWriter, store_arguments: Callable[[], Awaitable[None]]
    ) -> None:
        """Take a run in when the store takes its arguments; other runs go on meanwhile."""
        what = f"No room for the arguments of run {order.name}"
        await until_served(store_arguments, what, patience_s=math.inf)
        manifest = await self._office.read(RUNS, order.name)
        if manifest is not None and self._writers.get(order.uid) is writer:
            self._admit(order, writer)
            self._pass_on_cancels(manifest)

    def _admit(self, order: RunOrder, writer: RunWriter) -> None:
        self._publish_after(writer, order)
        self._desk.coordinator.admit(order, writer)

    async def _known_end(self, manifest: Object) -> RunState | None:
        """Return how a run has ended already, whatever its status says; None: it has not.

        Only a run that some coordinator has told of is looked for in the store.
        """
        runs, uid = self._desk.coordinator.runs, manifest["metadata"]["uid"]
        if (manifest.get("status") or {}).get("environmentUID"):
            return await runs.find_finished(uid)
        return runs.recall(uid)

    def _publish_after(self, writer: RunWriter, order: RunOrder) -> None:
        """Have the results become a layer before the run's end is told."""
        if order.write_to is not None:
            writer.after = partial(self._publications.after_run, order)

    async def _publish(self, manifest: Object, writer: RunWriter) -> None:
        """Carry out a run of mode Publish."""
        epoch = self._desk.coordinator.epoch
        state = started_publication(manifest, environment_uid=self._uid, epoch=epoch)
        writer.send(RunUpdate(state=state))
        state = await self._publications.of_resource(manifest, state)
        writer.send(RunUpdate(state=state))

    def _order(self, manifest: Object) -> RunOrder:
        large = bool(self.spec.get("largeResult", False))
        return order_from_resource(manifest, environment_uid=self._uid, large_result=large)

    def _refuse(self, writer: RunWriter, refusal: Refusal, *, for_now: bool = False) -> None:
        """End a run that cannot be taken, or say why it is not yet."""
        now = time.time()
        state = RunState(
            uid=writer.uid,
            name=writer.name,
            environment=self._uid,
            phase="" if for_now else "Failed",
            reason=refusal.reason,
            message=refusal.message,
            created=now,
            finished=None if for_now else now,
            epoch=self._desk.coordinator.epoch,
        )
        writer.send(RunUpdate(state=state))

    def _pass_on_cancels(self, manifest: Object) -> None:
        """Cancel a run, or some of its tasks, once each."""
        metadata = manifest["metadata"]
        writer = self._writers.get(metadata["uid"])
        coordinator = self._desk.coordinator
        if writer is None or writer.has_ended or writer.uid not in coordinator.runs:
            return
        if manifest["spec"].get("cancel") and not writer.cancelled:
            writer.cancelled = True
            coordinator.apply(events.RunCancelled(writer.uid))
            return
        text = str((metadata.get("annotations") or {}).get(names.ANNOTATION_CANCEL_TASKS, ""))
        if text != writer.cancelled_tasks:
            writer.cancelled_tasks = text
            indexes = cancelled_tasks(manifest)
            if indexes:
                coordinator.apply(events.RunCancelled(writer.uid, tuple(indexes)))

    # ---- out

    def _forget(self, uid: str) -> None:
        """A resource is gone, or was ended by somebody else: stop its run, write nothing."""
        writer = self._writers.pop(uid, None)
        if writer is None:
            return
        writer.abandon(self._uid)
        if uid in self._desk.coordinator.runs and not writer.has_ended:
            self._desk.coordinator.apply(events.RunCancelled(uid))

    def _clear(self, manifest: Object) -> None:
        """Remove what an ended run has stored, if its resource asks for that."""
        if is_removal_due(manifest, self._uid):
            self._office.spawn(remove_results(self._office, self._store, manifest))

    async def _sweep(self) -> None:
        """After a watch began anew: deletions of meanwhile were not told."""
        listing = await self._lister.list(RUNS, field_selector=self._selector)
        there = {item["metadata"]["uid"] for item in listing.items}
        for uid in [uid for uid in self._writers if uid not in there]:
            self._forget(uid)

    def _show(self, state: RunState) -> RunState:
        if state.phase != "Queued" or not self.spec.get("suspend"):
            return state
        name = self._office.pod.environment
        words = sentence(RunCondition.ACCEPTED, "Suspended", environment=name)
        return msgspec.structs.replace(state, phase="", reason="Suspended", message=words)

    def _figures(self, run: str) -> tuple[RunFigures, str] | None:
        return self._desk.coordinator.runs.figures(run)


async def _store_arguments(store: Store, manifest: Object, order: RunOrder) -> None:
    """Put arguments that ride in a resource where nodes read them."""
    arguments = inline_arguments(manifest)
    if arguments is not None and order.arguments is not None:
        await store.put(names.arguments_key(order.environment, order.arguments.sha256), arguments)


def _age(manifest: Object) -> tuple[str, str]:
    metadata = manifest["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["uid"]
