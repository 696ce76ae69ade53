"""What the pod tells its coordinator: variables and the Secret's files, read once."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from geopod.api import deployment
from geopod.process.pod import Pod

ENV_PORT = "GEOPOD_COORDINATOR_PORT"
ENV_METRICS_PORT = "GEOPOD_METRICS_PORT"


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSettings:
    """One coordinator's pod."""

    namespace: str
    environment: str
    environment_uid: str
    pod_name: str
    store: str
    """URL of the gateway; a folder where processes of one machine play pods."""
    cache: Path
    """Folder for what is fetched from the store."""
    environment_key: bytes
    link_key: str
    """Hex."""
    node_memory: int | None = None
    node_scratch: int | None = None
    agent_memory: int | None = None
    port: int = deployment.COORDINATOR_PORT
    metrics_port: int = deployment.METRICS_PORT


def read_pod(pod: Pod) -> PodSettings:
    """Return the settings; raises PodVariableError naming what is missing."""
    key = pod.secret(deployment.LINK_DIR, deployment.ENVIRONMENT_KEY_FILE)
    return PodSettings(
        namespace=pod.text(deployment.ENV_NAMESPACE),
        environment=pod.text(deployment.ENV_ENVIRONMENT),
        environment_uid=pod.text(deployment.ENV_ENVIRONMENT_UID),
        pod_name=pod.text(deployment.ENV_POD_NAME, "coordinator"),
        store=pod.text(deployment.ENV_STORE),
        cache=Path(tempfile.gettempdir()) / "geopod-store",
        environment_key=bytes.fromhex(key),
        link_key=pod.secret(deployment.LINK_DIR, deployment.LINK_KEY_FILE),
        node_memory=pod.optional_number(deployment.ENV_NODE_MEMORY),
        node_scratch=pod.optional_number(deployment.ENV_NODE_SCRATCH),
        agent_memory=pod.optional_number(deployment.ENV_AGENT_MEMORY),
        port=pod.number(ENV_PORT, deployment.COORDINATOR_PORT),
        metrics_port=pod.number(ENV_METRICS_PORT, deployment.METRICS_PORT),
    )
