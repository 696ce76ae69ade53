"""Which builder objects of a namespace nobody needs: no environment names their key."""

from __future__ import annotations

from collections.abc import Iterable

from geopod_operator.environment.observed import Raw
from geopod_operator.environment.outcome import Delete


def sweep_builds(objects: Iterable[Raw], environments: Iterable[Raw]) -> tuple[Delete, ...]:
    """Return what to delete among the builder's Jobs, Secrets, ConfigMaps of one namespace.

    `objects`: those with the labels of `names.child_labels(…, "builder")`; `environments`: all
    ComputeEnvironments of the namespace.
    """
    del objects, environments
    return ()
