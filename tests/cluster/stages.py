"""In which order the files of this level run, and which of them beside each other.

Most of their time is waiting: for pods, for back-offs, for the kubelet's next look. So files that
keep to namespaces of their own share the cluster, each in one worker; what shakes or measures the
whole cluster has it to itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Wait:
    """What a file would wait for, begun earlier where one process runs all files in turn."""

    fixture: str
    """It starts what then only needs time."""
    meanwhile: tuple[str, ...]
    """The files that run just before the one that waits; it begins with the first of them."""


WAITS = {
    "test_budgets": Wait("sleeper", ("test_ellipsis", "test_examples", "test_guides")),
    # It fills the machines: only what makes no environment there runs beside it.
    "test_root_causes": Wait(
        "ward", ("test_bad_input", "test_publish_s3", "test_s3_store", "test_sources_s3")
    ),
}


def turns_of(files: Iterable[str]) -> list[str]:
    """Return the names of files in the order in which one process runs them."""
    turns = list(dict.fromkeys(files))
    for waiting, wait in WAITS.items():
        if waiting in turns:
            before = [name for name in wait.meanwhile if name in turns]
            turns = [name for name in turns if name not in before]
            place = turns.index(waiting)
            turns[place:place] = before
    return turns


def begun_with(file: str, turns: Sequence[str]) -> list[str]:
    """Return the fixtures of later files that begin with this one."""
    return [
        wait.fixture
        for waiting, wait in WAITS.items()
        if waiting in turns and file == next((it for it in turns if it in wait.meanwhile), None)
    ]


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
