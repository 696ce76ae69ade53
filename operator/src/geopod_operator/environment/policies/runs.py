"""Runs as far as they are the operator's: finished ones by their term, waiting ones without a pod.

A run's status is the operator's only while no coordinator serves its environment. What it writes
then is what the coordinator would: why the run waits, and its end when the queue timeout passes.
After a run has ended no coordinator tells of it: that its results are gone says the operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from geopod.api import reasons
from geopod.api.conditions import Condition, find, set_condition
from geopod.api.policies import HistoryLimit
from geopod.api.reasons import RunCondition
from geopod.api.run_status import ComputeRunStatus

from geopod_operator.environment.facts import FINISHED, is_unfinished
from geopod_operator.environment.observed import Raw, Ref
from geopod_operator.environment.outcome import Delete, RunStatus

QUEUE_TIMEOUT_S = 3600
TTL_S = 604_800
"""Defaults of the schema, for objects that a test or an old client wrote without them."""
WORDS = 512


@dataclass(frozen=True, slots=True)
class Wait:
    """Why a run cannot start: the reason and the sentence of Accepted=False."""

    reason: Literal["EnvironmentNotFound", "EnvironmentNotReady", "Suspended"]
    message: str


@dataclass(frozen=True, slots=True)
class RunPlan:
    """What to do about runs, and when time alone changes that."""

    statuses: tuple[RunStatus, ...] = ()
    deletes: tuple[Delete, ...] = ()
    retry_at: datetime | None = None


def expired_runs(runs: Iterable[Raw], now: datetime, *, keep: HistoryLimit | None) -> RunPlan:
    """Return the finished runs to delete: past their term, or more than the history keeps."""
    deletes: dict[str, Delete] = {}
    due: list[datetime] = []
    by_failure: dict[bool, list[Raw]] = {True: [], False: []}
    for run in runs:
        status = run.get("status") or {}
        if status.get("phase") not in FINISHED or run["metadata"].get("deletionTimestamp"):
            continue
        by_failure[status["phase"] == "Failed"].append(run)
        ttl = run["spec"].get("ttlSecondsAfterFinished", TTL_S)
        ends = _ended(run) + timedelta(seconds=ttl)
        if now >= ends:
            deletes[run["metadata"]["name"]] = _delete(run)
        else:
            due.append(ends)
    for is_failure, finished in by_failure.items():
        if keep is None:
            break
        limit = keep.failed if is_failure else keep.succeeded
        newest_first = sorted(finished, key=lambda it: (_ended(it), _name(it)), reverse=True)
        deletes |= {_name(it): _delete(it) for it in newest_first[limit:]}
    return RunPlan(
        deletes=tuple(deletes[name] for name in sorted(deletes)), retry_at=min(due, default=None)
    )


def expired_results(runs: Iterable[Raw], now: datetime) -> RunPlan:
    """Return the status of each run whose results the store has deleted, and when the next go."""
    kind, statuses, due = RunCondition.RESULTS_AVAILABLE, list[RunStatus](), list[datetime]()
    for run in runs:
        text = ((run.get("status") or {}).get("results") or {}).get("expiresAt")
        said = find(_conditions(run), kind)
        if text is None or said is None or not said.is_true:
            continue
        expires = datetime.fromisoformat(text)
        if now < expires:
            due.append(expires)
            continue
        kept_s = round((expires - _ended(run)).total_seconds())
        told = ("Expired", reasons.sentence(kind, "Expired", seconds=kept_s))
        conditions = _set(run, _conditions(run), kind, told, now, status=False)
        statuses.append(_status(run, conditions, {}))
    return RunPlan(statuses=tuple(statuses), retry_at=min(due, default=None))


def waiting_runs(runs: Iterable[Raw], now: datetime, wait: Wait) -> RunPlan:
    """Return the status of new runs that nobody serves, and the end of those that waited enough."""
    statuses: list[RunStatus] = []
    due: list[datetime] = []
    for run in runs:
        if not is_unfinished(run) or (run.get("status") or {}).get("phase"):
            continue
        seconds = run["spec"].get("queueTimeoutSeconds", QUEUE_TIMEOUT_S)
        deadline = _created(run) + timedelta(seconds=seconds)
        if now >= deadline:
            message = _say("QueueDeadlineExceeded", seconds=seconds, words=wait.message[:WORDS])
            statuses.append(failed(run, now, "QueueDeadlineExceeded", message))
            continue
        due.append(deadline)
        waiting = _waiting(run, now, wait)
        statuses += [waiting] if waiting is not None else []
    return RunPlan(statuses=tuple(statuses), retry_at=min(due, default=None))


def orphaned_runs(
    runs: Iterable[Raw], now: datetime, *, environment: str, uid: str | None
) -> tuple[RunStatus, ...]:
    """Return the end of unfinished runs that another environment (not `uid`) had accepted."""
    message = _say("EnvironmentDeleted", environment=environment)
    return tuple(
        failed(run, now, "EnvironmentDeleted", message)
        for run in runs
        if is_unfinished(run)
        and (run.get("status") or {}).get("environmentUID") not in {None, "", uid}
    )


def mismatched_runs(runs: Iterable[Raw], now: datetime, *, python: str) -> tuple[RunStatus, ...]:
    """Return the end of new runs whose bytecode is of another Python than `python` (`3.12`)."""
    ended: list[RunStatus] = []
    for run in runs:
        function = run["spec"].get("function") or {}
        made = ".".join(str(function.get("pythonVersion", python)).split(".")[:2])
        is_new = is_unfinished(run) and not (run.get("status") or {}).get("phase")
        if is_new and function.get("format") == "cloudpickle" and made != python:
            words = reasons.sentence(
                RunCondition.ACCEPTED, "InterpreterMismatch", made=made, runs=python
            )
            refused = Wait("EnvironmentNotReady", words)
            ended.append(
                failed(
                    run,
                    now,
                    "FunctionNotLoadable",
                    _say("FunctionNotLoadable", words=words),
                    accepted=("InterpreterMismatch", refused.message),
                )
            )
    return tuple(ended)


def failed(
    run: Raw, now: datetime, reason: str, message: str, *, accepted: tuple[str, str] | None = None
) -> RunStatus:
    """Return the status of a run that ends without having been served to its end."""
    conditions = _conditions(run)
    if accepted is not None:
        conditions = _set(run, conditions, RunCondition.ACCEPTED, accepted, now, status=False)
    conditions = _set(run, conditions, RunCondition.FAILED, (reason, message), now, status=True)
    return _status(run, conditions, {"phase": "Failed", "completionTime": stamp(now)})


def run_age(run: Raw, now: datetime) -> timedelta:
    """Return how long ago a run was created."""
    return now - _created(run)


def stamp(time: datetime) -> str:
    """Return a time as Kubernetes writes it: UTC, whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _waiting(run: Raw, now: datetime, wait: Wait) -> RunStatus | None:
    before = find(_conditions(run), RunCondition.ACCEPTED)
    if before is not None and (before.reason, before.message) == (wait.reason, wait.message):
        return None
    conditions = _set(
        run, _conditions(run), RunCondition.ACCEPTED, (wait.reason, wait.message), now, status=False
    )
    return _status(run, conditions, {})


