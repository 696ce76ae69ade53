"""Every resource name, label, annotation and store path: one function or constant each."""

from __future__ import annotations

import re
from typing import Literal

from geopod.errors import InvalidInputError

GROUP = "geopod.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# ---- what a name may look like

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
ENVIRONMENT_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
ENVIRONMENT_MAX = 40
"""Leaves room for the longest derived value: `<name>-node-<hash10>`, a label of at most 63."""
NAME_MAX = 63


def check_environment_name(name: str) -> str:
    """Return `name` if an environment may have it; raises InvalidInputError."""
    return _checked(name, ENVIRONMENT_PATTERN, ENVIRONMENT_MAX)


def check_run_name(name: str) -> str:
    """Return `name` if a run may have it; raises InvalidInputError."""
    return _checked(name, DNS_LABEL, NAME_MAX)


def check_path_id(path_id: str, *, name: str = "name") -> str:
    """Return `path_id` if a Layer may have it; raises InvalidInputError, of the argument `name`."""
    return _checked(path_id, DNS_SUBDOMAIN, NAME_MAX, argument=name)


def _checked(name: str, pattern: str, limit: int, *, argument: str = "name") -> str:
    if len(name) <= limit and re.fullmatch(pattern, name):
        return name
    raise InvalidInputError.value(
        name=argument,
        value=name,
        why=f"is no resource name: at most {limit} of a-z, 0-9 and '-', a letter or digit at "
        "either end (an environment starts with a letter)",
    )


def own_suffix(uid: str) -> str:
    """Return how the name of a run ends that its user did not name; `uid`: the run's own."""
    return f"-{uid[:6]}"


def environment_name(token: str) -> str:
    """Return the name of an environment that the user did not name; `token`: a uuid."""
    return f"env-{token}"[:ENVIRONMENT_MAX].rstrip("-")


# ---- labels, annotations, writers

LABEL_ENVIRONMENT = f"{GROUP}/environment"
LABEL_COMPUTE_ID = f"{GROUP}/compute-id"
LABEL_RERUN_OF = f"{GROUP}/rerun-of"
ANNOTATION_TERMINATED = f"{GROUP}/terminated"
"""On an environment: JSON `{"time", "user"}`; only `resume()` wakes it."""
ANNOTATION_KEEP_ALIVE_UNTIL = f"{GROUP}/keep-alive-until"
ANNOTATION_REFRESH = f"{GROUP}/refresh"
"""On an environment: a new text resolves dependencies and plans layers anew."""
ANNOTATION_CANCEL_TASKS = f"{GROUP}/cancel-tasks"
"""On a run: index ranges, `0-3,9`."""
ANNOTATION_DELETE_RESULTS = f"{GROUP}/delete-results"
"""On a run that has ended: what it has stored is removed, whatever the text says."""
ANNOTATION_TAGS = f"{GROUP}/tags"
"""On a run: a JSON list of strings."""
ANNOTATION_RERUN_TASKS = f"{GROUP}/rerun-tasks"
"""On a run: which tasks of `rerun-of` it runs again, index ranges in the order of its own."""
ANNOTATION_SPEC_HASH = f"{GROUP}/spec-hash"
"""On a child object: hash of the wanted object, so that an equal one is not applied again."""
FINALIZER_PURGE = f"{GROUP}/purge"
OPERATOR = "geopod-operator"
"""Field manager of the operator."""
COORDINATOR = "geopod-coordinator"
"""Field manager of a coordinator."""

Component = Literal["node", "coordinator", "builder"]


def layer_field_manager(environment: str) -> str:
    """Return the field manager of an environment's coordinator on Layers; the last one forces."""
    return f"{COORDINATOR}-{environment}"


def child_labels(environment: str, component: Component) -> dict[str, str]:
    """Return the labels of every child object of an environment."""
    return {
        "app.kubernetes.io/name": "geopod",
        "app.kubernetes.io/instance": environment,
        "app.kubernetes.io/component": component,
        "app.kubernetes.io/managed-by": "geopod",
    }


# ---- child objects


def node_name(environment: str) -> str:
    """Return the name of an environment's StatefulSet and of its nodes' ServiceAccount."""
    return f"{environment}-node"


def nodes_name(environment: str) -> str:
    """Return the name of the headless Service, the PDB and the NetworkPolicy of the nodes."""
    return f"{environment}-nodes"


def coordinator_name(environment: str) -> str:
    """Return the name of the coordinator's Deployment, Service, account, role and policy."""
    return f"{environment}-coordinator"


def link_name(environment: str) -> str:
    """Return the name of the Secret with an environment's keys and tokens."""
    return f"{environment}-link"


