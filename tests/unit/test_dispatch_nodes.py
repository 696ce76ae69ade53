"""Where tasks run, who may report them, and what becomes of them when nodes go."""

from __future__ import annotations

import pytest
from dispatch_builders import (
    FUNCTION,
    Held,
    World,
    a_failure,
    a_map,
    a_result,
    an_order,
    with_retries,
)
from geopod.api.messages import HeldLease
from geopod.api.results import TaskReason
from geopod.dispatch import (
    Assign,
    Commit,
    Forget,
    HandedBack,
    NodeDrained,
    NodeJoined,
    NodeLost,
    NodeReady,
    NodeUnready,
    RunCancelled,
    RunChanged,
    StoreBehind,
    TaskFailed,
    TasksDone,
)
from geopod.dispatch.retry import MAX_ATTEMPTS
from msgspec.structs import replace


def assigned(actions) -> list[tuple[int, list[int]]]:
    """(node, indexes) of what was handed out."""
    return [
        (action.node, [index for index, _ in action.tasks])
        for action in actions
        if isinstance(action, Assign)
    ]


# ---- a store that falls behind


def test_nodes_get_no_new_work_while_reports_pile_up_and_go_on_when_they_are_written():
    world = World(nodes=2)
    world.submit(a_map(tasks=6, batch=1))
    world.do(StoreBehind(is_behind=True))
    assert assigned(world.finish(0)) == []
    world.work_until_done()
    assert not world.finished
    assert {node for node, _ in assigned(world.do(StoreBehind(is_behind=False)))} == {0, 1}
    world.work_until_done()
    assert world.finished["run"].phase == "Succeeded"


def test_run_that_comes_while_reports_pile_up_waits_and_is_told_when_it_goes_on():
    world = World(nodes=2)
    world.do(StoreBehind(is_behind=True))
    assert assigned(world.submit(an_order())) == []
    actions = world.do(StoreBehind(is_behind=False))
    assert assigned(actions) == [(0, [0]), (1, [1])]
    assert RunChanged("run") in actions


# ---- partitions and their nodes


def test_node_k_runs_partition_k():
    world = World(nodes=3)
    assert assigned(world.submit(an_order())) == [(0, [0]), (1, [1]), (2, [2])]


def test_a_lost_node_gives_its_partition_to_another():
    world = World(nodes=2)
    world.submit(an_order())
    world.finish(0)
    assert assigned(world.kill(1)) == [(0, [1])]


def test_a_partition_that_waits_for_its_busy_node_moves_when_the_node_is_lost():
    world = World(nodes=2)
    world.submit(an_order("busy"))
    world.submit(an_order())
    assert assigned(world.finish(0)) == [(0, [0])]
    world.finish(0)
    actions = world.kill(1)
    assert {index for _, indexes in assigned(actions) for index in indexes} == {1}
    world.work_until_done()
    assert len(world.finished) == 2


def test_the_partition_of_a_node_lost_before_the_run_runs_elsewhere():
    world = World(nodes=2)
    world.kill(1)
    world.submit(an_order())
    assert assigned(world.finish(0)) == [(0, [1])]


def test_a_partition_waits_for_its_own_node_before_another_stages_it():
    world = World(size=2, owner_patience_s=10.0)
    world.add_node(0)
    world.submit(an_order())
    assert assigned(world.finish(0)) == []
    assert assigned(world.tick(9)) == []
    assert assigned(world.tick(1)) == [(0, [1])]


def test_a_partition_goes_to_its_own_node_when_that_is_ready_in_time():
    world = World(size=2)
    world.add_node(0)
    world.submit(an_order())
    world.finish(0)
    world.add_node(1, ready=False)
    assert assigned(world.do(NodeReady(1))) == [(1, [1])]


def test_a_node_returns_to_its_own_partition_when_it_comes_back():
    world = World(nodes=2)
    world.submit(a_map("other", tasks=1))
    world.kill(1)
    world.submit(an_order())
    world.add_node(1)
    world.work_until_done()
    assert world.manifest["run"][1].node == 1


def test_nothing_is_handed_to_an_unready_node():
    world = World(nodes=1)
    world.do(NodeUnready(0))
    assert assigned(world.submit(a_map())) == []
    assert assigned(world.do(NodeReady(0))) == [(0, [0])]


def test_bytecode_goes_to_its_own_python_only():
    world = World(nodes=1)  # its runner is Python 3.11
    pickled = replace(FUNCTION, format="cloudpickle", python="3.12")
    world.submit(a_map(function=pickled))
    assert world.read().phase == "Queued"


