"""How runs begin, wait and end: queue, deadlines, failure policy, cancel, last sentence."""

from __future__ import annotations

from dataclasses import replace

import pytest
from dispatch_builders import START, World, a_map, a_plan, an_order, with_retries
from geopod.api.results import TaskReason
from geopod.dispatch import (
    EndRun,
    NodeReady,
    NodesResized,
    PartitionsPlanned,
    RunCancelled,
    RunClosed,
    RunFinished,
    TaskStarted,
)
from geopod.dispatch.failures import OTHERS, TIMES


def finished(world: World, run: str = "run") -> tuple[str, str, str]:
    end = world.finished[run]
    return end.phase, end.reason, end.message


# ---- beginning


def test_a_run_over_all_nodes_succeeds_with_one_record_each():
    world = World(nodes=4)
    world.submit(an_order())
    assert world.read().phase == "Running"
    world.work_until_done()
    assert finished(world) == ("Succeeded", "", "")
    assert sorted(world.manifest["run"]) == [0, 1, 2, 3]
    assert world.read().completed_indexes == "0-3"


def test_a_run_submitted_twice_is_one_run():
    world = World(nodes=1)
    assert world.submit(an_order())
    assert world.submit(an_order()) == []


def test_a_map_without_arguments_succeeds_at_once():
    world = World(nodes=1)
    world.submit(a_map(tasks=0))
    assert finished(world) == ("Succeeded", "", "")


def test_a_run_waits_for_a_ready_node_and_says_so():
    world = World(size=4)
    world.submit(an_order())
    world.now += 12
    state = world.read()
    assert (state.phase, state.reason) == ("Queued", "EnvironmentNotReady")
    assert state.message == (
        "Waits for ready nodes, 12 s of 3600 s (queueTimeoutSeconds): 0 of 4 are ready."
    )
    world.add_node(0)
    assert world.read().phase == "Running"


def test_a_run_without_any_nodes_says_so_and_what_gives_it_some():
    world = World(nodes=2)
    world.size = 0
    world.do(NodesResized(0))
    world.submit(an_order(queue_timeout_s=60.0))
    world.now += 12
    assert world.read().message == (
        "Waits for nodes, 12 s of 60 s (queueTimeoutSeconds): the environment has none (nodes=0); "
        "scale it, as by env.scale(1)."
    )
    world.tick(48)
    assert finished(world)[2].startswith(
        "The run did not start within 60 s of its submission (queueTimeoutSeconds); the "
        "environment has no nodes."
    )


def test_a_run_waits_for_min_ready_nodes():
    world = World(size=4, min_ready_nodes=2)
    world.submit(a_map())
    world.add_node(0)
    assert world.read().phase == "Queued"
    world.add_node(1)
    assert world.read().phase == "Running"


def test_min_ready_nodes_is_never_more_than_the_nodes_there_are():
    world = World(size=1, min_ready_nodes=3)
    world.submit(a_map())
    world.add_node(0)
    assert world.read().phase == "Running"


def test_a_run_without_plan_is_bound_to_the_one_that_comes():
    world = World()
    world.size = 2
    world.do(NodesResized(2))
    world.add_node(0)
    world.add_node(1)
    world.submit(an_order())
    assert world.read().message.startswith("Waits for the partition plan")
    world.do(PartitionsPlanned(a_plan(2)))
    world.work_until_done()
    assert finished(world) == ("Succeeded", "", "")
    assert world.read().total == 2


def test_another_number_of_nodes_counts_for_later_runs_only():
    world = World(nodes=2)
    world.submit(an_order("before"))
    world.size = 3
    world.do(NodesResized(3))
    world.submit(an_order("after"))
    world.do(PartitionsPlanned(a_plan(3)))
    world.add_node(2)
    world.work_until_done()
    assert sorted(world.manifest["before"]) == [0, 1]
    assert sorted(world.manifest["after"]) == [0, 1, 2]


def test_a_run_waits_for_the_plan_of_other_layers_though_there_are_as_many_nodes():
    world = World(nodes=2)
    world.do(NodesResized(2))
    world.submit(an_order())
    assert world.read().message.startswith("Waits for the partition plan")
    world.do(PartitionsPlanned(replace(a_plan(2), sha256="b" * 64)))
    world.work_until_done()
    assert world.read().plan_sha256 == "b" * 64


