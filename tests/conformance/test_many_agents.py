"""What a coordinator costs by the number of its agents and tasks; the whole is `make bench`."""

from bench.agents import many_agents


def test_coordinator_of_many_agents_is_quick_and_small():
    rows = many_agents(agents=200, tasks=20_000)
    assert all(row.holds for row in rows), rows
