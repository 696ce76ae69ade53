"""Deployment and Service of the coordinator: the first pod of an environment, never a GPU."""

from __future__ import annotations

from geopod.api import deployment, names
from geopod.api.quantities import parse_bytes

from geopod_operator.environment.desired.common import (
    TMP,
    TMP_SIZE,
    away_toleration,
    child,
    container_security,
    empty_dir,
    field_variable,
    mount,
    pod_security,
    secret_volume,
    variables,
)
from geopod_operator.environment.desired.layer_access import layer_access
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Resolved

RESOURCES = {
    "requests": {"cpu": "250m", "memory": "256Mi"},
    "limits": {"memory": "1Gi"},
}
"""Measured: 60 MB and 1 kB per open task; headers of many layers are read here too."""
START_S = 600
"""A busy machine starts it slowly: a liveness probe that ended it then would make it busier.

No startup probe: until its next whole second nobody would ask whether the coordinator is ready.
"""
AWAY_S = 30
"""Its restart loses nothing, so it moves sooner than a node does."""


def coordinator_deployment(resolved: Resolved, settings: Settings, *, replicas: int) -> Raw:
    """Return the coordinator's Deployment; `replicas` 0: asleep."""
    identity = resolved.identity
    name = names.coordinator_name(identity.name)
    labels = names.child_labels(identity.name, "coordinator")
    manifest = child("apps/v1", "Deployment", name, identity=identity, component="coordinator")
    manifest["spec"] = {
        "replicas": replicas,
        "revisionHistoryLimit": 2,
        "strategy": {"type": "Recreate"},
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"},
            },
            "spec": _pod(resolved, settings),
        },
    }
    return manifest


def _pod(resolved: Resolved, settings: Settings) -> Raw:
    access = layer_access(resolved)
    link_files = (deployment.ENVIRONMENT_KEY_FILE, deployment.LINK_KEY_FILE)
    link = names.link_name(resolved.identity.name)
    pod: Raw = {
        "serviceAccountName": names.coordinator_name(resolved.identity.name),
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 30,
        "securityContext": pod_security(),
        "tolerations": [away_toleration(key, AWAY_S) for key in ("not-ready", "unreachable")],
        "containers": [_container(resolved, settings)],
        "volumes": [
            secret_volume("link", link, keys=link_files),
            empty_dir(TMP, TMP_SIZE),
            *access.volumes,
        ],
    }
    if settings.coordinator_priority_class:
        pod["priorityClassName"] = settings.coordinator_priority_class
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": it} for it in sorted(set(settings.image_pull_secrets))]
    return pod


def _container(resolved: Resolved, settings: Settings) -> Raw:
    access = layer_access(resolved, writes=True)
    identity = resolved.identity
    values = {
        deployment.ENV_NAMESPACE: identity.namespace,
        deployment.ENV_ENVIRONMENT: identity.name,
        deployment.ENV_ENVIRONMENT_UID: identity.uid,
        deployment.ENV_STORE: settings.store,
        deployment.ENV_NODE_MEMORY: str(resolved.memory_bytes),
        deployment.ENV_NODE_SCRATCH: str(resolved.scratch_bytes),
        deployment.ENV_AGENT_MEMORY: str(parse_bytes(resolved.runtime.agent_resources.memory)),
        "HOME": "/tmp",  # noqa: S108  # the container's own emptyDir
        "NVIDIA_VISIBLE_DEVICES": "void",
        **access.variables,
    }
    return {
        "name": "coordinator",
        "image": settings.agent_image,
        "command": list(deployment.COORDINATOR_COMMAND),
        "env": [
            *variables(values),
            field_variable(deployment.ENV_POD_NAME, "metadata.name"),
            field_variable(deployment.ENV_POD_UID, "metadata.uid"),
        ],
        "ports": [
            {"name": "agents", "containerPort": deployment.COORDINATOR_PORT, "protocol": "TCP"},
            {"name": "metrics", "containerPort": deployment.METRICS_PORT, "protocol": "TCP"},
        ],
        "resources": RESOURCES,
        "readinessProbe": _probe("/readyz", period_s=1, failures=3),
        "livenessProbe": {
            **_probe("/livez", period_s=10, failures=6),
            "initialDelaySeconds": START_S,
        },
        "securityContext": container_security(deployment.AGENT_UID),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount("link", deployment.LINK_DIR, read_only=True),
            mount(TMP, "/tmp"),  # noqa: S108  # the container's own emptyDir
            *access.mounts,
        ],
    }


def _probe(path: str, *, period_s: int, failures: int) -> Raw:
    return {
        "httpGet": {"path": path, "port": "metrics"},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }


def coordinator_service(resolved: Resolved) -> Raw:
    """Return the Service that agents dial."""
    identity = resolved.identity
    name = names.coordinator_name(identity.name)
    manifest = child("v1", "Service", name, identity=identity, component="coordinator")
    manifest["spec"] = {
        "type": "ClusterIP",
        # Agents start beside it and dial until it listens: nobody waits for a probe and its news.
        "publishNotReadyAddresses": True,
        "selector": names.child_labels(identity.name, "coordinator"),
        "ports": [
            {
                "name": "agents",
                "port": deployment.COORDINATOR_PORT,
                "targetPort": "agents",
                "protocol": "TCP",
            },
            {
                "name": "metrics",
                "port": deployment.METRICS_PORT,
                "targetPort": "metrics",
                "protocol": "TCP",
            },
        ],
    }
    return manifest