def test_a_subset_of_partitions_keeps_their_numbers():
    world = World(nodes=4)
    actions = world.submit(an_order(partitions=[3, 1]))
    world.work_until_done()
    assert sorted(world.manifest["run"]) == [1, 3]
    assert world.read().completed_indexes == "1,3"
    assert {action.total for action in actions if hasattr(action, "tasks")} == {4}


def test_a_partition_that_does_not_exist_ends_the_run():
    world = World(nodes=2)
    world.submit(an_order(partitions=[1, 7]))
    assert finished(world) == (
        "Failed",
        "TaskFailed",
        "The plan has 2 partitions, counted from 0; there is no 7. 0 results kept.",
    )


@pytest.mark.parametrize(
    ("on_empty", "phase", "handed_out"),
    [("skip", "Succeeded", 1), ("call", "Succeeded", 3), ("error", "Failed", 1)],
)
def test_partitions_without_data_follow_on_empty(on_empty, phase, handed_out):
    world = World(nodes=3)
    world.do(PartitionsPlanned(a_plan(3, empty=[0, 2])))
    world.submit(an_order(on_empty=on_empty))
    world.work_until_done()
    assert finished(world)[0] == phase
    assert sum(world.attempts.values()) == handed_out
    assert world.manifest["run"][0].skipped == (on_empty == "skip")


def test_empty_partitions_alone_need_no_node_to_succeed():
    world = World(nodes=1)
    world.do(PartitionsPlanned(a_plan(1, empty=[0])))
    world.submit(an_order())
    assert finished(world) == ("Succeeded", "", "")


# ---- the queue


def test_the_queue_goes_by_priority_then_age():
    world = World(nodes=1, max_concurrent_runs=1)
    world.submit(a_map("first", tasks=1))
    world.submit(a_map("late", tasks=1, created=START + 2))
    world.submit(a_map("early", tasks=1, created=START + 1))
    world.submit(a_map("urgent", tasks=1, created=START + 3, priority=5))
    world.work_until_done()
    assert list(world.finished) == ["first", "urgent", "early", "late"]


def test_a_run_beyond_the_queue_is_taken_when_there_is_room():
    world = World(nodes=1, max_concurrent_runs=1, max_queued_runs=1)
    for name in ("running", "queued", "refused"):
        world.submit(a_map(name, tasks=1))
    state = world.read("refused")
    assert (state.phase, state.reason) == ("", "QueueFull")
    assert state.message.startswith("The queue is full: 1 run (maxQueuedRuns=1).")
    assert world.read("queued").message == (
        "Waits behind 1 running run (maxConcurrentRuns=1) and 0 queued."
    )
    world.finish(0)
    assert world.read("refused").phase == "Queued"
    world.work_until_done()
    assert len(world.finished) == 3


def test_without_a_queue_a_run_starts_when_a_place_is_free():
    world = World(nodes=1, max_concurrent_runs=1, max_queued_runs=0)
    world.submit(a_map("first", tasks=1))
    world.submit(a_map("second", tasks=1))
    assert world.read("second").reason == "QueueFull"
    world.finish(0)
    assert world.read("second").phase == "Running"


def test_equal_runs_share_the_nodes():
    world = World(nodes=2)
    world.submit(a_map("long", tasks=1000))
    world.finish(0)
    world.finish(1)
    world.submit(a_map("short", tasks=2, created=START + 1))
    for _ in range(3):
        world.finish(0)
        world.finish(1)
    assert "short" in world.finished
    assert "long" not in world.finished


# ---- deadlines


def test_a_run_that_finds_no_node_in_time_fails():
    world = World(size=2)
    world.submit(an_order(queue_timeout_s=60.0))
    world.tick(59)
    assert not world.finished
    world.tick(1)
    assert finished(world) == (
        "Failed",
        "QueueDeadlineExceeded",
        (
            "The run did not start within 60 s of its submission (queueTimeoutSeconds). "
            "2 of 2 tasks were cancelled (tasks 0, 1). 0 results kept."
        ),
    )


