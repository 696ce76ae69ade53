"""Ranges of addresses in network policies: what is open, less what never is."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from geopod_operator.environment.observed import Raw

Network = IPv4Network | IPv6Network
NEVER = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "fd20:ce::254/128")
"""Link-local, and the metadata services of clouds that lie elsewhere: they hand out credentials."""
EVERYWHERE = ("0.0.0.0/0", "::/0")


def blocks(cidrs: Iterable[str], *, never: Iterable[str] = ()) -> list[Raw]:
    """Return the peers that open these ranges, less link-local and the ranges in `never`.

    A range that lies inside a closed one, or is none, is left out; one around it has an exception.
    """
    closed = [it for it in map(_network, (*NEVER, *never)) if it is not None]
    peers: list[Raw] = []
    for text in cidrs:
        network = _network(text)
        block = _block(network, closed) if network is not None else None
        if block is not None and block not in peers:
            peers.append(block)
    return peers


def is_closed(cidr: str) -> bool:
    """Say whether a range lies inside one that is never open, or is no range at all."""
    network = _network(cidr)
    return network is None or any(_contains(ip_network(it), network) for it in NEVER)


def _network(text: str) -> Network | None:
    """Return a range of addresses; the schema's pattern lets some through that are none."""
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _block(network: Network, closed: Iterable[Network]) -> Raw | None:
    holes: list[str] = []
    for hole in closed:
        if _contains(hole, network):
            return None
        if _contains(network, hole) and str(hole) not in holes:
            holes.append(str(hole))
    block: Raw = {"cidr": str(network)}
    return {"ipBlock": {**block, "except": sorted(holes)} if holes else block}


def _contains(outer: Network, inner: Network) -> bool:
    if isinstance(outer, IPv4Network):
        return isinstance(inner, IPv4Network) and inner.subnet_of(outer)
    return isinstance(inner, IPv6Network) and inner.subnet_of(outer)
