"""What the operator's pods promise to the processes in them: variables, mounts, ports, commands.

The operator renders these, the coordinator, the agent, the builder and the gateway read them. One
constant each, so that neither side can spell one differently. Source: operator design, §4.
"""

from __future__ import annotations

# ---- who runs

AGENT_UID = 10001
"""geopod's own processes."""
RUNNER_UID = 10002
"""Users' code; shares the group AGENT_UID through fsGroup."""

# ---- environment variables of coordinator and agent

ENV_NAMESPACE = "GEOPOD_NAMESPACE"
ENV_ENVIRONMENT = "GEOPOD_ENVIRONMENT"
"""Name of the ComputeEnvironment."""
ENV_ENVIRONMENT_UID = "GEOPOD_ENVIRONMENT_UID"
ENV_STORE = "GEOPOD_STORE"
"""URL of the gateway, `http://host:port`."""
ENV_POD_NAME = "GEOPOD_POD_NAME"
ENV_POD_UID = "GEOPOD_POD_UID"
ENV_NODE_MEMORY = "GEOPOD_NODE_MEMORY_BYTES"
"""The runner's memory limit: guards of the plan, and the watch over children."""
ENV_NODE_SCRATCH = "GEOPOD_NODE_SCRATCH_BYTES"
ENV_AGENT_MEMORY = "GEOPOD_AGENT_MEMORY_BYTES"
ENV_SECRETS = "GEOPOD_LAYER_SECRETS"
"""Coordinator, agent: JSON `{pathId: secretName}` of the Layers that name credentials."""

# ---- environment variables of the agent alone

ENV_COORDINATOR = "GEOPOD_COORDINATOR"
"""`ws://<env>-coordinator.<namespace>.svc:7420/v1`."""
ENV_NODE = "GEOPOD_NODE"
"""Index of the node, from the pod's `apps.kubernetes.io/pod-index` label."""
ENV_TEMPLATE_HASH = "GEOPOD_TEMPLATE_HASH"
ENV_BUNDLE_KEY = "GEOPOD_BUNDLE_KEY"
"""Key of the environment bundle to unpack; empty: the image has every package."""
ENV_BUNDLE_SHA256 = "GEOPOD_BUNDLE_SHA256"
"""sha256 of the packed bundle; what is fetched is checked against it."""

# ---- mounts

LINK_DIR = "/geopod/link"
"""Secret `<env>-link`: to the coordinator the first two files, to the agents the last three."""
ENVIRONMENT_KEY_FILE = "environment-key"
"""Hex of the environment's key; opens `<uid>/` and mints narrower tokens."""
LINK_KEY_FILE = "link-key"
"""Hex of `tokens.link_key`."""
STORE_TOKEN_FILE = "store-token"  # noqa: S105  # a file's name
SHARED_TOKEN_FILE = "shared-token"  # noqa: S105  # a file's name
"""Reads the namespace's bundles and files."""
LAYER_SECRETS_DIR = "/geopod/layers"
"""`<secretName>/<key>`: credentials of Layers, in coordinator and agent, never in the runner."""
VOLUMES_DIR = "/geopod/volumes"
"""`<claim>/…`: the volumes of Layers whose files lie on one (`file://` below this folder)."""
BIN_DIR = "/geopod/bin"
"""The runner's zipapp; the runner sees it read-only."""
BUNDLE_DIR = "/geopod/env"
"""The environment bundle; the runner sees it read-only. Packages are in `site-packages`."""
SOCKET_DIR = "/geopod/socket"
SCRATCH_DIR = "/scratch"
USER_SECRETS_DIR = "/geopod/secrets"
"""`<name>/<key>`: `spec.secrets` as files, runner only."""

RUNNER_FILE = f"{BIN_DIR}/geopod.runner.pyz"
"""Written by the agent after the bundle is unpacked: the runner starts when it appears."""
RUNNER_SOCKET = f"{SOCKET_DIR}/runner.sock"
SITE_PACKAGES = f"{BUNDLE_DIR}/site-packages"
STARTED_FILE = "/tmp/started"  # noqa: S108  # the agent container's own emptyDir
"""Startup probe of the agent: the runner's template is warm."""
READY_FILE = "/tmp/ready"  # noqa: S108  # the agent container's own emptyDir
"""Readiness probe of the agent: welcomed in this epoch, partition staged, runner answers."""

# ---- ports

COORDINATOR_PORT = 7420
METRICS_PORT = 9090
"""Coordinator, operator: `/metrics`, `/livez`, `/readyz`."""
GATEWAY_PORT = 8080

# ---- commands

COORDINATOR_COMMAND = ("python", "-m", "geopod.coordinator", "--pod")
AGENT_COMMAND = ("python", "-m", "geopod.agent", "--pod")
GATEWAY_COMMAND = ("python", "-m", "geopod_gateway")
OPERATOR_COMMAND = ("python", "-m", "geopod_operator")

_WAIT = (
    "import os,sys,time\n"
    f"p={RUNNER_FILE!r}\n"
    "while not os.path.exists(p): time.sleep(.05)\n"
    f"os.execv(sys.executable,[sys.executable,p,'--socket',{RUNNER_SOCKET!r}])"
)
"""Standard library only, for whatever image the administrator chose."""


def runner_command(python: str) -> tuple[str, ...]:
    """Return the command of the runner container; `python`: the interpreter in its image."""
    return (python, "-c", _WAIT)


# ---- the store over HTTP (`geopod_gateway`, `geopod.store.gateway`)

OBJECTS_PATH = "/v1/objects/"
"""`<OBJECTS_PATH><key>`: PUT, GET (Range), HEAD, DELETE; with a closing `/`: GET lists, DELETE all.

PUT with `If-None-Match: *` answers 412 when the key exists; GET of a folder answers JSON
`{"names": [..]}`; a missing key is 404. Multipart: POST `?uploads`, PUT `?upload=<id>&part=<n>`,
GET `?upload=<id>` (parts there are), POST `?upload=<id>` (complete).
"""
TOKEN_HEADER = "X-Geopod-Token"  # noqa: S105  # a header's name
"""Not `Authorization`: the API server's service proxy keeps that one for itself."""
DIGEST_HEADER = "X-Geopod-Sha256"
"""On PUT: the gateway refuses a body of another sha256 (422). On GET and HEAD: what was stored."""
SERVICE_NAME = "geopod-gateway"
"""Service of the gateway, in geopod's own namespace."""