def test_a_drained_node_finishes_what_runs_and_takes_no_more():
    world = World(nodes=2)
    world.submit(a_map(tasks=6))
    world.do(NodeDrained(0))
    assert [node for node, _ in assigned(world.finish(0))] == []
    world.work_until_done()
    assert world.finished["run"].phase == "Succeeded"


def test_a_draining_node_hands_back_without_cost():
    world = World(nodes=2)
    world.submit(a_map(tasks=8, batch=4, retries=with_retries(0)))
    world.do(NodeDrained(0))
    world.hand_back(0)
    world.work_until_done()
    assert world.finished["run"].phase == "Succeeded"
    assert world.read().retried == 0
    assert world.manifest["run"][0].attempt == 2  # it may have begun
    assert world.manifest["run"][1].attempt == 1


def test_handing_back_without_draining_costs_an_infra_attempt():
    world = World(nodes=1)
    world.submit(a_map(tasks=1, retries=with_retries(1)))
    world.hand_back(0)
    world.hand_back(0)
    assert world.manifest["run"][0].failure.reason is TaskReason.NODE_LOST


# ---- batches of a map


def test_a_map_begins_with_one_task_per_node_and_grows():
    world = World(nodes=2)
    assert assigned(world.submit(a_map(tasks=4000))) == [(0, [0]), (1, [1])]
    sizes = [len(tasks) for _, tasks in assigned(world.finish(0))]
    assert sizes == [8, 8]
    world.finish(0)
    sizes = [len(tasks) for _, tasks in assigned(world.finish(0))]
    assert sizes == [64]


def test_batches_take_about_a_tenth_of_a_second():
    world = World(nodes=1)
    world.submit(a_map(tasks=4000))
    world.finish(0, runtime_s=0.02)
    sizes = [len(tasks) for _, tasks in assigned(world.finish(0, runtime_s=0.02))]
    assert sizes == [5]


def test_batches_shrink_towards_the_end_so_that_all_nodes_end_together():
    world = World(nodes=2)
    world.submit(a_map(tasks=40))
    sizes = []
    for _ in range(8):
        for node in (0, 1):
            if world.leases(node):
                sizes += [len(tasks) for _, tasks in assigned(world.finish(node))]
    assert sizes[-1] == 1
    assert max(sizes) <= 10


def test_long_tasks_are_not_prefetched():
    world = World(nodes=1)
    world.submit(a_map(tasks=100))
    world.finish(0, runtime_s=5.0)
    assert len(world.leases(0)) == 1


def test_short_tasks_are_prefetched_once():
    world = World(nodes=1)
    world.submit(a_map(tasks=100))
    world.finish(0, runtime_s=0.001)
    assert len(world.leases(0)) == 2


def test_a_chosen_batch_is_kept_to():
    world = World(nodes=1)
    assert [len(tasks) for _, tasks in assigned(world.submit(a_map(tasks=100, batch=20)))] == [20]


