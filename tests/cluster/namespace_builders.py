"""A namespace for a module of tests, and the client of somebody who works in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import geopod
import pytest
from cluster.testcluster.kubectl import Kubectl

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def a_namespace(name: str) -> dict[str, Any]:
    """Return a namespace with Restricted Pod Security."""
    metadata = {"name": name, "labels": RESTRICTED}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}


def small_environment(name: str, **spec: Any) -> dict[str, Any]:
    """Return an environment of two nodes that ask for little."""
    small = {"cpu": "100m", "memory": "256Mi"}
    return {
        "apiVersion": "geopod.dev/v1alpha1",
        "kind": "ComputeEnvironment",
        "metadata": {"name": name},
        "spec": {"nodes": 2, "interpreter": "python3.13", "resources": small, **spec},
    }


@contextmanager
def fresh_namespace(kubectl: Kubectl, name: str) -> Iterator[Kubectl]:
    """Give kubectl within a new namespace called after `name`, deleted without waiting."""
    within = kubectl.within(f"{name}-{secrets.token_hex(4)}")
    kubectl.apply(a_namespace(within.namespace))
    try:
        within.wait("serviceaccount/default", "create")
        yield within
    finally:
        kubectl("delete", "namespace", within.namespace, "--wait=false")


@contextmanager
def users_settings(namespace: Kubectl) -> Iterator[pytest.MonkeyPatch]:
    """Make the cluster the one that clients of this process find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KUBECONFIG", str(namespace.kubeconfig))
        patch.delenv("GEOPOD_TARGET", raising=False)
        patch.setenv("GEOPOD_PROGRESS", "0")
        yield patch


@contextmanager
def client_within(namespace: Kubectl) -> Iterator[geopod.Client]:
    """Give a client of the namespace."""
    with users_settings(namespace), geopod.connect(namespace=namespace.namespace) as client:
        yield client
