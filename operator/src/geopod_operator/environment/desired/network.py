"""NetworkPolicies: nodes talk to geopod, to layers and to what is declared, and hear nobody.

Source: operator design, §4. The API server is never open to nodes: it is denied by not being
allowed, because enforcing networks differ on addresses of the cluster itself.
"""

from __future__ import annotations

from geopod.api import deployment, names
from geopod.api.layer import Endpoint
from geopod.api.policies import EgressRule

from geopod_operator.environment.desired.addresses import EVERYWHERE, blocks
from geopod_operator.environment.desired.common import child
from geopod_operator.environment.observed import Raw, Settings
from geopod_operator.environment.resolved import Identity, Resolved

DNS_PORTS = ({"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53})
API_SERVER_PORTS = (443, 6443)


def nodes_policy(resolved: Resolved, settings: Settings) -> Raw:
    """Return the policy of the node pods."""
    identity, network = resolved.identity, resolved.spec.network
    egress = [
        *_dns(settings),
        _to_coordinator(identity),
        gateway_rule(settings),
    ]
    if network.mode != "None":
        egress += _layers(resolved, settings)
        egress += _declared(network.egress, settings)
    if network.mode == "Open":
        egress.append({"to": blocks(EVERYWHERE, never=settings.api_server_cidrs)})
    return policy(names.nodes_name(identity.name), identity, "node", egress=egress)


def coordinator_policy(resolved: Resolved, settings: Settings) -> Raw:
    """Return the policy of the coordinator: its own nodes are heard, and readers of metrics."""
    identity = resolved.identity
    agents = {"podSelector": {"matchLabels": names.child_labels(identity.name, "node")}}
    ingress = [
        {"from": [agents], "ports": _tcp(deployment.COORDINATOR_PORT)},
        {"from": [{"namespaceSelector": {}}], "ports": _tcp(deployment.METRICS_PORT)},
    ]
    egress = [
        *_dns(settings),
        _to_api_server(settings),
        gateway_rule(settings),
        *_layers(resolved, settings),
    ]
    if resolved.spec.network.mode == "Open":
        egress.append({"to": blocks(EVERYWHERE)})
    return policy(
        names.coordinator_name(identity.name),
        identity,
        "coordinator",
        ingress=ingress,
        egress=egress,
    )


def policy(
    name: str,
    identity: Identity,
    component: names.Component,
    *,
    egress: list[Raw],
    ingress: list[Raw] | None = None,
) -> Raw:
    """Return a policy over the pods of one component; without `ingress` nobody is heard."""
    manifest = child(
        "networking.k8s.io/v1", "NetworkPolicy", name, identity=identity, component=component
    )
    manifest["spec"] = {
        "podSelector": {"matchLabels": names.child_labels(identity.name, component)},
        "policyTypes": ["Ingress", "Egress"],
        # An empty list is not stored: each apply of one would count as a change.
        **({"ingress": ingress} if ingress else {}),
        "egress": egress,
    }
    return manifest


def build_policy(namespace: str, settings: Settings) -> Raw:
    """Return the policy of the namespace's builder pods: the one place that reaches an index."""
    labels = {"app.kubernetes.io/managed-by": "geopod", "app.kubernetes.io/component": "builder"}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": names.BUILD_NETWORK_POLICY,
            "namespace": namespace,
            "labels": {**labels, "app.kubernetes.io/name": "geopod"},
        },
        "spec": {
            "podSelector": {"matchLabels": labels},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [
                *_dns(settings),
                gateway_rule(settings),
                {"to": blocks(EVERYWHERE, never=settings.api_server_cidrs)},
            ],
        },
    }


def gateway_rule(settings: Settings) -> Raw:
    """Return the rule that opens the gateway."""
    gateway = {"app.kubernetes.io/name": "geopod", "app.kubernetes.io/component": "gateway"}
    return {
        "to": [
            {
                "namespaceSelector": {
                    "matchLabels": {"kubernetes.io/metadata.name": settings.gateway_namespace}
                },
                "podSelector": {"matchLabels": gateway},
            }
        ],
        "ports": _tcp(deployment.GATEWAY_PORT),
    }


def _dns(settings: Settings) -> list[Raw]:
    cluster_dns = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
        "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
    }
    # Node-local DNS listens on a link-local address: what the administrator names is opened.
    local = [{"ipBlock": {"cidr": it}} for it in settings.dns_cidrs]
    return [{"to": [cluster_dns, *local], "ports": list(DNS_PORTS)}]


def _to_coordinator(identity: Identity) -> Raw:
    labels = names.child_labels(identity.name, "coordinator")
    return {
        "to": [{"podSelector": {"matchLabels": labels}}],
        "ports": _tcp(deployment.COORDINATOR_PORT),
    }


def _to_api_server(settings: Settings) -> Raw:
    return {
        "to": blocks(settings.api_server_cidrs or EVERYWHERE),
        "ports": _tcp(*API_SERVER_PORTS),
    }


def _layers(resolved: Resolved, settings: Settings) -> list[Raw]:
    endpoints = [it for _, layer in sorted(resolved.layers.items()) for it in layer.endpoints]
    rules: list[Raw] = []
    for endpoint in endpoints:
        rule = _endpoint(endpoint, settings)
        if rule["to"] and rule not in rules:
            rules.append(rule)
    return rules


def _endpoint(endpoint: Endpoint, settings: Settings) -> Raw:
    return {
        "to": blocks([endpoint.cidr], never=settings.api_server_cidrs),
        "ports": _tcp(endpoint.port),
    }


def _declared(egress: tuple[EgressRule, ...], settings: Settings) -> list[Raw]:
    rules: list[Raw] = []
    for declared in egress:
        peers = blocks([declared.cidr], never=settings.api_server_cidrs)
        ports = {"ports": _tcp(*declared.ports)} if declared.ports else {}
        if peers:
            rules.append({"to": peers, **ports})
    return rules


def _tcp(*ports: int) -> list[Raw]:
    return [{"protocol": "TCP", "port": port} for port in ports]