def test_a_run_past_its_deadline_keeps_what_it_has():
    world = World(nodes=2)
    world.submit(an_order(run_timeout_s=100.0))
    world.finish(0)
    world.tick(100)
    assert [cancel.node for cancel in world.cancels] == [1]
    world.fail(1, TaskReason.CANCELLED)
    assert finished(world) == (
        "Failed",
        "DeadlineExceeded",
        (
            "The run did not end within 100 s (runTimeoutSeconds). "
            "1 of 2 tasks was cancelled (task 1). 1 result kept."
        ),
    )
    assert world.manifest["run"][1].failure.fact == "was cancelled by runTimeoutSeconds."


def test_a_silent_lease_is_revoked_after_the_tasks_deadline_and_grace():
    world = World(nodes=2)
    world.submit(a_map(tasks=1, timeout_s=10.0))
    first = world.holder(0)
    world.do(TaskStarted(first, world.lease_of(first), 1))
    world.tick(69)
    assert not world.cancels
    world.tick(1)
    assert [cancel.node for cancel in world.cancels] == [first]
    assert world.read().retried == 1


# ---- cancel


def test_cancel_ends_waiting_tasks_at_once_and_tells_the_nodes():
    world = World(nodes=1)
    world.submit(a_map(tasks=5))
    world.do(RunCancelled("run", by="ana"))
    assert sorted(world.manifest["run"]) == [1, 2, 3, 4]
    assert world.manifest["run"][1].failure.fact == "was cancelled by ana."
    assert world.read().phase == "Running"
    world.fail(0, TaskReason.CANCELLED)
    assert finished(world) == (
        "Cancelled",
        "Cancelled",
        (
            "The run was cancelled by ana. 5 of 5 tasks were cancelled (tasks 0, 1, 2, 3, 4). "
            "0 results kept."
        ),
    )


def test_cancel_twice_tells_a_node_once():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.do(RunCancelled("run"))
    world.do(RunCancelled("run"))
    assert len(world.cancels) == 1


def test_cancelling_one_task_twice_tells_its_node_once():
    world = World(nodes=1)
    world.submit(an_order())
    world.do(RunCancelled("run", (0, 0)))
    world.do(RunCancelled("run", (0,)))
    assert len(world.cancels) == 1


@pytest.mark.parametrize("indexes", [None, (1,)], ids=["the run", "one task"])
def test_a_cancelled_task_whose_node_is_lost_is_not_tried_again(indexes):
    world = World(nodes=2)
    world.submit(an_order())
    world.finish(0)
    world.do(RunCancelled("run", indexes, by="ana"))
    world.kill(1)
    assert world.manifest["run"][1].failure.fact == "was cancelled by ana."
    assert "run" in world.finished


def test_a_result_that_was_faster_than_cancel_is_kept():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.do(RunCancelled("run"))
    world.finish(0)
    assert finished(world) == ("Succeeded", "", "")


def test_a_node_that_does_not_answer_cancel_is_not_waited_for():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.do(RunCancelled("run"))
    lease = world.lease_of(0)
    world.tick(44)
    assert not world.finished
    world.tick(1)
    assert finished(world)[0] == "Cancelled"
    world.finish(0, lease)
    assert world.forgotten[-1].lease == lease


def test_one_task_is_cancelled_and_the_others_go_on():
    world = World(nodes=2)
    world.submit(an_order())
    world.do(RunCancelled("run", (1,), by="ana"))
    assert world.cancels[-1].node == 1
    world.fail(1, TaskReason.CANCELLED)
    world.finish(0)
    assert finished(world) == (
        "Failed",
        "TaskFailed",
        "1 of 2 tasks was cancelled (task 1). 1 result kept.",
    )


def test_cancelling_a_waiting_run_takes_it_off_the_queue():
    world = World(size=1)
    world.submit(a_map(tasks=2))
    world.do(RunCancelled("run"))
    assert finished(world)[0] == "Cancelled"
    assert world.state.queue == []


def test_cancel_of_a_finished_or_unknown_run_does_nothing():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.work_until_done()
    assert world.do(RunCancelled("run")) == []
    assert world.do(RunCancelled("nobody")) == []


# ---- failures


