"""One loop: events in, actions out. The shell around `geopod.dispatch`.

Everything that happens (a message of a node or a client, a tick of the clock) becomes an event;
every action that `step` returns is carried out here, in order, without waiting for anybody.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import assert_never

import msgspec

from geopod.api import messages, names
from geopod.api.control import RunUpdate
from geopod.api.messages import PROTOCOL, FromCoordinator
from geopod.api.runs import EnvironmentState, RunOrder, RunState
from geopod.coordinator.environment import RUNS_WITHIN_S, EnvironmentBook, describe_environment
from geopod.coordinator.membership import Membership
from geopod.coordinator.meter import Meter, NoMeter
from geopod.coordinator.nodes import NodeServer
from geopod.coordinator.outside import Watcher
from geopod.coordinator.plans import PlanFailed, StoredPlan
from geopod.coordinator.recovery import UnfinishedRun
from geopod.coordinator.runs import RunBook
from geopod.coordinator.settings import CoordinatorSettings
from geopod.dispatch import NodePhase, Settings, State, actions, events, run_state, step
from geopod.store import Store


@dataclass(frozen=True, slots=True)
class NodeView:
    """One connected node, as far as its replacement is concerned."""

    index: int
    template_hash: str
    is_busy: bool
    is_drained: bool


class Coordinator:
    """One environment's coordinator: what it knows, and everything it does with it."""

    def __init__(self, settings: CoordinatorSettings, store: Store, *, epoch: int) -> None:
        self.settings = settings
        self.plan: StoredPlan | PlanFailed | None = None
        """None: the layers' headers are being read."""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the process must end: Fenced, or what went wrong."""
        self.epoch = epoch
        self._store = store
        self._last_activity = time.time()
        self.meter: Meter = NoMeter()
        self._state = State(epoch=epoch, size=settings.nodes, settings=_limits(settings))
        uid = settings.environment_uid
        self.runs = RunBook(self, store, environment_uid=uid, epoch=epoch)
        self.environment = EnvironmentBook(self.read_environment, state_file=settings.state_file)
        self._membership = Membership(
            self,
            environment_uid=uid,
            epoch=epoch,
            python=settings.python,
            redial_grace_s=settings.redial_grace_s,
        )
        link_key = bytes.fromhex(settings.link_key)
        self.nodes = NodeServer(self._membership, link_key=link_key, nodes=settings.nodes)

    def remember_activity(self, when: float) -> None:
        """The environment was last in use at this time: a start of this process is no use."""
        self._last_activity = when

    def expect_nodes(self, indexes: Iterable[int]) -> None:
        """Count on these nodes: they served an earlier coordinator."""
        self._membership.expect(indexes)

    # ---- events in, actions out

    def apply(self, event: events.Event) -> None:
        """Take one event through the machine and carry out what follows.

        An error in here is a defect: the process ends, and the next one reads everything back from
        the store.
        """
        self.meter.happened(event)
        try:
            for action in step(self._state, event, time.time()):
                self._act(action)
        except Exception as error:
            self.fail(error)
            raise

    def _act(self, action: actions.Action) -> None:
        """Carry out one action."""
        match action:
            case actions.Assign():
                self._assign(action)
            case actions.Commit(run, records, node, lease):
                plan = self._state.runs[run].plan or events.Plan()
                self.runs.commit(run, records, node=node, lease=lease, plan_sha256=plan.sha256)
            case actions.Forget(node, lease, indexes):
                self.send(node, messages.Committed(lease=lease, indexes=indexes))
            case actions.Cancel(node, lease, indexes):
                self.send(node, messages.Cancel(lease=lease, indexes=indexes))
            case actions.EndRun(node, run):
                self._membership.members[node].functions.discard(run)
                self.send_soon(node, messages.EndRun(run=run))
            case actions.RunChanged(run):
                self.runs.changed(run)
                self.environment.changed(within_s=RUNS_WITHIN_S)
            case actions.RunFinished(run):
                self._last_activity = time.time()
                self.runs.finish(run)
            case _:
                assert_never(action)

    def _assign(self, action: actions.Assign) -> None:
        """Send an ASSIGN; the function's bytes go along the first time a node sees the run."""
        order = self._state.runs[action.run].order
        member = self._membership.members[action.node]
        function = order.function
        if action.run in member.functions:
            function = msgspec.structs.replace(function, inline=None)
        else:
            member.functions.add(action.run)
            self.meter.sent(function.size)
        assign = messages.Assign(
            lease=action.lease,
            epoch=self.epoch,
            run=action.run,
            tasks=action.tasks,
            function=function,
            arguments=order.arguments,
            plan_sha256=action.plan_sha256,
            partition=action.partition,
            total=action.total,
            timeout_s=order.timeout_s,
            large_result=order.large_result,
            write_to=order.write_to,
            on_empty=order.on_empty,
        )
        self.send(action.node, assign)

    # ---- RunOwner, Machine

    def read_run(self, run: str) -> RunState:
        """Return where a run stands."""
        return run_state(self._state, run, time.time())

    def send(self, node: int, message: FromCoordinator) -> bool:
        """Send a message to a node, if it is connected."""
        return self.nodes.send(node, message)

    def send_soon(self, node: int, message: FromCoordinator) -> None:
        """Send a message to a node, if it is connected, after what clients are told now."""
        self.nodes.send_soon(node, message)

    def close_run(self, run: str) -> None:
        """A run's end is published: the machine may forget it."""
        self.apply(events.RunClosed(run))
        self.environment.changed(within_s=RUNS_WITHIN_S)

    def fail(self, error: BaseException) -> None:
        """End the process for this reason, if it is not ending already."""
        if not self.ended.done():
            self.ended.set_exception(error)

    def nodes_changed(self) -> None:
        """A node came, went, or got further."""
        self.environment.changed()

    # ---- runs

    async def submit(self, order: RunOrder, watcher: Watcher | None = None) -> None:
        """Store a run's order and take it, if it is not open; it may end before this returns."""
        key = names.order_key(order.environment, order.uid)
        if not await self._store.exists(key):
            await self._store.put(key, msgspec.json.encode(order))
        ended = self.runs.recall(order.uid)
        if order.uid not in self.runs and ended is None:  # another client may have been faster
            self.admit(order, watcher)
        elif watcher is not None and ended is not None:
            watcher.send(RunUpdate(state=ended))
        elif watcher is not None:
            self.runs.watch(order.uid, watcher, at_once=True)

    def admit(self, order: RunOrder, watcher: Watcher | None = None) -> None:
        """Take a run that is not open and whose order is kept elsewhere; `watcher` hears of it."""
        self._last_activity = time.time()
        self.runs.open(order.uid)
        if watcher is not None:
            self.runs.watch(order.uid, watcher, at_once=False)
        self.apply(events.RunSubmitted(order))

    async def resume(self, run: UnfinishedRun, plan: StoredPlan | None) -> None:
        """Go on with a run of an earlier coordinator, which is first shut out of its manifest.

        Its watcher hears of it from the first word on.
        """
        writer = self.runs.open(run.order.uid, run)
        await writer.take_over()
        if run.watcher is not None:
            self.runs.watch(run.order.uid, run.watcher, at_once=False)
        submitted = events.RunSubmitted(
            run.order,
            finished=tuple(run.records),
            recovered=True,
            started=run.state.started if run.state else None,
            plan=describe_plan(plan) if plan else None,
        )
        self.apply(submitted)

    # ---- the environment

    def read_environment(self) -> EnvironmentState:
        """Return how the environment is."""
        state = self._state
        blank = EnvironmentState(
            uid=self.settings.environment_uid,
            name=self.settings.name,
            epoch=self.epoch,
            protocol=PROTOCOL,
            nodes=self.settings.nodes,
            python=self.settings.python,
            busy=sum(bool(node.leases) for node in state.nodes.values()),
            active_runs=len(state.running),
            queued_runs=len(state.queue) + len(state.refused),
            last_activity=self._last_activity,
        )
        return describe_environment(
            blank,
            members=self._membership.members.values(),
            plan=self.plan,
            known=self._membership.known,
            waits=self.runs.backlog.words,
        )

    def nodes_view(self) -> list[NodeView]:
        """Return every connected node as a roll-out sees it."""
        nodes = self._state.nodes
        return [
            NodeView(
                index,
                member.template_hash,
                is_busy=bool(nodes[index].leases),
                is_drained=nodes[index].phase is NodePhase.DRAINING,
            )
            for index, member in self._membership.members.items()
            if member.connected and index in nodes
        ]

    def drain(self, indexes: Iterable[int]) -> None:
        """Have nodes finish what they hold and take no more; a node that dials anew is fresh."""
        self._membership.drain(indexes)
        self.environment.changed()

    def reconfigure(self, settings: CoordinatorSettings) -> None:
        """The spec has changed: serve its number of nodes, and wait for a plan of it."""
        self.plan = None
        self.nodes.nodes = settings.nodes
        self.apply(events.NodesResized(settings.nodes))
        self._membership.drain_from(settings.nodes)
        self._membership.stage(None)
        self.adjust(settings)

    def adjust(self, settings: CoordinatorSettings) -> None:
        """Keep other limits from now on; nodes and plan stay as they are."""
        self.settings, self._state.settings = settings, _limits(settings)
        if settings.suspended:
            self._membership.drain_from(0)
        self.apply(events.Tick())  # a higher limit may start a run
        self.environment.changed()

    def planned(self, plan: StoredPlan | PlanFailed) -> None:
        """There is a plan, or none can be made: every node stages its partition of it."""
        self.plan = plan
        if isinstance(plan, StoredPlan):
            self.apply(events.PartitionsPlanned(describe_plan(plan)))
            self._membership.stage(plan.sha256)
        self.environment.changed()


def _limits(settings: CoordinatorSettings) -> Settings:
    return Settings(
        max_concurrent_runs=settings.max_concurrent_runs,
        max_queued_runs=settings.max_queued_runs,
        min_ready_nodes=settings.min_ready_nodes,
        recovery_wait_s=settings.recovery_wait_s,
    )


def describe_plan(plan: StoredPlan) -> events.Plan:
    """Return what the machine needs to know of a plan; without layers no partition is empty."""
    if plan.plan.work is None:
        return events.Plan(sha256=plan.sha256, count=plan.plan.nodes)
    empty = frozenset(part.index for part in plan.plan.partitions if part.core is None)
    return events.Plan(sha256=plan.sha256, count=len(plan.plan.partitions), empty=empty)
