"""Runs that are the operator's: finished ones by their term, waiting ones that nobody serves."""

from __future__ import annotations

from datetime import timedelta

import pytest
from geopod_operator.environment.absent import Absence, plan_absent
from geopod_operator.environment.observed import Ref
from operator_builders import NAMESPACE, NOW, UID, World, a_run, an_environment, merged


def finished(name, phase="Succeeded", *, ago_s=0, **spec):
    ended = (NOW - timedelta(seconds=ago_s)).isoformat()
    return a_run(name, phase=phase, status={"completionTime": ended}, **spec)


def deleted(world):
    return [ref.name for kind, ref in world.log if kind == "delete" and ref.kind == "ComputeRun"]


def condition_of(run, kind):
    found = [it for it in run["status"]["conditions"] if it["type"] == kind]
    return (found[0]["status"], found[0]["reason"]) if found else None


# ---- term


def test_finished_run_goes_after_its_term():
    world = World(runs=[finished("old", ttlSecondsAfterFinished=100)]).run_until_ready()
    outcome = world.settle()
    assert deleted(world) == []
    assert outcome.requeue_after <= 100
    world.later(101).settle()
    assert deleted(world) == ["old"]


def test_history_keeps_the_newest():
    runs = [finished(f"ok-{n}", ago_s=n) for n in range(4)]
    runs += [finished(f"bad-{n}", "Failed", ago_s=n) for n in range(3)]
    runs += [finished("stopped", "Cancelled", ago_s=100)]
    world = World(an_environment(historyLimit={"succeeded": 2, "failed": 1}), runs=runs)
    world.run_until_ready()
    assert deleted(world) == ["bad-1", "bad-2", "ok-2", "ok-3", "stopped"]


def test_unfinished_runs_never_expire():
    world = World(runs=[a_run("new"), a_run("going", phase="Running", ttlSecondsAfterFinished=0)])
    world.run_until_ready()
    world.later(10**7).settle()
    assert deleted(world) == []


# ---- results


def stored(name, *, expires_in_s, **spec):
    run = finished(name, **spec)
    condition = {
        "type": "ResultsAvailable", "status": "True", "reason": "Stored", "message": "",
        "lastTransitionTime": NOW.isoformat(), "observedGeneration": 1,
    }  # fmt: skip  # one line less
    expires = (NOW + timedelta(seconds=expires_in_s)).isoformat()
    run["status"] |= {"conditions": [condition], "results": {"expiresAt": expires}}
    return run


def test_run_says_when_its_results_have_expired():
    world = World(runs=[stored("ok", expires_in_s=100)]).run_until_ready()
    outcome = world.settle()
    assert outcome.requeue_after <= 100
    assert condition_of(world.runs[0], "ResultsAvailable") == ("True", "Stored")
    world.later(101).settle()
    assert condition_of(world.runs[0], "ResultsAvailable") == ("False", "Expired")
    told = len([it for it in world.log if it[0] == "run"])
    world.later(100).settle()
    assert len([it for it in world.log if it[0] == "run"]) == told == 1
    words = world.runs[0]["status"]["conditions"][0]["message"]
    assert words.startswith("results expired after 100 s")
    (told,) = [it for it in world.events if it.reason == "ResultsExpired"]
    assert (told.type, told.about, told.message) == ("Normal", Ref("ComputeRun", "ok"), words)


def test_run_that_is_deleted_in_the_same_go_is_told_nothing():
    world = World(runs=[stored("ok", expires_in_s=100, ttlSecondsAfterFinished=100)])
    world.run_until_ready().later(101).settle()
    assert deleted(world) == ["ok"]
    assert [it for it in world.log if it[0] == "run"] == []


# ---- without a coordinator


def test_run_beside_a_new_environment_costs_no_write():
    world = World(runs=[a_run(age_s=0)])
    world.settle()
    assert [it for it in world.log if it[0] == "run"] == []


def test_run_that_waits_long_is_told_why():
    world = World(runs=[a_run(age_s=0)])
    outcome = world.settle()
    world.later(outcome.requeue_after + 20).settle()
    run = world.runs[0]
    assert condition_of(run, "Accepted") == ("False", "EnvironmentNotReady")
    assert "the coordinator starts" in run["status"]["conditions"][0]["message"]
    assert "phase" not in run["status"]


def test_run_ends_at_its_queue_timeout():
    world = World(runs=[a_run(age_s=0, queueTimeoutSeconds=300)])
    world.settle()
    world.later(301).settle()
    run = world.runs[0]
    assert run["status"]["phase"] == "Failed"
    assert run["status"]["completionTime"] == "2026-11-26T12:05:01Z"
    assert condition_of(run, "Failed") == ("True", "QueueDeadlineExceeded")
    world.later(60).settle()
    assert [(it.reason, it.about.name) for it in world.events if it.about] == [
        ("RunFailed", "run-1")
    ]


def test_of_many_runs_that_end_at_once_events_tell_of_ten():
    runs = [a_run(f"r{number}", age_s=0, queueTimeoutSeconds=300) for number in range(30)]
    world = World(runs=runs)
    world.settle()
    world.later(301).settle()
    assert {it["status"]["phase"] for it in world.runs} == {"Failed"}
    assert sum(it.about is not None for it in world.events) == 10