def build_name(bundle_key: str) -> str:
    """Return the name of the Job and token Secret that build one environment bundle."""
    return f"geopod-build-{bundle_key[:16]}"


def bundle_name(bundle_key: str) -> str:
    """Return the name of the ConfigMap that says that an environment bundle is done."""
    return f"geopod-bundle-{bundle_key[:16]}"


BUILD_NETWORK_POLICY = "geopod-build"

# ---- paths in the store


def shared_prefix(namespace: str) -> str:
    """Return the folder of what a namespace's environments share: bundles and files."""
    return f"shared/{namespace}/"


def function_key(environment_uid: str, sha256: str) -> str:
    """Return where a function's payload lies in the store."""
    return f"{environment_uid}/functions/{sha256}"


def arguments_key(environment_uid: str, sha256: str) -> str:
    """Return where the encoded arguments of a map lie in the store."""
    return f"{environment_uid}/arguments/{sha256}"


def file_key(sha256: str, *, namespace: str = "local") -> str:
    """Return where a plain file that users of a namespace share lies in the store."""
    return f"{shared_prefix(namespace)}files/{sha256}"


def bundle_key(namespace: str, key: str) -> str:
    """Return the folder of one environment bundle: the packed tree, its lock, its build log."""
    return f"{shared_prefix(namespace)}bundles/{key}/"


def plan_key(environment_uid: str, sha256: str) -> str:
    """Return where a partition plan lies in the store."""
    return f"{environment_uid}/plans/{sha256}.json"


def run_prefix(environment_uid: str, run_uid: str) -> str:
    """Return the folder of one run: everything that run ever wrote lies below it."""
    return f"{environment_uid}/runs/{run_uid}/"


def order_prefix(environment_uid: str) -> str:
    """Return the folder of all runs' orders: a restarted coordinator lists it, and little else."""
    return f"{environment_uid}/orders/"


def order_key(environment_uid: str, run_uid: str) -> str:
    """Return where a run's order (`runs.RunOrder`, JSON) lies from its submission on."""
    return f"{order_prefix(environment_uid)}{run_uid}.json"


def state_key(environment_uid: str, run_uid: str) -> str:
    """Return where a run's last stored state (`runs.RunState`, JSON) lies."""
    return f"{run_prefix(environment_uid, run_uid)}status.json"


def expiry_prefix(environment_uid: str) -> str:
    """Return the folder of what the gateway's sweep reads: when each ended run's results go."""
    return f"{environment_uid}/expires/"


def expiry_key(environment_uid: str, run_uid: str) -> str:
    """Return where the time lies at which a run's results go, in seconds since the epoch."""
    return f"{expiry_prefix(environment_uid)}{run_uid}"


def epoch_prefix(environment_uid: str) -> str:
    """Return the folder of the environment's epochs: one empty object per coordinator start."""
    return f"{environment_uid}/epochs/"


def epoch_key(environment_uid: str, epoch: int) -> str:
    """Return the object whose creation makes one coordinator the holder of `epoch`."""
    return f"{epoch_prefix(environment_uid)}{epoch:08d}"


def result_key(environment_uid: str, run_uid: str, attempt: str, name: str) -> str:
    """Return where one attempt's result lies; `attempt` is `<index>-<attempt>-<epoch>`."""
    return f"{run_prefix(environment_uid, run_uid)}{attempt}-{name}"  # a folder each costs 0.1 ms


def pack_key(environment_uid: str, run_uid: str, lease: str, sequence: int) -> str:
    """Return where the small results that one lease handed in together lie, end to end."""
    return f"{run_prefix(environment_uid, run_uid)}packs/{lease}-{sequence}"


def log_key(environment_uid: str, run_uid: str, attempt: str) -> str:
    """Return where one attempt's log lies; `attempt` is `<index>-<attempt>-<epoch>`."""
    return f"{run_prefix(environment_uid, run_uid)}logs/{attempt}.jsonl"


def manifest_prefix(environment_uid: str, run_uid: str) -> str:
    """Return the folder of a run's result manifest."""
    return f"{run_prefix(environment_uid, run_uid)}manifest/"


def manifest_key(environment_uid: str, run_uid: str, epoch: int, sequence: int) -> str:
    """Return where one chunk of a run's manifest lies; names sort in the order of writing."""
    return f"{manifest_prefix(environment_uid, run_uid)}{epoch:08d}-{sequence:08d}.json"


def attempt_name(index: int, attempt: int, epoch: int) -> str:
    """Return the name of one attempt of one task: its key in store paths and in logs."""
    return f"{index}-{attempt}-{epoch}"
