"""What the operator's pods promise to the processes in them: variables, mounts, ports, commands.

The operator renders these, the coordinator, the agent, the builder and the gateway read them. One
constant each, so that neither side can spell one differently. Source: operator design, §4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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

ENV_OWN_SECRETS = "GEOPOD_OWN_SECRETS"
"""On a user's own machine: file of JSON `{pathId: file}`, which file each layer's keys are in."""

# ---- environment variables of the agent alone

ENV_COORDINATOR = "GEOPOD_COORDINATOR"
"""`ws://<env>-coordinator:7420/v1`."""
ENV_NODE = "GEOPOD_NODE"
"""Index of the node, from the pod's `apps.kubernetes.io/pod-index` label."""
ENV_TEMPLATE_HASH = "GEOPOD_TEMPLATE_HASH"
ENV_BUNDLE_KEY = "GEOPOD_BUNDLE_KEY"
"""Key of the environment bundle to unpack; empty: the image has every package."""
ENV_BUNDLE_REGISTRY = "GEOPOD_BUNDLE_REGISTRY"
"""Of the builder: the ComputeRuntime's `bundleRegistry`."""
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
CACHE_BYTES = 512 << 20
"""Fetched files that a pod keeps: /tmp has 1 GiB, and scratch is for partitions and results."""
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
AGENT_EXIT_NO_BUNDLE = 66
"""Exit of an agent when the store has not the bundle that was recorded: it must be built anew."""
GATEWAY_COMMAND = ("python", "-m", "geopod_gateway")
OPERATOR_COMMAND = ("python", "-m", "geopod_operator")

_WAIT = (
    "import sys\n"
    "sys.path[:]=filter(None,sys.path)\n"
    "import os,signal,time\n"
    "signal.signal(signal.SIGTERM,lambda *_:os._exit(143))\n"
    f"p={RUNNER_FILE!r}\n"
    "while not os.path.exists(p): time.sleep(.02)\n"
    "import runpy\n"
    f"sys.argv=[p,'--socket',{RUNNER_SOCKET!r},'--packages',{SITE_PACKAGES!r}]\n"
    "runpy.run_path(p,run_name='__main__')"
)
"""Standard library only, for whatever image the administrator chose.

The first process of a container ignores SIGTERM unless it says what to do. Nothing is found in the
current folder, as if the zipapp had been started by its name.
"""


def runner_command(python: str) -> tuple[str, ...]:
    """Return the command of the runner container; `python`: the interpreter in its image."""
    return (python, "-c", _WAIT)


# ---- the store over HTTP (`geopod_gateway`, `geopod.store.gateway`)

OBJECTS_PATH = "/v1/objects/"
"""`<OBJECTS_PATH><key>`: PUT, GET (Range), HEAD, DELETE; with a closing `/`: GET lists, DELETE all.

PUT with `If-None-Match: *` answers 412 when the key exists; GET of a folder answers JSON
`{"names": [..]}`; a missing key is 404. Multipart: POST `?uploads` (JSON `bytes`, `partBytes` and
`beginning`, the sha256 of its first bytes), PUT `?upload=<id>&part=<n>`, GET `?upload=<id>` (parts
there are), POST `?upload=<id>` (complete; it names the sha256 of the whole).
"""
TOKEN_HEADER = "X-Geopod-Token"  # noqa: S105  # a header's name
"""Not `Authorization`: the API server's service proxy keeps that one for itself."""
DIGEST_HEADER = "X-Geopod-Sha256"
"""On PUT: the gateway refuses a body of another sha256 (422). On GET and HEAD: what was stored."""
SERVICE_NAME = "geopod-gateway"
"""Service of the gateway, in geopod's own namespace."""
WRITER_HEADER = "X-Geopod-Writer"
"""On PUT with `If-None-Match: *`: a random word, kept, so that a repeated PUT is no second one."""
GATEWAY_HEADER = "X-Geopod-Gateway"
"""On every answer of the gateway: a 404 without it came from something before it."""