def test_run_of_a_refused_environment_that_ends_is_told_too():
    world = World(layers=[], runs=[a_run(age_s=0, queueTimeoutSeconds=300)])
    world.settle()
    world.later(301).settle()
    (told,) = [it for it in world.events if it.about]
    assert (told.reason, told.type) == ("RunFailed", "Warning")
    assert "No layer 'dem'" in told.message


def test_coordinator_takes_over():
    world = World(runs=[a_run(age_s=3000)]).run_until_ready()
    before = len(world.log)
    world.later(5000).settle()
    assert [it for it in world.log[before:] if it[0] == "run"] == []


def test_bytecode_of_another_python_ends_without_starting_anything():
    run = a_run(function={"format": "cloudpickle", "pythonVersion": "3.11.4"})
    world = World(runs=[run])
    world.settle()
    run = world.runs[0]
    assert run["status"]["phase"] == "Failed"
    assert condition_of(run, "Accepted") == ("False", "InterpreterMismatch")
    assert condition_of(run, "Failed") == ("True", "FunctionNotLoadable")
    assert [it.reason for it in world.events if it.about] == ["InterpreterMismatch"]
    assert (
        "use interpreter python3.11, or format source"
        in (run["status"]["conditions"][0]["message"])
    )


@pytest.mark.parametrize(
    "function",
    [
        {"format": "source", "pythonVersion": "3.11"},
        {"format": "cloudpickle", "pythonVersion": "3.12.9"},
    ],
    ids=lambda it: it["format"],
)
def test_function_that_fits_is_left_alone(function):
    world = World(runs=[a_run(age_s=0, function=function)])
    world.settle()
    assert "status" not in world.runs[0]


def test_run_of_a_refused_environment_is_told_why():
    world = World(layers=[], runs=[a_run()])
    world.settle()
    run = world.runs[0]
    assert condition_of(run, "Accepted") == ("False", "EnvironmentNotReady")
    assert "No layer 'dem'" in run["status"]["conditions"][0]["message"]


def test_run_that_an_earlier_environment_accepted_ends():
    run = a_run(status={"environmentUID": "another"})
    world = World(runs=[run])
    world.settle()
    assert condition_of(world.runs[0], "Failed") == ("True", "EnvironmentDeleted")


# ---- without an environment


def absence(*runs, now=NOW, **changes):
    return Absence(now=now, namespace=NAMESPACE, name="ndvi", runs=runs, **changes)


def carried_out(absence):
    """Return the runs by name as they are after the plan."""
    runs = {run["metadata"]["name"]: run for run in absence.runs}
    for told in plan_absent(absence).run_statuses:
        runs[told.name]["status"] = merged(runs[told.name].get("status") or {}, told.status)
    return runs


def test_run_without_environment_says_which_there_are():
    found = carried_out(absence(a_run(), environments=("dem-env", "other")))["run-1"]
    assert condition_of(found, "Accepted") == ("False", "EnvironmentNotFound")
    assert found["status"]["conditions"][0]["message"] == (
        'no ComputeEnvironment "ndvi" in tenant (there are: dem-env, other).'
    )
    assert "phase" not in found["status"]


def test_it_is_told_once():
    run = carried_out(absence(a_run()))["run-1"]
    assert plan_absent(absence(run)).run_statuses == ()


def test_it_ends_at_its_queue_timeout():
    run = a_run(age_s=0, queueTimeoutSeconds=60)
    assert plan_absent(absence(run)).requeue_after == 60
    ended = carried_out(absence(run, now=NOW + timedelta(seconds=60)))["run-1"]
    assert condition_of(ended, "Failed") == ("True", "QueueDeadlineExceeded")


def test_accepted_runs_end_with_their_environment():
    going = a_run("going", phase="Running", status={"environmentUID": UID})
    done = finished("done")
    runs = carried_out(absence(going, done, a_run("new")))
    assert condition_of(runs["going"], "Failed") == ("True", "EnvironmentDeleted")
    assert runs["going"]["status"]["phase"] == "Failed"
    assert runs["done"]["status"]["phase"] == "Succeeded"
    assert condition_of(runs["new"], "Accepted") == ("False", "EnvironmentNotFound")


def test_runs_of_the_environment_that_is_there_are_left_alone():
    mine = a_run("mine", phase="Running", status={"environmentUID": UID})
    other = a_run("other", phase="Running", status={"environmentUID": "earlier"})
    outcome = plan_absent(absence(mine, other, a_run("new"), uid=UID))
    assert [it.name for it in outcome.run_statuses] == ["other"]


def test_finished_runs_without_environment_go_after_their_term():
    run = finished("old", ttlSecondsAfterFinished=10, ago_s=11)
    outcome = plan_absent(absence(run))
    assert [(it.ref, it.uid) for it in outcome.deletes] == [(Ref("ComputeRun", "old"), "uid-old")]


def test_many_names_are_cut():
    message = carried_out(absence(a_run(), environments=tuple(f"e{n:02}" for n in range(40))))
    text = message["run-1"]["status"]["conditions"][0]["message"]
    assert text.endswith("e09 and 30 more).")
