"""The runner's container in a node pod: user code, GPU, users' variables and Secrets; no token."""

from __future__ import annotations

from geopod.api import deployment

from geopod_operator.environment.desired.common import (
    container_security,
    empty_dir,
    mount,
    secret_volume,
)
from geopod_operator.environment.desired.node_agent import BIN, BUNDLE, SCRATCH, SOCKET
from geopod_operator.environment.observed import Raw
from geopod_operator.environment.resolved import Resolved

RUNNER_TMP = "runner-tmp"
USER = "geopod"
SHARED_MEMORY = "shared-memory"
SHARED_MEMORY_SHARE = 4
"""Shared memory may hold a quarter of the memory limit; it counts against that limit."""


def runner_volumes(resolved: Resolved) -> list[Raw]:
    """Return the volumes that the runner alone sees."""
    shared_memory = str(resolved.memory_bytes // SHARED_MEMORY_SHARE)
    return [
        empty_dir(RUNNER_TMP, resolved.resources.ephemeral_storage or "10Gi"),
        empty_dir(SHARED_MEMORY, shared_memory, medium="Memory"),
        *(secret_volume(name, secret) for name, secret in _files(resolved)),
    ]


def runner_container(resolved: Resolved) -> Raw:
    """Return the runner's container; any image with a Python of the right minor version will do."""
    asked = resolved.resources
    resources = {
        "cpu": asked.cpu,
        "memory": asked.memory,
        "ephemeral-storage": asked.ephemeral_storage,
    }
    if resolved.gpu is not None:
        resources[resolved.gpu.resource_name] = str(resolved.gpu.count)
    container: Raw = {
        "name": "runner",
        "image": resolved.image,
        "command": list(deployment.runner_command(resolved.interpreter.python)),
        "env": _variables(resolved),
        "resources": {"requests": resources, "limits": resources},
        "securityContext": container_security(deployment.RUNNER_UID),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": _mounts(resolved),
    }
    sources = [it.name for it in resolved.spec.secrets if it.as_ == "Env"]
    if sources:
        container["envFrom"] = [{"secretRef": {"name": name}} for name in sorted(sources)]
    return container


def _variables(resolved: Resolved) -> list[Raw]:
    """Return the users' variables and geopod's defaults, which they may replace."""
    wanted: dict[str, Raw] = {
        "HOME": {"value": "/tmp"},  # noqa: S108  # the container's own emptyDir
        # The image knows no user of this uid: libraries that ask for a name find these.
        "LOGNAME": {"value": USER},
        "USER": {"value": USER},
        "PYTHONFAULTHANDLER": {"value": "1"},
        "PYTHONUNBUFFERED": {"value": "1"},
    }
    for variable in resolved.spec.env:
        if variable.secret_key_ref is not None:
            source = {"secretKeyRef": variable.secret_key_ref.to_wire()}
            wanted[variable.name] = {"valueFrom": source}
        else:
            wanted[variable.name] = {"value": variable.value or ""}
    if resolved.gpu is None:
        wanted["NVIDIA_VISIBLE_DEVICES"] = {"value": "void"}
    return [{"name": name, **wanted[name]} for name in sorted(wanted)]


def _mounts(resolved: Resolved) -> list[Raw]:
    return [
        mount(BIN, deployment.BIN_DIR, read_only=True),
        mount(BUNDLE, deployment.BUNDLE_DIR, read_only=True),
        mount(SOCKET, deployment.SOCKET_DIR),
        mount(SCRATCH, deployment.SCRATCH_DIR),
        mount(RUNNER_TMP, "/tmp"),  # noqa: S108  # the container's own emptyDir
        mount(SHARED_MEMORY, "/dev/shm"),  # noqa: S108  # the container's own emptyDir
        *(
            mount(name, f"{deployment.USER_SECRETS_DIR}/{secret}", read_only=True)
            for name, secret in _files(resolved)
        ),
        *resolved.template.get("volumeMounts", []),
    ]


def _files(resolved: Resolved) -> list[tuple[str, str]]:
    """Return (volume, Secret) of the Secrets that appear as files."""
    secrets = sorted(it.name for it in resolved.spec.secrets if it.as_ == "Files")
    return [(f"user-secret-{number}", secret) for number, secret in enumerate(secrets)]