# ---- the builder's Job: two init containers and the main one, each alone in its turn
#
# prepare   geopod's image, uid AGENT_UID     PREPARE_COMMAND
#           mounts: BUILD_DIR; LINK_DIR (Secret names.build_name, item STORE_TOKEN_FILE)
# install   interpreter's image, RUNNER_UID   install_command(python)
#           mounts: BUILD_DIR; BUILD_REQUEST_DIR (the same Secret, item BUILD_REQUEST_FILE);
#           BUILD_INDEX_DIR (Secret of `index.secretName`, if there is one)
# upload    geopod's image, uid AGENT_UID     UPLOAD_COMMAND
#           mounts: BUILD_DIR; LINK_DIR as above; BUILD_REGISTRY_DIR/<name> (imagePullSecrets)
#           ENV_BUNDLE_REGISTRY, if the runtime names one: the bundle is pushed there as an image
#
# BUILD_DIR is an emptyDir; it and a /tmp of each container's own are all that is writable.
# prepare and upload: ENV_STORE, ENV_NAMESPACE, ENV_BUNDLE_KEY; install: BUILD_ENVIRONMENT.
# The token may get and put below `names.bundle_key(namespace, key)`.

BUILD_DIR = "/geopod/build"
BUILD_TOOLS = f"{BUILD_DIR}/tools"
"""uv and the zipapp of `geopod.builder.install`, for any image with a Python."""
BUILD_REQUEST_DIR = "/geopod/request"
BUILD_REQUEST_FILE = "request.json"
"""`build_request` as JSON; in the Secret, because 256 long requirements fit no variable."""
BUILD_REGISTRY_DIR = "/geopod/registry"
DOCKER_CONFIG = ".dockerconfigjson"
"""The key of a Secret of type `kubernetes.io/dockerconfigjson`; each is a folder there."""
BUILD_INDEX_DIR = "/geopod/index"
"""Credentials of the package index, as files: `username` and `password`, or `netrc`; `ca.crt`."""
BUILD_TREE = f"{BUILD_DIR}/tree"
"""Holds `site-packages`: what the bundle is made of."""
BUILD_OUTCOME = f"{BUILD_DIR}/outcome.json"
BUILD_LOG = f"{BUILD_DIR}/build.log"
BUILD_THERE = f"{BUILD_TOOLS}/there"
"""Written by prepare when the store has the bundle already: install and upload end at once."""
BUILD_ENVIRONMENT = {"HOME": f"{BUILD_DIR}/home", "UV_CACHE_DIR": f"{BUILD_DIR}/home/cache"}
"""Variables of install; no other is needed."""
BUNDLE_FILE, LOCK_FILE, LOG_FILE = "bundle.tar.zst", "lock.txt", "build.log"
"""Objects below `names.bundle_key`; a failed build leaves its log there."""

PREPARE_COMMAND = ("python", "-m", "geopod.builder.prepare", "--into", BUILD_TOOLS)
UPLOAD_COMMAND = ("python", "-m", "geopod.builder.upload")
"""Writes its result as JSON to /dev/termination-log, at most 4096 bytes::

    {"ok": true, "bundleSha256", "bundleBytes", "lockSha256", "logSha256", "reused", "seconds"}
    {"ok": false, "reason": "ResolutionFailed" | "IndexUnreachable" | "BuilderFailed",
     "exit", "lines": [..], "logSha256"}
"""
BUILD_EXIT_UNRESOLVABLE = 3
"""Exit of upload after ResolutionFailed: no retry until the key changes."""
BUILD_EXIT_INDEX = 4
"""Exit of upload after IndexUnreachable: worth another Job later."""


def install_command(python: str) -> tuple[str, ...]:
    """Return the command of the install container; `python`: the interpreter in its image.

    It exits 0 also when requirements cannot be installed: upload stores the log and says so.
    """
    zipapp, request = f"{BUILD_TOOLS}/install.pyz", f"{BUILD_REQUEST_DIR}/{BUILD_REQUEST_FILE}"
    return (python, "-I", zipapp, request, BUILD_OUTCOME, "--log", BUILD_LOG)


def build_request(
    *,
    python: str,
    requirements: Sequence[str],
    index_url: str = "",
    extra_urls: Sequence[str] = (),
    allow_sdists: bool = False,
) -> dict[str, Any]:
    """Return what install is asked to do; no credentials: these are files in BUILD_INDEX_DIR."""
    return {
        "uv": f"{BUILD_TOOLS}/uv",
        "python": python,
        "requirements": list(requirements),
        "target": BUILD_TREE,
        "layout": "tree",
        "wheelsOnly": not allow_sdists,
        "indexUrl": index_url,
        "extraIndexUrls": list(extra_urls),
        "credentials": BUILD_INDEX_DIR,
        "unless": BUILD_THERE,
        "bytecode": True,
    }
