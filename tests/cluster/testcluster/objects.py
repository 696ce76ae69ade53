"""Objects that every cluster of ours has: DNS, simulated nodes, GPUs. Decides contents only."""

from __future__ import annotations

from typing import Any

from .places import DNS_SERVICE_ADDRESS, Addresses

SIMULATED_TAINT = "kwok.x-k8s.io/node"
"""Keeps real pods off simulated nodes; a pod that wants one tolerates it."""

GPU = "nvidia.com/gpu"
SIMULATED_GPU_MODEL = "geopod-simulated"


def dns_service() -> dict[str, Any]:
    """Without a selector: CoreDNS is a process beside the nodes, not a pod."""
    ports = [
        {"name": "dns", "port": 53, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
    ]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"clusterIP": DNS_SERVICE_ADDRESS, "ports": ports},
    }


def dns_endpoints(addresses: Addresses) -> dict[str, Any]:
    """Where CoreDNS listens."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [addresses.control], "conditions": {"ready": True}}],
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP"},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
        ],
    }


def simulated_node(number: int) -> dict[str, Any]:
    """A node that only kwok plays."""
    name = f"simulated-{number}"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, "type": "simulated"},
            "annotations": {"kwok.x-k8s.io/node": "fake"},
        },
        "spec": {"taints": [{"key": SIMULATED_TAINT, "value": "fake", "effect": "NoSchedule"}]},
    }


def gpu_patch(count: int) -> list[dict[str, Any]]:
    """JSON patch of a node's status. Allocatable follows by itself and the kubelet keeps it."""
    path = f"/status/capacity/{GPU.replace('/', '~1')}"
    return [{"op": "add", "path": path, "value": str(count)}]
