"""Waits until a cluster is what was asked for, and says what is wrong if it does not get there."""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .api_client import ApiAnswerError, ApiClient
from .errors import ClusterError
from .objects import GPU, dns_endpoints, dns_service, gpu_patch, simulated_node
from .places import Addresses, Places
from .spec import Spec

READY_S = 420.0
"""On two busy cores, beside another cluster; 8 s is usual."""

POLL_S = 0.1

NOT_YET = (OSError, http.client.HTTPException, ssl.SSLError, ApiAnswerError)


def wait_until_ready(places: Places, spec: Spec, *, alive: Callable[[], bool]) -> None:
    """Add the objects that every cluster has, then wait for every node.

    Raises:
        ClusterError: a part did not come up, with the last line of its log.
    """
    deadline = time.monotonic() + READY_S
    addresses = Addresses(spec.slot)
    with ApiClient(addresses.api_server, places.certificates) as api:

        def until(part: str, what: str, attempt: Callable[[], bool]) -> None:
            def failed() -> ClusterError:
                return _failed(places, part, what, is_there=alive())

            _until(attempt, deadline=deadline, alive=alive, failed=failed)

        until("kube-apiserver", "the API server", lambda: _is_served(api))
        until("coredns", "the DNS service", lambda: _apply_dns(api, addresses))
        for number in range(spec.simulated):
            node = simulated_node(number)
            api.apply(f"/api/v1/nodes/{node['metadata']['name']}", node)
        until("node-0/kubelet", "a node", lambda: _are_nodes_ready(api, places, spec))
        if spec.gpus:
            _offer_gpus(api, spec.gpus)
            until("node-0/kubelet", "the GPU count", lambda: _has_gpus(api, spec.gpus))
        until("kube-controller-manager", "the default service account", lambda: _has_account(api))


def wait_until(holds: Callable[[], bool], *, timeout_s: float) -> None:
    """Ask every `POLL_S` until something holds.

    Raises:
        TimeoutError: it did not within `timeout_s`.
    """

    def failed() -> TimeoutError:
        return TimeoutError(f"it did not hold within {timeout_s} s")

    _until(holds, deadline=time.monotonic() + timeout_s, alive=lambda: True, failed=failed)


def _until(
    attempt: Callable[[], bool],
    *,
    deadline: float,
    alive: Callable[[], bool],
    failed: Callable[[], Exception],
) -> None:
    pause = threading.Event()
    while True:
        try:
            if attempt():
                return
        except NOT_YET:
            pass
        if time.monotonic() > deadline or not alive():
            raise failed()
        pause.wait(POLL_S)


def _is_served(api: ApiClient) -> bool:
    # `kube-system` is made by the API server itself, last of all.
    return bool(api.get("/api/v1/namespaces/kube-system"))


def _apply_dns(api: ApiClient, addresses: Addresses) -> bool:
    api.apply("/api/v1/namespaces/kube-system/services/kube-dns", dns_service())
    path = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns"
    return bool(api.apply(path, dns_endpoints(addresses)))


def _are_nodes_ready(api: ApiClient, places: Places, spec: Spec) -> bool:
    wanted = {f"node-{n}" for n in range(spec.nodes) if not places.node_down(n).exists()}
    wanted |= {f"simulated-{number}" for number in range(spec.simulated)}
    nodes: list[dict[str, Any]] = api.get("/api/v1/nodes")["items"]
    return wanted <= {node["metadata"]["name"] for node in nodes if is_ready(node)}


def is_ready(node: dict[str, Any]) -> bool:
    """Whether a node's Ready condition is True."""
    conditions = node.get("status", {}).get("conditions", ())
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _offer_gpus(api: ApiClient, count: int) -> None:
    api.patch("/api/v1/nodes/node-0/status", gpu_patch(count))


def _has_gpus(api: ApiClient, count: int) -> bool:
    allocatable: dict[str, str] = api.get("/api/v1/nodes/node-0")["status"]["allocatable"]
    return allocatable.get(GPU) == str(count)


def _has_account(api: ApiClient) -> bool:
    return bool(api.get("/api/v1/namespaces/default/serviceaccounts/default"))


def _failed(places: Places, part: str, what: str, *, is_there: bool) -> ClusterError:
    late = f"{what} was not ready in {READY_S:.0f} s"
    fact = late if is_there else f"the cluster ended before {what} was ready"
    return ClusterError(
        f"{fact} (log of {part}: {last_words(places, part)})",
        fix="run `make cluster-up` again; if it stays, look at what the log names",
    )


def last_words(places: Places, part: str) -> str:
    """The last line of a part's log."""
    log: Path = places.logs / f"{part}.log"
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return lines[-1].strip()[:300] if lines else "(nothing written)"
