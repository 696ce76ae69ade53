"""The end of a map: how long nodes of different speed keep it open. Simulated, no time passes."""

import heapq

import pytest
from dispatch_builders import World, a_map

TASK_S = 0.02
HANDOVER_S = 0.002
"""From an answer to the next lease's begin, where none waits at the node."""


def play(world, speeds, *, tasks, seconds=lambda _index: TASK_S):
    """Let nodes work at their speed; return when each of them ended its last lease.

    A node answers for a lease when all of it is done. `seconds`: how long a task takes by index.
    """
    world.submit(a_map(tasks=tasks))
    free_at = dict.fromkeys(range(len(speeds)), 0.0)
    begun: set[str] = set()
    due: list[tuple[float, int, str]] = []
    start = world.now

    def begin():
        for node, agent in world.agents.items():
            if agent.leases and (lease := world.lease_of(node)) not in begun:
                begun.add(lease)
                took = sum(seconds(index) for index in agent.leases[lease].tasks) * speeds[node]
                at = max(free_at[node], world.now - start + HANDOVER_S)
                heapq.heappush(due, (at + took, node, lease))

    begin()
    while due:
        at, node, lease = heapq.heappop(due)
        world.now = start + at
        free_at[node] = at
        taken = [seconds(index) * speeds[node] for index in world.agents[node].leases[lease].tasks]
        world.finish(node, lease, runtime_s=sum(taken) / len(taken))
        begin()
    assert world.read().phase == "Succeeded"
    return free_at


@pytest.mark.parametrize("slower", [1, 3, 10, 50])
def test_slow_node_does_not_hold_back_the_end_of_a_map(slower):
    speeds = [1.0, 1.0, 1.0, float(slower)]
    ended = play(World(nodes=4), speeds, tasks=200)
    ideal = 200 * TASK_S / sum(1 / speed for speed in speeds)
    assert max(ended.values()) <= ideal + TASK_S * slower + 0.15, (ended, ideal)


def test_many_tiny_tasks_are_still_handed_over_in_large_batches():
    world = World(nodes=4)
    play(world, [1.0] * 4, tasks=10_000, seconds=lambda _index: 0.0001)
    assert world.state.counter < 120


def test_tasks_that_grow_do_not_pile_up_on_one_node():
    def seconds(index):
        return 0.001 if index < 150 else 0.5

    ended = play(World(nodes=4), [1.0] * 4, tasks=200, seconds=seconds)
    ideal = sum(map(seconds, range(200))) / 4
    assert max(ended.values()) <= ideal * 1.35, (ended, ideal)
