"""StatefulSet and headless Service of the nodes, and the hash of what must roll them."""

from __future__ import annotations

from geopod.api import names

from geopod_operator.environment.desired.common import away_toleration, child, pod_security
from geopod_operator.environment.desired.node_agent import agent_container, agent_volumes
from geopod_operator.environment.desired.node_runner import runner_container, runner_volumes
from geopod_operator.environment.hashing import digest
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Bundle, Resolved

AWAY_S = 60
POD_KEYS = (
    "affinity", "nodeSelector", "priorityClassName", "runtimeClassName", "schedulerName",
)  # fmt: skip  # names read best in lines
"""What a template sets on the pod as it is; everything else has a rule of its own."""


def template_hash(resolved: Resolved, bundle: Bundle) -> str:
    """Return the hash of what must replace nodes when it changes.

    Made of the spec's meaning, not of geopod's output: an upgrade of geopod rolls no node. The
    number of nodes is not in it.
    """
    spec = resolved.spec
    return digest({
        "bundle": bundle.key,
        "image": resolved.image,
        "python": resolved.interpreter.python,
        "resources": resolved.resources.to_wire(),
        "agentMemory": resolved.runtime.agent_resources.to_wire(),
        "gpu": [resolved.gpu.resource_name, resolved.gpu.count] if resolved.gpu else None,
        "env": [it.to_wire() for it in sorted(spec.env, key=lambda it: it.name)],
        "secrets": [it.to_wire() for it in sorted(spec.secrets, key=lambda it: it.name)],
        "template": resolved.template,
        "layerSecrets": resolved.layer_secrets,
        "volumes": resolved.volume_claims,
    })[:16]  # fmt: skip  # one fact per line


def stateful_set(resolved: Resolved, settings: Settings, *, bundle: Bundle, replicas: int) -> Raw:
    """Return the StatefulSet of all nodes."""
    identity = resolved.identity
    name = names.node_name(identity.name)
    labels = names.child_labels(identity.name, "node")
    manifest = child("apps/v1", "StatefulSet", name, identity=identity, component="node")
    template = resolved.template
    manifest["spec"] = {
        "replicas": replicas,
        "serviceName": names.nodes_name(identity.name),
        "podManagementPolicy": "Parallel",
        "updateStrategy": {"type": "OnDelete"},
        "minReadySeconds": 0,
        "revisionHistoryLimit": 2,
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {
                "labels": {**template.get("labels", {}), **labels},
                "annotations": dict(template.get("annotations", {})),
            },
            "spec": _pod(resolved, settings, bundle),
        },
    }
    return manifest


def _pod(resolved: Resolved, settings: Settings, bundle: Bundle) -> Raw:
    template = resolved.template
    profile = resolved.gpu.profile if resolved.gpu else None
    own_volumes = [*agent_volumes(resolved, bundle), *runner_volumes(resolved)]
    taken = {volume["name"] for volume in own_volumes}
    pod: Raw = {key: template[key] for key in POD_KEYS if key in template}
    pod |= {
        "serviceAccountName": template.get(
            "serviceAccountName", names.node_name(resolved.identity.name)
        ),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "tolerations": _tolerations(resolved),
        "containers": [
            agent_container(
                resolved, settings, bundle=bundle, wanted=template_hash(resolved, bundle)
            ),
            runner_container(resolved),
        ],
        "volumes": [
            *own_volumes,
            *(it for it in template.get("volumes", []) if it["name"] not in taken),
        ],
    }
    spread = template.get("topologySpreadConstraints", [])
    if spread:
        own = {"matchLabels": names.child_labels(resolved.identity.name, "node")}
        pod["topologySpreadConstraints"] = [{**it, "labelSelector": own} for it in spread]
    if profile is not None and profile.node_selector:
        pod["nodeSelector"] = {**pod.get("nodeSelector", {}), **profile.node_selector}
    if profile is not None and profile.runtime_class_name:
        pod["runtimeClassName"] = profile.runtime_class_name
    if resolved.pull_secrets:
        pod["imagePullSecrets"] = [{"name": it} for it in resolved.pull_secrets]
    return pod


def _tolerations(resolved: Resolved) -> list[Raw]:
    wanted: list[Raw] = [
        *resolved.template.get("tolerations", []),
        *(away_toleration(key, AWAY_S) for key in ("not-ready", "unreachable")),
    ]
    gpu = resolved.gpu
    if gpu is not None:
        wanted.append({"key": gpu.resource_name, "operator": "Exists", "effect": "NoSchedule"})
        if gpu.profile is not None:
            wanted.extend(it.to_wire() for it in gpu.profile.tolerations)
    return [item for number, item in enumerate(wanted) if item not in wanted[:number]]


def nodes_service(resolved: Resolved) -> Raw:
    """Return the headless Service that gives nodes their names; it opens no port."""
    identity = resolved.identity
    manifest = child(
        "v1", "Service", names.nodes_name(identity.name), identity=identity, component="node"
    )
    manifest["spec"] = {
        "clusterIP": "None",
        "publishNotReadyAddresses": True,
        "selector": names.child_labels(identity.name, "node"),
    }
    return manifest
