"""What geopod writes to the API server, counted from its audit log: each row is a limit.

Ten minutes of one run, and an hour of 500 idle environments, are counted without a cluster:
`test_coordinator_pod.py` and `test_operator_properties.py`.
"""

from __future__ import annotations

from collections import Counter

import pytest
from cluster.audit_builders import Audit
from cluster.namespace_builders import client_within, small_environment
from cluster.process_builders import until
from cluster.testcluster.places import Places

OPERATOR = "system:serviceaccount:geopod-system:geopod-operator"
TASKS = 10_000
QUICK_S = 4.0
"""So long a run may take and tell its progress within the limit; a slow machine takes longer."""


SLOW_WAKE = 9
"""Where a node starts more slowly, that it is made, connects, is ready and is busy come apart."""


def nothing(_=None):
    return


@pytest.fixture(scope="module", autouse=True)
def sleeping(sleeper):
    """It falls asleep while the others are counted, if it does not sleep yet."""
    yield sleeper
    sleeper("delete", "computeenvironment", "sleeper", "--wait=false")


@pytest.fixture
def audit(process_cluster, home):
    return lambda: Audit.now(Places.of(process_cluster).audit_log, home)


def writes(audit, namespace, *about):
    """What operator and coordinators wrote of these environments and runs; a refusal is none."""
    found = [
        it
        for it in audit.requests()
        if it.is_write
        and it.code < 400
        and it.namespace == namespace
        and it.name.startswith(about)
        and (it.user == OPERATOR or it.user.startswith(f"system:serviceaccount:{namespace}:"))
    ]
    return Counter((it.verb, it.resource) for it in found)


def test_new_environment_is_ready_within_thirty_writes(home, audit):
    before = audit()
    home.apply(small_environment("plain"))
    home.wait("cenv/plain", "condition=Ready", timeout_s=180)
    assert 10 <= writes(before, home.namespace, "plain").total() <= 30


def test_short_run_is_written_three_times_and_its_environment_twice(home, audit, client):
    environment = client.get_environment("plain")
    environment.execute(nothing, progress=False)
    tried = []

    def is_short():
        home.wait("cenv/plain", "jsonpath={.status.activeRuns}=0")
        before = audit()
        run = environment.submit(nothing)
        run.wait(120)
        tried.append(writes(before, home.namespace, run.name, "plain"))
        return run.finished - run.created < 1

    until(is_short)  # a busy machine takes longer, and a longer run may be written more often
    found = tried[-1]
    assert 1 <= found["patch", "computeruns/status"] <= 3
    assert found["patch", "computeenvironments/status"] <= 2
    assert found.total() <= 5


def test_ten_thousand_tasks_are_written_as_few_times_as_their_time_allows(home, audit, client):
    environment = client.get_environment("plain")
    before = audit()
    run = environment.submit_map(nothing, [(number,) for number in range(TASKS)])
    run.wait(240)
    assert run.counts["succeeded"] == TASKS
    found = writes(before, home.namespace, run.name, "plain")
    assert found.total() <= max(10, 10 + run.finished - run.started - QUICK_S)


def test_sleeping_environment_wakes_within_six_writes(audit, sleeper):
    sleeper.wait("cenv/sleeper", "condition=Suspended", timeout_s=180)
    sleeper.wait("cenv/sleeper", "jsonpath={.status.replicas}=0")
    with client_within(sleeper) as client:
        environment = client.get_environment("sleeper")
        before = audit()
        run = environment.submit(nothing)
        sleeper.wait("cenv/sleeper", "condition=Ready", timeout_s=180)
        found = writes(before, sleeper.namespace, "sleeper")
        run.wait(120)
        assert found.pop(("create", "events")) == 1  # Resumed
        assert 1 <= found.total() <= (6 if run.started - run.created < QUICK_S else SLOW_WAKE)
        assert run.results() == [None]
