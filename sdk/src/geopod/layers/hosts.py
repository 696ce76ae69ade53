"""Which hosts a layer may name: none that answers with what belongs to the machine."""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from geopod.errors import LayerAccessError
from geopod.layers.access import Access

# Metadata services that do not lie in 169.254.0.0/16: AWS over IPv6, Azure, Alibaba, Oracle.
_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("fd00:ec2::254", "168.63.129.16", "100.100.100.200", "192.0.0.192"),
    )
)
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_host(url: str, access: Access, *, path_id: str) -> None:
    """Raise LayerAccessError if the host of `url` is, or resolves to, an address no layer may have.

    Link-local and metadata addresses never, this machine itself only on a user's own. The cluster's
    network policy is the fence behind this one: a name may resolve otherwise a moment later.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        found = socket.getaddrinfo(host, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        raise LayerAccessError.unreachable(
            path_id=path_id,
            words=f"the host {host!r} is not known",
            details={"host": host, "message": str(error)},
        ) from error
    for _, _, _, _, place in found:
        address = ipaddress.ip_address(str(place[0]).partition("%")[0])
        if _is_forbidden(address, is_shared=access.is_shared):
            raise LayerAccessError.unreachable(
                path_id=path_id,
                words=f"{host!r} is {address}, an address that layers may not have",
                details={"host": host},
            )


def is_loopback(url: str) -> bool:
    """Say whether a URL names this machine by its loopback name or address."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_forbidden(address: _Address, *, is_shared: bool) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
        or (is_shared and address.is_loopback)
    )
