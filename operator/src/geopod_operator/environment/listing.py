"""When to list pods, which, and what they say. They are never watched: a node is no object of ours.

Source: operator design, §3 rule 8 and §5.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from geopod.api import names
from geopod.api.reasons import EnvironmentCondition

from geopod_operator.environment.causes import Asked, Findings, find_causes, recent_refusals
from geopod_operator.environment.desired.coordinator import RESOURCES
from geopod_operator.environment.observed import Raw, Ref
from geopod_operator.environment.outcome import Needs
from geopod_operator.environment.refusals import refused_causes
from geopod_operator.environment.situation import Situation, next_listing, waiting_since

ALL_PODS = Ref("Pod", "")
"""In `Needs.events_about`: FailedMount and Evicted Events of the namespace's pods."""
COMPONENT = "app.kubernetes.io/component"


def needed_pods(at: Situation) -> Needs:
    """Return the listing that this plan needs; an empty one if it needs none."""
    if at.observed.pods is not None:
        return Needs()
    facts = at.facts
    rolls = bool(facts.drained) and facts.outdated > 0 and facts.template_hash == at.wanted_hash
    replaces = bool(facts.lost) and at.spec.node_failure_policy == "Replace"
    due = listing_at(at)
    is_due = due is not None and at.observed.now >= due
    if not (at.dependencies.list_pods or rolls or replaces or is_due):
        return Needs()
    name = at.resolved.identity.name
    instances = sorted({name, *([at.dependencies.key[:16]] if at.dependencies.key else [])})
    about = [Ref("StatefulSet", names.node_name(name)), ALL_PODS]
    if at.dependencies.watches_pods:
        about.append(Ref("Job", names.build_name(at.dependencies.key)))
    return Needs(
        pods=True,
        pod_selector=(
            "app.kubernetes.io/managed-by=geopod,"
            f"app.kubernetes.io/instance in ({','.join(instances)})"
        ),
        events_about=tuple(about),
    )


def listing_at(at: Situation) -> datetime | None:
    """Return when the pods are to be listed for what keeps them from being ready."""
    since = waiting_since(at.facts, at.dependencies, at.rest)
    return next_listing(at.observed, at.facts, since)


def look(at: Situation) -> Situation:
    """Return the situation with the causes that the listed pods tell of."""
    pods, events = at.observed.pods, at.observed.events or ()
    if at.rest.asleep:
        return at
    if pods is None:
        return _with_refusals(at)
    nodes = node_pods(pods, at.resolved.identity.name)
    coordinators = _component(pods, at.resolved.identity.name, "coordinator")
    set_name = names.node_name(at.resolved.identity.name)
    refusals = [it for it in events if it["involvedObject"].get("name") == set_name]
    found = Findings()
    if at.facts.stateful_set is not None:
        found = find_causes(
            nodes,
            events,
            asked=_asked_by_nodes(at),
            now=at.observed.now,
            messages=recent_refusals(refusals, at.observed.now),
        )
    of_coordinator = find_causes(
        coordinators,
        events,
        asked=_asked_by_coordinator(at),
        now=at.observed.now,
        messages=_replica_failures(at.facts.deployment),
    )
    return _with_refusals(replace(at, nodes=found, coordinator=of_coordinator))


def _with_refusals(at: Situation) -> Situation:
    """Return the situation with what the server said of children first: pods follow from them."""
    if not at.observed.refused:
        return at

    def told(found: Findings, kind: EnvironmentCondition) -> Findings:
        causes = refused_causes(at.observed.refused, kind, secrets=at.secrets)
        return replace(found, causes=(*causes, *found.causes))

    return replace(
        at,
        nodes=told(at.nodes, EnvironmentCondition.NODES_READY),
        coordinator=told(at.coordinator, EnvironmentCondition.COORDINATOR_READY),
    )


def node_pods(pods: Iterable[Raw], environment: str) -> list[Raw]:
    """Return the node pods among the listed ones."""
    return _component(pods, environment, "node")


def _component(pods: Iterable[Raw], environment: str, component: names.Component) -> list[Raw]:
    wanted = names.child_labels(environment, component).items()
    return [it for it in pods if wanted <= (it["metadata"].get("labels") or {}).items()]


def _replica_failures(deployment: Raw | None) -> list[str]:
    conditions = ((deployment or {}).get("status") or {}).get("conditions", [])
    return [
        it.get("message", "")
        for it in conditions
        if it["type"] == "ReplicaFailure" and it["status"] == "True"
    ]


def _asked_by_nodes(at: Situation) -> Asked:
    resolved = at.resolved
    gpu, asked = resolved.gpu, resolved.resources
    return Asked(
        condition=EnvironmentCondition.NODES_READY,
        total=at.total,
        namespace=resolved.identity.namespace,
        runtime=resolved.spec.runtime,
        pull_secrets=resolved.pull_secrets,
        cpu=asked.cpu or "",
        memory=asked.memory or "",
        storage=asked.ephemeral_storage or "",
        gpus=f"{gpu.count} {gpu.resource_name}" if gpu else "no GPU",
        secrets=at.secrets,
    )


def _asked_by_coordinator(at: Situation) -> Asked:
    requests = RESOURCES["requests"]
    return replace(
        _asked_by_nodes(at),
        condition=EnvironmentCondition.COORDINATOR_READY,
        total=1,
        pull_secrets=tuple(at.observed.settings.image_pull_secrets),
        cpu=requests["cpu"],
        memory=requests["memory"],
        gpus="no GPU",
    )
