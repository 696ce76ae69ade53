"""The agent's container in a node pod: every credential of the pod is here, no user code."""

from __future__ import annotations

from geopod.api import deployment, names
from geopod.api.quantities import parse_bytes

from geopod_operator.environment.desired.common import (
    TMP_SIZE,
    container_security,
    empty_dir,
    field_variable,
    image_volume,
    mount,
    secret_volume,
    variables,
)
from geopod_operator.environment.desired.layer_access import layer_access
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Bundle, Resolved

AGENT_TMP = "agent-tmp"
LINK = "link"
BIN, BUNDLE, SOCKET, SCRATCH = "bin", "bundle", "socket", "scratch"
BUNDLE_SIZE = "20Gi"
"""The largest environments (GPU libraries) unpack to about 15 GiB."""
AGENT_STORAGE = {"request": "1Gi", "limit": "22Gi"}
"""The pod's limit is the sum of its containers': bundle, zipapp and the agent's /tmp are here."""
LINK_FILES = (
    deployment.LINK_KEY_FILE,
    deployment.STORE_TOKEN_FILE,
    deployment.SHARED_TOKEN_FILE,
)


def agent_volumes(resolved: Resolved, bundle: Bundle) -> list[Raw]:
    """Return the volumes that the agent needs; four of them are shared with the runner."""
    return [
        secret_volume(LINK, names.link_name(resolved.identity.name), keys=LINK_FILES),
        empty_dir(BIN, "64Mi"),
        image_volume(BUNDLE, bundle.image) if bundle.image else empty_dir(BUNDLE, BUNDLE_SIZE),
        empty_dir(SOCKET, "1Mi"),
        empty_dir(SCRATCH, resolved.resources.ephemeral_storage or "10Gi"),
        empty_dir(AGENT_TMP, TMP_SIZE),
        *layer_access(resolved).volumes,
    ]


def agent_container(resolved: Resolved, settings: Settings, *, bundle: Bundle, wanted: str) -> Raw:
    """Return the agent's container; `wanted` is the template hash that it reports."""
    asked = resolved.runtime.agent_resources
    access = layer_access(resolved)
    return {
        "name": "agent",
        "image": settings.agent_image,
        "command": list(deployment.AGENT_COMMAND),
        "env": [
            *variables({**_variables(resolved, settings, bundle, wanted), **access.variables}),
            field_variable(deployment.ENV_NODE, "metadata.labels['apps.kubernetes.io/pod-index']"),
            field_variable(deployment.ENV_POD_NAME, "metadata.name"),
            field_variable(deployment.ENV_POD_UID, "metadata.uid"),
        ],
        "resources": {
            "requests": {
                "cpu": asked.cpu,
                "memory": asked.memory,
                "ephemeral-storage": AGENT_STORAGE["request"],
            },
            "limits": {
                "cpu": asked.cpu_limit,
                "memory": asked.memory,
                "ephemeral-storage": AGENT_STORAGE["limit"],
            },
        },
        "startupProbe": _probe(deployment.STARTED_FILE, period_s=5, failures=360),
        "readinessProbe": _probe(deployment.READY_FILE, period_s=10, failures=1),
        "securityContext": container_security(deployment.AGENT_UID),
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            mount(LINK, deployment.LINK_DIR, read_only=True),
            mount(BIN, deployment.BIN_DIR),
            mount(BUNDLE, deployment.BUNDLE_DIR, read_only=bool(bundle.image)),
            mount(SOCKET, deployment.SOCKET_DIR),
            mount(SCRATCH, deployment.SCRATCH_DIR),
            mount(AGENT_TMP, "/tmp"),  # noqa: S108  # the container's own emptyDir
            *access.mounts,
        ],
    }


def _variables(
    resolved: Resolved, settings: Settings, bundle: Bundle, wanted: str
) -> dict[str, str]:
    identity = resolved.identity
    # Of this namespace: the first name that a resolver tries, where a longer one is its third.
    coordinator = names.coordinator_name(identity.name)
    return {
        deployment.ENV_NAMESPACE: identity.namespace,
        deployment.ENV_ENVIRONMENT: identity.name,
        deployment.ENV_ENVIRONMENT_UID: identity.uid,
        deployment.ENV_STORE: settings.store,
        deployment.ENV_COORDINATOR: f"ws://{coordinator}:{deployment.COORDINATOR_PORT}/v1",
        deployment.ENV_TEMPLATE_HASH: wanted,
        # A mounted bundle is nothing to the agent: there is nothing to unpack.
        deployment.ENV_BUNDLE_KEY: "" if bundle.image else bundle.key,
        deployment.ENV_BUNDLE_SHA256: "" if bundle.image else bundle.sha256,
        deployment.ENV_NODE_MEMORY: str(resolved.memory_bytes),
        deployment.ENV_NODE_SCRATCH: str(resolved.scratch_bytes),
        deployment.ENV_AGENT_MEMORY: str(parse_bytes(resolved.runtime.agent_resources.memory)),
        "HOME": "/tmp",  # noqa: S108  # the container's own emptyDir
        "NVIDIA_VISIBLE_DEVICES": "void",
    }


def _probe(path: str, *, period_s: int, failures: int) -> Raw:
    return {
        "exec": {"command": ["test", "-f", path]},
        "periodSeconds": period_s,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