@pytest.mark.parametrize("runtime_s", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_runtime_that_is_no_time_breaks_nothing(runtime_s):
    world = World(nodes=1)
    world.submit(a_map(tasks=10))
    world.work_until_done(runtime_s=runtime_s)
    assert world.finished["run"].phase == "Succeeded"


# ---- attempts


ALL_CLASSES = ("Infra", "Timeout", "OOM", "Exception")


@pytest.mark.parametrize(
    ("reason", "attempts"),
    [
        (TaskReason.EXCEPTION, 3),
        (TaskReason.SIGNAL, 3),
        (TaskReason.TIMEOUT, 3),
        (TaskReason.OUT_OF_MEMORY, 3),
        (TaskReason.NODE_LOST, 3),
        (TaskReason.RESULT_TOO_LARGE, 1),
        (TaskReason.NOT_SERIALIZABLE, 1),
        (TaskReason.SHAPE_MISMATCH, 1),
        (TaskReason.NOT_A_FILE_RESULT, 1),
    ],
)
def test_each_class_has_its_own_budget(reason, attempts):
    world = World(nodes=1)
    world.submit(a_map(tasks=1, retries=with_retries(2, *ALL_CLASSES)))
    while "run" not in world.finished:
        world.fail(0, reason)
    assert world.attempts[1, "run", 0] == attempts
    assert world.manifest["run"][0].attempt == attempts
    assert world.read().retried == attempts - 1


def test_budgets_of_different_classes_do_not_touch_each_other():
    world = World(nodes=1)
    world.submit(a_map(tasks=1, retries=with_retries(1, "Timeout", "Exception")))
    world.fail(0, TaskReason.TIMEOUT)
    world.fail(0, TaskReason.EXCEPTION)
    world.finish(0)
    assert world.finished["run"].phase == "Succeeded"


def test_no_task_has_more_than_sixteen_attempts():
    world = World(nodes=1)
    world.submit(a_map(tasks=1, retries=with_retries(10, *ALL_CLASSES)))
    for reason in (TaskReason.EXCEPTION, TaskReason.TIMEOUT) * 8:
        world.fail(0, reason)
    assert world.attempts[1, "run", 0] == MAX_ATTEMPTS
    assert world.finished["run"].phase == "Failed"


def test_a_lost_node_does_not_use_up_the_users_budget():
    world = World(nodes=1)
    world.submit(a_map(tasks=1, retries=with_retries(1, "Infra", "Exception")))
    world.kill(0)
    world.add_node(0)
    world.fail(0)
    world.finish(0)
    assert world.finished["run"].phase == "Succeeded"


def test_a_task_that_loses_its_node_too_often_fails_by_name():
    world = World(nodes=2)
    world.submit(an_order())
    world.finish(0)
    for _ in range(3):
        holder = world.holder(1)
        world.kill(holder, "evicted: disk pressure")
        world.add_node(holder)
    failure = world.manifest["run"][1].failure
    assert failure.reason is TaskReason.NODE_LOST
    assert failure.code == "E306"
    assert failure.fact == (
        "lost its node 3 times (limit 2; evicted: disk pressure); 1 results are kept."
    )


def test_only_the_task_that_ran_pays_for_a_lost_node():
    world = World(nodes=1)
    world.submit(a_map(tasks=20, batch=10, retries=with_retries(0)))
    world.kill(0)
    world.add_node(0)
    world.work_until_done()
    assert world.read().failed_indexes == "0"
    assert world.read().succeeded == 19


def test_an_attempt_that_may_have_begun_is_never_handed_out_again():
    world = World(nodes=2)
    world.submit(a_map(tasks=1))
    first = world.holder(0)
    actions = world.lose_sight(first)
    assert [action.tasks for action in actions if isinstance(action, Assign)] == [[(0, 2)]]


# ---- fencing


def test_a_late_writer_loses():
    world = World(nodes=2)
    world.submit(a_map(tasks=1))
    late = world.holder(0)
    lease = world.lease_of(late)
    world.lose_sight(late)
    world.finish(1 - late)
    record = a_result(0, 1, node=late)
    assert world.do(TasksDone(late, lease, 1, [record])) == [Forget(late, lease, [0])]
    assert world.manifest["run"][0].attempt == 2


def test_a_second_answer_for_a_task_is_forgotten():
    world = World(nodes=1)
    world.submit(a_map(tasks=4, batch=4))
    lease = world.lease_of(0)
    record = a_result(0, 1)
    assert any(isinstance(a, Commit) for a in world.do(TasksDone(0, lease, 1, [record, record])))
    assert world.do(TasksDone(0, lease, 1, [record])) == [Forget(0, lease, [0])]
    assert world.do(TaskFailed(0, lease, 1, a_failure(0, 1))) == [Forget(0, lease, [0])]


@pytest.mark.parametrize(
    ("node", "epoch", "attempt"),
    [(1, 2, 1), (0, 1, 1), (0, 3, 1), (0, 2, 2)],
    ids=["another node", "lower epoch", "unknown epoch", "another attempt"],
)
def test_an_answer_that_does_not_fit_its_lease_is_forgotten(node, epoch, attempt):
    world = World(nodes=2)
    world.restart_coordinator()
    world.add_node(0)
    world.add_node(1)
    world.submit(a_map(tasks=2))
    lease = world.lease_of(0)
    forgotten = [Forget(node, lease, [0])]
    assert world.do(TasksDone(node, lease, epoch, [a_result(0, attempt)])) == forgotten
    assert world.do(TaskFailed(node, lease, epoch, a_failure(0, attempt))) == forgotten


def test_an_answer_of_the_wrong_kind_is_forgotten():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    lease = world.lease_of(0)
    forgotten = [Forget(0, lease, [0])]
    assert world.do(TasksDone(0, lease, 1, [a_failure(0, 1)])) == forgotten
    assert world.do(TaskFailed(0, lease, 1, a_result(0, 1))) == forgotten


def test_handing_back_by_a_lease_of_nobody_is_forgotten():
    world = World(nodes=1)
    assert world.do(HandedBack(0, "1-99", 1, (3,))) == [Forget(0, "1-99", [3])]


# ---- coming back


def test_a_node_that_dials_again_goes_on_with_its_lease():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.join(0)
    world.do(NodeReady(0))
    world.finish(0)
    assert world.manifest["run"][0].attempt == 1


def test_a_task_that_never_reached_its_node_is_handed_out_again():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.leases(0).clear()
    world.join(0)
    world.do(NodeReady(0))
    world.finish(0)
    assert world.manifest["run"][0].attempt == 2
    assert world.read().retried == 0


def test_a_restarted_agent_has_lost_its_leases():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.add_node(0)
    assert world.read().retried == 1


def test_a_lost_node_that_returns_is_told_to_stop_what_was_revoked():
    world = World(nodes=2)
    world.submit(a_map(tasks=1))
    late = world.holder(0)
    lease = world.lease_of(late)
    world.lose_sight(late)
    world.join(late)
    assert (world.cancels[-1].node, world.cancels[-1].lease) == (late, lease)
    assert world.forgotten[-1].lease == lease
    assert lease not in world.leases(late)


def test_a_new_coordinator_adopts_leases_that_go_on():
    world = World(nodes=2)
    world.submit(an_order())
    lease = world.lease_of(0)
    world.restart_coordinator()
    world.join(0)
    assert world.state.leases[lease].epoch == 1
    world.finish(0, lease)
    assert world.manifest["run"][0].attempt == 1


def test_a_lease_of_partitions_of_another_plan_is_not_adopted():
    world = World(nodes=2)
    world.submit(an_order())
    lease = world.lease_of(0)
    world.restart_coordinator()
    held = HeldLease(lease=lease, run="run", tasks=[(0, 1)], epoch=1, plan_sha256="q" * 64)
    world.do(NodeJoined(0, world.agents[0].instance, python="3.11", leases=(held,)))
    assert world.state.leases == {}
    assert world.cancels[-1].lease == lease


def test_a_lease_is_adopted_from_one_node_only():
    world = World(nodes=2)
    world.submit(a_map(tasks=1))
    first = world.holder(0)
    world.lose_sight(first)  # its task runs on the other node now, too
    world.restart_coordinator()
    world.join(first)
    world.join(1 - first)
    assert len(world.state.leases) == 1
    assert [cancel.node for cancel in world.cancels] == [1 - first]


def test_a_task_begun_again_is_not_given_to_an_old_lease():
    world = World(nodes=2, recovery_wait_s=0.0)
    world.submit(a_map(tasks=1))
    old = world.holder(0)
    world.restart_coordinator()
    world.add_node(1 - old)
    world.do(NodeUnready(1 - old))
    world.kill(1 - old)  # the task waits for its second attempt
    world.join(old)
    assert world.state.leases == {}
    assert world.cancels[-1].node == old


@pytest.mark.parametrize("epoch", [1, 7], ids=["revoked at this epoch", "a newer coordinator's"])
def test_only_leases_of_earlier_coordinators_are_adopted(epoch):
    world = World(nodes=1)
    world.do(NodeUnready(0))
    world.submit(a_map(tasks=1))
    world.agents[0].leases["7-1"] = Held("run", epoch, {0: 1})
    world.join(0)
    assert world.state.leases == {}
    assert world.leases(0) == {}


@pytest.mark.parametrize("attempt", [0, MAX_ATTEMPTS + 1])
def test_a_claimed_attempt_that_cannot_be_is_not_adopted(attempt):
    world = World(nodes=1)
    world.restart_coordinator()
    world.submit(a_map(tasks=1))
    world.agents[0].leases["1-1"] = Held("run", 1, {0: attempt})
    world.join(0)
    assert world.state.leases == {}


def test_no_more_leases_are_adopted_than_a_node_may_hold():
    world = World(nodes=1)
    world.submit(a_map(tasks=4))
    world.restart_coordinator()
    world.agents[0].leases = {f"1-{n}": Held("run", 1, {n: 1}) for n in range(4)}
    world.join(0)
    assert list(world.state.leases) == ["1-0", "1-1"]


def test_a_task_that_never_arrives_anywhere_ends_after_sixteen_attempts():
    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    for _ in range(MAX_ATTEMPTS):
        world.leases(0).clear()
        world.join(0)
        world.do(NodeReady(0))
    assert world.attempts[1, "run", 0] == MAX_ATTEMPTS
    assert world.manifest["run"][0].failure.reason is TaskReason.NODE_LOST


def test_a_cancel_that_the_broken_link_lost_is_sent_again():

    world = World(nodes=1)
    world.submit(a_map(tasks=1))
    world.do(RunCancelled("run"))
    world.join(0)
    assert len(world.cancels) == 2


def test_a_run_survives_all_nodes_and_goes_on():
    world = World(nodes=2)
    world.submit(an_order())
    world.do(NodeLost(0))
    world.do(NodeLost(1))
    world.tick(100)
    assert world.read().phase == "Running"
    world.add_node(1)
    world.work_until_done()
    assert world.finished["run"].phase == "Succeeded"
