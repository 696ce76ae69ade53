"""The kinds of objects that geopod reads or writes: where each lies on the API server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from geopod.api import names


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    group: str
    """Empty: the core group."""
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        """What stands in `apiVersion`: `apps/v1`, `v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """Return the path of an object, or of all objects of a namespace (empty: of all)."""
        base = f"/apis/{self.api_version}" if self.group else f"/api/{self.version}"
        if self.namespaced and namespace:
            base += f"/namespaces/{quote(namespace, safe='')}"
        parts = [self.plural, quote(name, safe=""), subresource]
        return "/".join([base, *(part for part in parts if part)])


ENVIRONMENTS = Kind(names.GROUP, names.VERSION, "computeenvironments", "ComputeEnvironment")
RUNS = Kind(names.GROUP, names.VERSION, "computeruns", "ComputeRun")
LAYERS = Kind(names.GROUP, names.VERSION, "layers", "Layer")
RUNTIMES = Kind(names.GROUP, names.VERSION, "computeruntimes", "ComputeRuntime", namespaced=False)

NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False)
NODES = Kind("", "v1", "nodes", "Node", namespaced=False)
PODS = Kind("", "v1", "pods", "Pod")
SECRETS = Kind("", "v1", "secrets", "Secret")
CONFIG_MAPS = Kind("", "v1", "configmaps", "ConfigMap")
SERVICES = Kind("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts", "ServiceAccount")
VOLUME_CLAIMS = Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CORE_EVENTS = Kind("", "v1", "events", "Event")
EVENTS = Kind("events.k8s.io", "v1", "events", "Event")
DEPLOYMENTS = Kind("apps", "v1", "deployments", "Deployment")
STATEFUL_SETS = Kind("apps", "v1", "statefulsets", "StatefulSet")
JOBS = Kind("batch", "v1", "jobs", "Job")
DISRUPTION_BUDGETS = Kind("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICIES = Kind("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ROLES = Kind("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLE_BINDINGS = Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
LEASES = Kind("coordination.k8s.io", "v1", "leases", "Lease")
DEFINITIONS = Kind(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    namespaced=False,
)

ALL = (
    *(ENVIRONMENTS, RUNS, LAYERS, RUNTIMES, NAMESPACES, NODES, PODS, SECRETS, CONFIG_MAPS),
    *(SERVICES, SERVICE_ACCOUNTS, VOLUME_CLAIMS, CORE_EVENTS, EVENTS, DEPLOYMENTS, STATEFUL_SETS),
    *(JOBS, DISRUPTION_BUDGETS, NETWORK_POLICIES, ROLES, ROLE_BINDINGS, LEASES, DEFINITIONS),
)
_BY_NAME = {(kind.api_version, kind.kind): kind for kind in ALL}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """Return the kind of a whole object by `apiVersion` and `kind`; KeyError: not ours."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
