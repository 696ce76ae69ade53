"""Environments as processes on this machine: the same coordinator, agents and runners.

Loaded lazily, because supervisors start from modules of this package and count milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geopod.backends import Target
    from geopod.backends.local.backend import LocalBackend

__all__ = ["LocalBackend", "open_target"]


async def open_target(target: Target) -> LocalBackend:
    """Open this machine for `geopod.backends.open_backend`."""
    from geopod.backends.local.backend import LocalBackend  # see above

    return await LocalBackend.open(namespace=target.namespace or "local")


def __getattr__(name: str) -> Any:
    if name == "LocalBackend":
        from geopod.backends.local.backend import LocalBackend  # see above

        return LocalBackend
    raise AttributeError(name)
