"""DependenciesReady: is the environment's bundle there, being built, or impossible to build?

One Job per key and namespace; its answer is copied into a ConfigMap, which is the record that the
bundle is in the store. Source: operator design, §8.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from geopod.api import names
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.access import mint_build_token
from geopod_operator.environment.build_answer import (
    CONDITION,
    FIRST_RETRY_S,
    LISTED_AGAIN_S,
    ended_at,
    failure_of,
    is_answer,
    platform_of,
    pods_of,
    python_of,
    result_of,
    say,
)
from geopod_operator.environment.bundle import bundle_key
from geopod_operator.environment.causes import Asked, find_causes, recent_refusals
from geopod_operator.environment.desired import builder
from geopod_operator.environment.desired.network import build_policy
from geopod_operator.environment.facts import Facts
from geopod_operator.environment.observed import Observed, Raw, Ref
from geopod_operator.environment.outcome import Delete
from geopod_operator.environment.policies.runs import stamp
from geopod_operator.environment.resolved import Bundle, Resolved

LAST_RETRY_S = 600.0
"""An index that does not answer is asked again after as long as it has been away, within these."""
RETRIED = {"IndexUnreachable": FIRST_RETRY_S, "BuilderFailed": LAST_RETRY_S}
"""Reason -> seconds before the first retry; what cannot be resolved is not tried again."""
UNPACKED = (
    "{problem}. Nodes unpack the bundle, which takes seconds longer; when the registry answers, "
    "a new text in the annotation "
    f"{names.ANNOTATION_REFRESH} builds and pushes it again."
)
NO_BUNDLE = Bundle()
OUTCOMES = frozenset({"ResolutionFailed", *RETRIED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """How far the environment's packages are."""

    ready: bool
    reason: str
    message: str
    key: str = ""
    bundle: Bundle = NO_BUNDLE
    wanted: tuple[Raw, ...] = ()
    deletes: tuple[Delete, ...] = ()
    lookups: tuple[Ref, ...] = ()
    """Objects that must be known before this is the answer."""
    list_pods: bool = False
    """The answer is in the builder's pod: list it."""
    watches_pods: bool = False
    """A Job runs: its pod is looked at when it takes long."""
    retry_at: datetime | None = None


def dependencies_of(observed: Observed, resolved: Resolved, facts: Facts) -> Dependencies:
    """Return how far the packages are, and what brings them further."""
    key = bundle_key(resolved)
    if not key:
        return Dependencies(ready=True, reason="NotNeeded", message=say("NotNeeded"))
    record_ref = Ref("ConfigMap", names.bundle_name(key))
    job_ref = Ref("Job", names.build_name(key))
    resolving = _resolving(resolved, key)
    lookups = tuple(it for it in (record_ref, job_ref) if it not in observed.children)
    record = observed.children.get(record_ref)
    if record is not None:
        return _recorded(observed, key, record, job_ref)
    if lookups:
        return replace(resolving, lookups=lookups)
    job = observed.children[job_ref]
    if job is None:
        return replace(resolving, wanted=_new_build(observed, resolved, key))
    return _built(observed, resolved, facts, resolving, job)


def _built(
    observed: Observed, resolved: Resolved, facts: Facts, base: Dependencies, job: Raw
) -> Dependencies:
    """Return how far a Job is."""
    if not is_builders(job, base.key):
        return _conflict(base, Ref("Job", job["metadata"]["name"]))
    if job["metadata"].get("deletionTimestamp"):
        return base
    if ended_at(job) is None:
        known = _known(facts, base, {"BuilderFailed"}, is_ended=False)
        return _running(observed, resolved, replace(known or base, watches_pods=True), job)
    return _answer(observed, resolved, facts, replace(base, list_pods=True), job)


def is_builders(found: Raw, key: str) -> bool:
    """Say whether an object is the builder's: it has the labels and no owner."""
    labels = found["metadata"].get("labels") or {}
    return builder.builder_labels(key).items() <= labels.items()


def _resolving(resolved: Resolved, key: str) -> Dependencies:
    message = say("Resolving", python=python_of(resolved), platform=platform_of(resolved))
    return Dependencies(ready=False, reason="Resolving", message=message, key=key)


def _recorded(observed: Observed, key: str, record: Raw, job_ref: Ref) -> Dependencies:
    data: dict[str, str] = record.get("data") or {}
    if not is_builders(record, key) or data.get(builder.FULL_KEY) != key:
        return _conflict(
            Dependencies(ready=False, reason="", message="", key=key),
            Ref("ConfigMap", record["metadata"]["name"]),
        )
    job = observed.children.get(job_ref)
    is_left = job is not None and not job["metadata"].get("deletionTimestamp")
    return Dependencies(
        ready=True,
        reason="Built",
        message=_built_message(key, data),
        key=key,
        bundle=Bundle(
            key=key,
            sha256=data.get(builder.BUNDLE_SHA256, ""),
            lock_sha256=data.get(builder.LOCK_SHA256, ""),
            image=data.get(builder.BUNDLE_IMAGE, ""),
        ),
        # Its pod holds the unpacked tree on some machine's disk, and the Secret a token.
        deletes=_drop(job) if job is not None and is_left and is_builders(job, key) else (),
    )


