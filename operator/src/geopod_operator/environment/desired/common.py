"""What every child and every pod has: names, owner, labels, security."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from geopod.api import deployment, names
from geopod.api.names import Component

from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Identity

TMP = "tmp"
TMP_SIZE = "1Gi"
READ_BY_GROUP = 0o440
"""Files of Secrets belong to root; pods read them through fsGroup."""


def owner_reference(identity: Identity) -> Raw:
    """Return the reference that makes the environment the one owner of a child."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": "ComputeEnvironment",
        "name": identity.name,
        "uid": identity.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def child(
    api_version: str, kind: str, name: str, *, identity: Identity, component: Component
) -> Raw:
    """Return a child object without content: kind, name, labels, owner."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": identity.namespace,
            "labels": names.child_labels(identity.name, component),
            "ownerReferences": [owner_reference(identity)],
        },
    }


def pod_security() -> Raw:
    """Return the pod's security context; with `container_security` it passes Restricted."""
    return {
        "runAsNonRoot": True,
        "runAsUser": deployment.AGENT_UID,
        "runAsGroup": deployment.AGENT_UID,
        "fsGroup": deployment.AGENT_UID,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security(uid: int) -> Raw:
    """Return a container's security context."""
    return {
        "runAsNonRoot": True,
        "runAsUser": uid,
        "runAsGroup": uid,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def variables(values: Mapping[str, str]) -> list[Raw]:
    """Return environment variables, in the order of their names."""
    return [{"name": name, "value": values[name]} for name in sorted(values)]


def field_variable(name: str, path: str) -> Raw:
    """Return a variable that the kubelet fills in from the pod."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def empty_dir(name: str, size: str, *, medium: str = "") -> Raw:
    """Return a bounded emptyDir."""
    directory: dict[str, Any] = {"sizeLimit": size}
    if medium:
        directory["medium"] = medium
    return {"name": name, "emptyDir": directory}


def mount(name: str, path: str, *, read_only: bool = False) -> Raw:
    """Return where a volume appears."""
    return {"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})}


def image_volume(name: str, reference: str) -> Raw:
    """Return an image's files as a volume; read-only by nature. Kubernetes 1.35 or newer."""
    return {"name": name, "image": {"reference": reference, "pullPolicy": "IfNotPresent"}}


def secret_volume(name: str, secret: str, *, keys: tuple[str, ...] = ()) -> Raw:
    """Return a Secret as files; with `keys` these alone."""
    source: dict[str, Any] = {"secretName": secret, "defaultMode": READ_BY_GROUP}
    if keys:
        source["items"] = [{"key": key, "path": key} for key in keys]
    return {"name": name, "secret": source}


def away_toleration(key: str, seconds: int) -> Raw:
    """Return how long a pod stays on a machine that does not answer."""
    return {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": seconds,
    }
