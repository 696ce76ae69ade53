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
    """Open this machine for `geopod.backends.open_backend`; raises ConfigError without a folder."""
    from geopod.backends.local.backend import LocalBackend  # see above
    from geopod.backends.local.state import state_root, unusable

    try:
        return await LocalBackend.open(namespace=target.namespace or "local")
    except OSError as error:
        raise unusable(state_root(), error) from error


def __getattr__(name: str) -> Any:
    if name == "LocalBackend":
        from geopod.backends.local.backend import LocalBackend  # see above

        return LocalBackend
    raise AttributeError(name)