def test_one_failure_leaves_the_other_results():
    world = World(nodes=3)
    world.submit(an_order())
    world.fail(1)
    world.finish(0)
    world.finish(2)
    assert finished(world) == (
        "Failed",
        "TaskFailed",
        f'1 of 3 tasks failed: 1 {TIMES} ValueError "empty geometry" (task 1). 2 results kept.',
    )


def test_failures_are_counted_by_type_most_frequent_first():
    world = World(nodes=4)
    world.submit(an_order())
    world.fail(0, TaskReason.TIMEOUT)
    world.fail(1)
    world.fail(3)
    world.finish(2)
    assert finished(world)[2] == (
        f'3 of 4 tasks failed: 2 {TIMES} ValueError "empty geometry" (tasks 1, 3), '
        f"1 {TIMES} Timeout (task 0). 1 result kept."
    )


def test_kinds_of_failures_beyond_sixteen_are_counted_together():
    world = World(nodes=1)
    world.submit(a_map(tasks=40))
    for number in range(40):
        world.fail(0, message=f"{number}")
    groups = world.state.runs["run"].failures.groups
    assert len(groups) == 17
    assert groups[OTHERS].count == 24
    assert finished(world)[2].startswith(f"40 of 40 tasks failed: 24 {TIMES} other failures (tasks")


def test_fail_fast_cancels_the_rest():
    world = World(nodes=2)
    world.submit(a_map(tasks=10, failure_policy="FailFast"))
    world.fail(0)
    assert [cancel.node for cancel in world.cancels] == [1]
    world.fail(1, TaskReason.CANCELLED)
    phase, reason, message = finished(world)
    assert (phase, reason) == ("Failed", "TaskFailed")
    assert message == (
        f'1 of 10 tasks failed: 1 {TIMES} ValueError "empty geometry" (task 0). '
        "9 of 10 tasks were cancelled (tasks 2, 3, 4, 5, 6, …). 0 results kept."
    )
    fact = world.manifest["run"][5].failure.fact
    assert fact == "was cancelled by the failure of task 0 (FailFast)."


def test_a_function_that_cannot_be_loaded_ends_the_run():
    world = World(nodes=1)
    world.submit(a_map(tasks=10, retries=with_retries(5, "Infra", "Exception")))
    world.fail(0, TaskReason.FUNCTION_NOT_LOADABLE, message="no module named 'torch'")
    phase, reason, message = finished(world)
    assert (phase, reason) == ("Failed", "FunctionNotLoadable")
    assert message.startswith("The function cannot be loaded: no module named 'torch'.")


# ---- the end


def test_nodes_are_told_that_a_run_has_ended():
    world = World(nodes=2)
    world.submit(an_order())
    world.finish(0)
    actions = world.finish(1)
    ended = [action for action in actions if isinstance(action, (EndRun, RunFinished))]
    assert ended == [EndRun(0, "run"), EndRun(1, "run"), RunFinished("run", "Succeeded", "", "")]


def test_a_finished_run_is_read_until_it_is_closed():
    world = World(nodes=1)
    world.submit(an_order())
    world.do(RunClosed("run"))
    assert world.read().phase == "Running"
    world.work_until_done()
    assert world.read().phase == "Succeeded"
    world.do(RunClosed("run"))
    assert world.state.runs == {}


def test_a_restarted_coordinator_dispatches_only_what_is_missing():
    world = World(nodes=3)
    world.submit(an_order())
    world.finish(1)
    world.restart_coordinator()
    for node in (0, 2):
        world.add_node(node)
    world.add_node(1)
    world.work_until_done()
    assert finished(world) == ("Succeeded", "", "")
    assert world.attempts[2, "run", 1] == 0


def test_a_run_that_was_complete_before_the_restart_just_ends():
    world = World(nodes=1)
    order = an_order()
    world.submit(order)
    world.finish(0)
    del world.finished["run"]
    world.restart_coordinator()
    assert finished(world) == ("Succeeded", "", "")


def test_a_recovered_run_waits_for_nodes_that_may_still_hold_its_leases():
    world = World(nodes=2)
    world.submit(a_map(tasks=4))
    world.restart_coordinator()
    world.join(0)
    world.do(NodeReady(0))
    world.finish(0)
    world.tick(19)
    assert world.state.leases == {}
    world.tick(1)
    assert world.state.leases != {}
