"""Environments as processes on this machine: the same coordinator, agents and runners.

Loaded lazily, because supervisors start from modules of this package and count milliseconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geopod.backends.local.backend import LocalBackend

__all__ = ["LocalBackend"]


def __getattr__(name: str) -> Any:
    if name == "LocalBackend":
        from geopod.backends.local.backend import LocalBackend  # see above

        return LocalBackend
    raise AttributeError(name)
