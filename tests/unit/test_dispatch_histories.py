"""Random histories of runs, nodes and coordinators: what holds whatever happens.

`World` checks after every step that no task has two records or two leases, that no dead node
holds a lease, that credit and counts hold, and that late answers commit nothing. Here histories
are made, and at the end of each: all runs end, every task with one record.
"""

from __future__ import annotations

from dispatch_builders import World, a_failure, a_map, a_plan, a_result, an_order, with_retries
from geopod.api.results import TaskReason
from geopod.api.runs import RetryRule
from geopod.dispatch import (
    Event,
    HandedBack,
    NodeDrained,
    NodeReady,
    NodesResized,
    NodeUnready,
    PartitionsPlanned,
    RunCancelled,
    RunClosed,
    State,
    StoreBehind,
    TaskFailed,
    TaskProgressed,
    TasksDone,
    TaskStarted,
    step,
)
from geopod.dispatch.retry import MAX_ATTEMPTS
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

NODES = 4
node_indexes = st.integers(0, NODES - 1)
positions = st.integers(0, 30)
reasons = st.sampled_from(list(TaskReason))
rules = st.sampled_from(
    [
        RetryRule(),
        with_retries(0),
        with_retries(1, "Infra", "Exception"),
        with_retries(10, "Infra", "Timeout", "OOM", "Exception"),
    ]
)


