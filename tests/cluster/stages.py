"""In which order the files of this level run, and which of them beside each other.

Most of their time is waiting: for pods, for back-offs, for the kubelet's next look. So files that
keep to namespaces of their own share the cluster, each in one worker; what shakes or measures the
whole cluster has it to itself.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path


class Stage(StrEnum):
    """One call of pytest after the other."""

    BARE = "bare"
    """Before geopod is installed: an operator of the cluster's would change what tests play."""
    SHARED = "shared"
    """With geopod, each file in namespaces of its own."""
    ALONE = "alone"
    """One after the other; beside them only what asks nothing of this cluster."""


ORDER = {
    Stage.BARE: (
        "test_cluster",
        "test_leftovers",
        "test_coordinator_process",
        "test_operator_process",
        "test_chart",
        "test_services",
        "test_crds",
        "test_sdk_resources",
    ),
    Stage.SHARED: (
        "test_root_causes",
        "test_sdk",
        "test_examples",
        "test_runs",
        "test_ellipsis",
        "test_live_environment",
        "test_any_image",
        "test_images",
        "test_hostile",
        "test_guides",
        "test_layer_secrets",
    ),
    Stage.ALONE: (
        "test_publish_s3",
        "test_sources_s3",
        "test_chart_values",
        "test_chart_objects",
        "test_s3_store",
        "test_bad_input",
    ),
}
"""The files that may run beside others, the longest first; those beside what is alone ask nothing
of the cluster. A file that is not named here is alone.
"""


def stage_of(file: Path) -> Stage:
    """Return when a file of tests runs."""
    return next((stage for stage, names in ORDER.items() if file.stem in names), Stage.ALONE)


def place_of(file: Path) -> int:
    """Return how late within its stage a file begins: at once, if nothing may run beside it."""
    names = ORDER[stage_of(file)]
    return names.index(file.stem) if file.stem in names else -1


def group_of(file: Path) -> str:
    """Return by what the files are called that share a worker: by their own name, or `alone`."""
    return file.stem if place_of(file) >= 0 else Stage.ALONE