def _built_message(key: str, data: dict[str, str]) -> str:
    """Return what a record says, and why nodes unpack a bundle that they could have mounted."""
    built, problem = say("Built", key=key), data.get(builder.REGISTRY_PROBLEM)
    if not problem:
        return built
    return f"{built} {UNPACKED.format(problem=problem)}"


def _drop(job: Raw) -> tuple[Delete, ...]:
    name = job["metadata"]["name"]
    return (
        Delete(ref=Ref("Job", name), uid=job["metadata"].get("uid")),
        Delete(ref=Ref("Secret", name)),
    )


def _conflict(base: Dependencies, ref: Ref) -> Dependencies:
    message = (
        f"{ref.kind} {ref.name} exists and is not geopod's: delete it, the builder needs its name."
    )
    return replace(base, ready=False, reason="BuilderFailed", message=message)


def _new_build(observed: Observed, resolved: Resolved, key: str) -> tuple[Raw, ...]:
    settings, namespace = observed.settings, resolved.identity.namespace
    token = mint_build_token(namespace, key, settings, observed.now)
    return (
        build_policy(namespace, settings),
        builder.build_secret(resolved, key, token),
        builder.build_job(resolved, settings, key),
    )


def _running(observed: Observed, resolved: Resolved, base: Dependencies, job: Raw) -> Dependencies:
    """Return why the builder's pod does not start, if it was looked at and does not.

    `base` tells what was found when it was last looked at.
    """
    if observed.pods is None:
        return base
    messages = recent_refusals(
        (it for it in observed.events or () if _is_about(it, job["metadata"]["name"])), observed.now
    )
    pods = pods_of(observed.pods, job["metadata"]["name"])
    if pods and result_of(tuple(pods), job["metadata"]["name"]) is not None:
        pods = []  # its end is told when the Job's own is seen, and by its own words
    findings = find_causes(
        pods,
        observed.events or (),
        asked=_asked(resolved),
        now=observed.now,
        messages=messages,
    )
    if findings.causes:
        return replace(base, reason="BuilderFailed", message=findings.causes[0].message)
    return replace(_resolving(resolved, base.key), watches_pods=True)


def _known(
    facts: Facts, base: Dependencies, outcomes: Collection[str], *, is_ended: bool
) -> Dependencies | None:
    """Return what the condition says of this key already, if it is one of `outcomes`.

    What was said of a build that ran says nothing of its end, nor an end of the build after it.
    """
    said = facts.condition(CONDITION)
    runtime = facts.status.runtime
    is_told = runtime is not None and runtime.bundle_key == base.key
    if said is None or not is_told or said.reason not in outcomes:
        return None
    if is_answer(said.reason, said.message) is not is_ended:
        return None
    return replace(base, reason=said.reason, message=said.message)


def _is_about(event: Raw, name: str) -> bool:
    return bool(event["involvedObject"].get("name") == name)


def _asked(resolved: Resolved) -> Asked:
    requests = builder.INSTALL_RESOURCES["requests"]
    return Asked(
        condition=EnvironmentCondition.COORDINATOR_READY,
        total=1,
        namespace=resolved.identity.namespace,
        runtime=resolved.spec.runtime,
        pull_secrets=resolved.pull_secrets,
        cpu=requests["cpu"],
        memory=requests["memory"],
        storage=builder.BUILD_SIZE,
        gpus="no GPU",
    )


def _answer(
    observed: Observed, resolved: Resolved, facts: Facts, base: Dependencies, job: Raw
) -> Dependencies:
    """Return what an ended Job says: read from its pod once, kept in the condition afterwards."""
    known = _known(facts, base, OUTCOMES, is_ended=True)
    if known is not None and observed.pods is None:
        return _retried(replace(known, list_pods=False), facts, job)
    if observed.pods is None:
        return base
    result = result_of(observed.pods, job["metadata"]["name"])
    if result is None:
        again = observed.now + timedelta(seconds=LISTED_AGAIN_S)
        return replace(base, list_pods=False, retry_at=again)
    if result.get("ok"):
        # Of all environments that wait for it the same: an immutable object takes no other.
        time = stamp(ended_at(job) or observed.now)
        record = builder.bundle_record(resolved, base.key, result, time)
        # What follows from the record is planned by another look, before any watch tells of it.
        return replace(base, wanted=(record,), list_pods=False, retry_at=observed.now)
    failed = replace(base, list_pods=False, **failure_of(result, resolved))
    return _retried(failed, facts, job)


def _retried(failed: Dependencies, facts: Facts, job: Raw) -> Dependencies:
    """Return the failure with its retry: the Job is deleted when the time has come."""
    first = RETRIED.get(failed.reason)
    ended = ended_at(job)
    if first is None or ended is None:
        return failed
    away = (ended - min(facts.since(CONDITION), ended)).total_seconds()
    due = ended + timedelta(seconds=min(max(away, first), LAST_RETRY_S))
    if facts.now >= due:
        return replace(failed, deletes=_drop(job))
    return replace(failed, retry_at=due)