class Histories(RuleBasedStateMachine):
    """One environment of four nodes through an arbitrary history."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(
            size=NODES, max_concurrent_runs=2, max_queued_runs=2, recovery_wait_s=5.0
        )
        self.answers: list[Event] = []
        """Everything nodes ever said, to be said again."""
        self.submitted = 0

    def choose(self, position: int) -> tuple[int, str] | None:
        """Return some (node, lease) that an agent holds, seen by the coordinator or not."""
        held = [
            (agent.index, lease) for agent in self.world.agents.values() for lease in agent.leases
        ]
        return held[position % len(held)] if held else None

    def say(self, event: Event) -> None:
        self.answers.append(event)
        self.world.do(event)

    # ---- runs

    @rule(
        tasks=st.integers(0, 12),
        retries=rules,
        policy=st.sampled_from(["Continue", "FailFast"]),
        batch=st.integers(0, 3),
        priority=st.integers(-1, 1),
        run_timeout_s=st.sampled_from([None, 2000.0]),
    )
    def submit_map(self, tasks, retries, policy, batch, priority, run_timeout_s):
        self.submitted += 1
        self.world.submit(
            a_map(
                f"map{self.submitted}",
                tasks=tasks,
                batch=batch,
                retries=retries,
                failure_policy=policy,
                priority=priority,
                run_timeout_s=run_timeout_s,
                created=self.world.now,
            )
        )

    @rule(
        retries=rules,
        policy=st.sampled_from(["Continue", "FailFast"]),
        on_empty=st.sampled_from(["skip", "call", "error"]),
        partitions=st.none() | st.lists(st.integers(0, 5), max_size=3),
    )
    def submit_per_node(self, retries, policy, on_empty, partitions):
        self.submitted += 1
        self.world.submit(
            an_order(
                f"node{self.submitted}",
                partitions=partitions,
                on_empty=on_empty,
                retries=retries,
                failure_policy=policy,
                created=self.world.now,
            )
        )

    @precondition(lambda self: self.world.orders)
    @rule(position=positions, indexes=st.none() | st.lists(st.integers(-1, 12), max_size=4))
    def cancel(self, position, indexes):
        run = list(self.world.orders)[position % len(self.world.orders)]
        chosen = None if indexes is None else tuple(indexes)
        self.world.do(RunCancelled(run, chosen, by="ana"))

    @precondition(lambda self: self.world.orders)
    @rule(position=positions)
    def close(self, position):
        run = list(self.world.orders)[position % len(self.world.orders)]
        if run in self.world.finished:
            self.world.do(RunClosed(run))

    # ---- nodes

    @rule(node=node_indexes, slots=st.integers(1, 2), ready=st.booleans())
    def start_node(self, node, slots, ready):
        self.world.add_node(node, slots=slots, ready=ready)

    @rule(node=node_indexes)
    def dial_again(self, node):
        if node in self.world.agents:
            self.world.join(node)
            self.world.do(NodeReady(node))

    @rule(node=node_indexes, event=st.sampled_from([NodeReady, NodeUnready, NodeDrained]))
    def change_node(self, node, event):
        if node in self.world.agents:
            self.world.do(event(node))

    @rule(node=node_indexes)
    def kill_node(self, node):
        if node in self.world.agents:
            self.world.kill(node, "evicted")

    @rule(node=node_indexes)
    def lose_sight_of_node(self, node):
        if node in self.world.agents:
            self.world.lose_sight(node)

    @rule(nodes=st.integers(1, NODES), empty=st.lists(st.integers(0, NODES - 1), max_size=2))
    def scale(self, nodes, empty):
        self.world.size = nodes
        self.world.do(NodesResized(nodes))
        self.world.do(PartitionsPlanned(a_plan(nodes, empty=[k for k in empty if k < nodes])))

    # ---- answers

    @rule(position=positions, amount=st.integers(1, 4), runtime_s=st.sampled_from([0.001, 3.0]))
    def finish_tasks(self, position, amount, runtime_s):
        if chosen := self.choose(position):
            node, lease = chosen
            held = self.world.leases(node)[lease]
            records = [
                a_result(index, attempt, node=node, runtime_s=runtime_s)
                for index, attempt in list(held.tasks.items())[:amount]
            ]
            self.say(TasksDone(node, lease, held.epoch, records))

    @rule(position=positions, reason=reasons)
    def fail_task(self, position, reason):
        if chosen := self.choose(position):
            node, lease = chosen
            held = self.world.leases(node)[lease]
            index, attempt = next(iter(held.tasks.items()))
            self.say(TaskFailed(node, lease, held.epoch, a_failure(index, attempt, reason)))

    @rule(position=positions)
    def obey_cancel(self, position):
        if chosen := self.choose(position):
            node, lease = chosen
            held = self.world.leases(node)[lease]
            for index in sorted(held.cancelled & held.tasks.keys()):
                record = a_failure(index, held.tasks[index], TaskReason.CANCELLED)
                self.say(TaskFailed(node, lease, held.epoch, record))

    @rule(position=positions)
    def hand_back(self, position):
        if chosen := self.choose(position):
            node, lease = chosen
            held = self.world.leases(node).pop(lease)
            self.say(HandedBack(node, lease, held.epoch, tuple(held.tasks), "no child"))

    @rule(position=positions, fraction=st.none() | st.floats())
    def report_progress(self, position, fraction):
        if chosen := self.choose(position):
            node, lease = chosen
            held = self.world.leases(node)[lease]
            self.say(TaskStarted(node, lease, held.epoch))
            self.say(TaskProgressed(node, lease, held.epoch, next(iter(held.tasks)), fraction, "b"))

    @precondition(lambda self: self.answers)
    @rule(position=st.integers(0, 1000))
    def say_again(self, position):
        self.world.do(self.answers[position % len(self.answers)])

    @precondition(lambda self: self.answers)
    @rule(position=st.integers(0, 1000), node=node_indexes)
    def speak_for_another_node(self, position, node):
        event = self.answers[position % len(self.answers)]
        if isinstance(event, TasksDone) and node in self.world.agents:
            self.world.do(TasksDone(node, event.lease, event.epoch, event.records))

    # ---- store, time and coordinators

    @rule(is_behind=st.booleans())
    def fall_behind_or_catch_up(self, is_behind):
        self.world.do(StoreBehind(is_behind))

    @rule(seconds=st.sampled_from([0.5, 3.0, 30.0, 100.0, 1900.0, 3700.0]))
    def pass_time(self, seconds):
        self.world.tick(seconds)

    @rule(back=st.lists(node_indexes, unique=True))
    def restart_coordinator(self, back):
        self.world.restart_coordinator()
        for node in list(self.world.agents):
            if node in back:
                self.world.join(node)
                self.world.do(NodeReady(node))
            else:
                del self.world.agents[node]

    # ---- the end

    def teardown(self) -> None:
        """Give every run nodes that work, and time: it ends, and nothing is lost."""
        world = self.world
        self.replay()
        world.do(StoreBehind(is_behind=False))
        for node in range(NODES):
            world.add_node(node)
        for _ in range(300):
            if len(world.finished) == len(world.orders):
                break
            world.tick(5.0)
            self.answer_all()
        for uid in world.orders:
            assert uid in world.finished, f"{uid} never ended"
            phase = world.finished[uid].phase
            failures = [r.failure for r in world.manifest[uid].values() if r.failure is not None]
            assert (phase == "Succeeded") <= (not failures)
            if phase == "Failed" and world.finished[uid].reason == "TaskFailed":
                assert failures or not world.manifest[uid]
        assert not world.state.leases
        assert max(world.attempts.values(), default=0) <= MAX_ATTEMPTS

    def answer_all(self) -> None:
        for agent in self.world.agents.values():
            for lease, held in list(agent.leases.items()):
                for index, attempt in list(held.tasks.items()):
                    if index in held.cancelled:
                        record = a_failure(index, attempt, TaskReason.CANCELLED)
                        self.world.do(TaskFailed(agent.index, lease, held.epoch, record))
                    else:
                        record = a_result(index, attempt, node=agent.index)
                        self.world.do(TasksDone(agent.index, lease, held.epoch, [record]))

    def replay(self) -> None:
        """The same events at the same times give the same actions."""
        world = self.world
        state = State(epoch=world.state.epoch, size=world.epoch_size, settings=world.settings)
        for event, now, actions in world.history:
            assert step(state, event, now) == actions


Histories.TestCase.settings = settings(
    max_examples=400,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestHistories = Histories.TestCase
