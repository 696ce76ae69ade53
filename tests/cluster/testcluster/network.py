"""Interfaces, routes and iptables rules of a namespace, by the `ip` and `iptables` commands."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import subprocess
from pathlib import Path
from typing import Any

from .errors import ClusterError
from .places import MAX_NODES, POD_NETWORK, Addresses


def run(*command: str) -> str:
    """Standard output of a command that must succeed.

    Raises:
        ClusterError: it failed; the sentence carries its last line.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
        raise ClusterError(
            f"`{' '.join(command)}` failed: {words[0]}",
            fix="root with CAP_NET_ADMIN and CAP_SYS_ADMIN is needed",
        )
    return done.stdout


def taken_networks() -> dict[str, str]:
    """IPv4 networks with an address or a route on this machine → the interface that has them."""
    taken: dict[str, str] = {}
    links: list[dict[str, Any]] = json.loads(run("ip", "-json", "-4", "address") or "[]")
    for link in links:
        for address in link.get("addr_info", ()):
            network = ipaddress.ip_network(
                f"{address['local']}/{address['prefixlen']}", strict=False
            )
            taken[str(network)] = link["ifname"]
    for route in json.loads(run("ip", "-json", "-4", "route") or "[]"):
        if route["dst"] != "default":
            taken[str(ipaddress.ip_network(route["dst"]))] = route.get("dev", "?")
    return taken


def conflict(addresses: Addresses, taken: dict[str, str]) -> str | None:
    """The interface whose addresses overlap with a cluster's network, if there is one."""
    wanted = ipaddress.ip_network(addresses.network)
    for network, interface in taken.items():
        if ipaddress.ip_network(network).overlaps(wanted):
            return interface
    return None


def connect_host(addresses: Addresses, process: int) -> None:
    """Make the one interface on the machine; its other end goes into the namespace of `process`."""
    link = addresses.host_link
    run(*f"ip link add {link} type veth peer name uplink netns {process}".split())
    run(*f"ip address add {addresses.host}/24 dev {link}".split())
    run(*f"ip link set {link} up".split())


def disconnect_host(addresses: Addresses) -> None:
    """Remove a dead cluster's interface, if the kernel has not done so yet."""
    if (Path("/sys/class/net") / addresses.host_link).exists():
        with contextlib.suppress(ClusterError):  # it went in between
            run("ip", "link", "delete", addresses.host_link)


def set_up_switch(addresses: Addresses) -> None:
    """The control plane's namespace: a bridge that joins host, control plane and nodes."""
    run(*["ip", "link", "set", "lo", "up"])
    run(*["ip", "link", "add", "switch", "type", "bridge", "forward_delay", "0"])
    run(*["ip", "link", "set", "uplink", "master", "switch", "up"])
    run(*f"ip address add {addresses.control}/24 dev switch".split())
    run(*["ip", "link", "set", "switch", "up"])
    for number in range(MAX_NODES):  # the API server dials pods through their node
        run(*f"ip route add {addresses.pods(number)} via {addresses.node(number)}".split())


def connect_node(number: int, process: int) -> None:
    """Plug a node's namespace into the switch."""
    port = f"node{number}"
    if port in {link["ifname"] for link in json.loads(run("ip", "-json", "link"))}:
        run("ip", "link", "delete", port)  # the kernel is still clearing away a dead namespace
    run(*f"ip link add {port} type veth peer name eth0 netns {process}".split())
    run(*f"ip link set {port} master switch up".split())


def set_up_node(addresses: Addresses, number: int) -> None:
    """A node's namespace: its address, the pod bridge, routes to the other nodes' pods."""
    run(*["ip", "link", "set", "lo", "up"])
    run(*f"ip address add {addresses.node(number)}/24 dev eth0".split())
    run(*["ip", "link", "set", "eth0", "up"])
    run(*f"ip route add default via {addresses.control}".split())
    run(*["ip", "link", "add", "cni0", "type", "bridge", "forward_delay", "0"])
    run(*f"ip address add {addresses.pod_gateway(number)}/24 dev cni0".split())
    run(*["ip", "link", "set", "cni0", "up"])
    for peer in range(MAX_NODES):
        if peer != number:
            run(*f"ip route add {addresses.pods(peer)} via {addresses.node(peer)}".split())
    set_kernel("net/ipv4/ip_forward", "1")
    # Without it a few slow downloads out of pods stall for ever: late segments count as invalid.
    set_kernel("net/netfilter/nf_conntrack_tcp_be_liberal", "1")
    rule = f"-s {addresses.pods(number)} ! -d {POD_NETWORK} -j MASQUERADE"
    run("iptables", "-w", "-t", "nat", "-A", "POSTROUTING", *rule.split())


def set_kernel(name: str, value: str) -> None:
    """Write a setting of this network namespace, if this kernel has it."""
    path = Path("/proc/sys") / name
    if path.exists():
        path.write_text(value, "ascii")