def _set(  # one call of set_condition, with a run's generation
    run: Raw,
    conditions: tuple[Condition, ...],
    kind: RunCondition,
    said: tuple[str, str],
    now: datetime,
    *,
    status: bool,
) -> tuple[Condition, ...]:
    return set_condition(
        conditions,
        kind,
        status=status,
        reason=said[0],
        message=said[1],
        generation=run["metadata"].get("generation", 0),
        now=now,
    )


def _status(run: Raw, conditions: tuple[Condition, ...], more: Raw) -> RunStatus:
    own = [it.to_wire() for it in conditions if it.type in _told_by_operator(conditions)]
    generation = run["metadata"].get("generation", 0)
    status = {"observedGeneration": generation, "conditions": own, **more}
    return RunStatus(name=_name(run), status=status)


def _told_by_operator(conditions: tuple[Condition, ...]) -> set[str]:
    """Return the conditions that the operator may own: a write leaves out what it gives up."""
    results = find(conditions, RunCondition.RESULTS_AVAILABLE)
    is_expired = results is not None and results.reason == "Expired"
    own: set[str] = {RunCondition.ACCEPTED, RunCondition.FAILED}
    return own | ({RunCondition.RESULTS_AVAILABLE} if is_expired else set())


def _conditions(run: Raw) -> tuple[Condition, ...]:
    raw = (run.get("status") or {}).get("conditions", [])
    return ComputeRunStatus.model_validate({"conditions": raw}, extra="ignore").conditions


def _say(reason: str, **values: object) -> str:
    return reasons.sentence(RunCondition.FAILED, reason, **values)


def _ended(run: Raw) -> datetime:
    ended = (run.get("status") or {}).get("completionTime")
    return datetime.fromisoformat(ended) if ended else _created(run)


def _created(run: Raw) -> datetime:
    return datetime.fromisoformat(run["metadata"]["creationTimestamp"])


def _name(run: Raw) -> str:
    return str(run["metadata"]["name"])


def _delete(run: Raw) -> Delete:
    return Delete(ref=Ref("ComputeRun", _name(run)), uid=run["metadata"].get("uid"))
