"""What a changed record asks of running processes. PURE."""

from __future__ import annotations

from geopod.backends.local.state import StoredEnvironment

_RESTARTING_FIELDS = ("interpreter", "env", "secrets", "resources", "gpu", "enableGpu")
"""Fields of the spec that a process reads at its start alone."""
_PLANNED_FIELDS = ("layers", "files", "partitioning")


def needs_restart(before: StoredEnvironment, after: StoredEnvironment) -> bool:
    """Say whether processes must be exchanged for a change to take effect."""
    if (before.python, before.requirements_key) != (after.python, after.requirements_key):
        return True
    return any(before.spec.get(name) != after.spec.get(name) for name in _RESTARTING_FIELDS)


def needs_plan(before: StoredEnvironment, after: StoredEnvironment) -> bool:
    """Say whether the partition plan depends on what has changed, or was asked for anew."""
    if after.replanned > before.replanned or before.sources != after.sources:
        return True
    return any(before.spec.get(name) != after.spec.get(name) for name in _PLANNED_FIELDS)
