"""A cluster with geopod in it for as long as its questions are asked."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.testcluster import providers
from cluster.testcluster.places import Places, cluster_name

SIMULATED = "--simulated=10"
"""Nodes that the question `scale` puts its pods on."""


@contextmanager
def a_cluster() -> Iterator[dict[str, str]]:
    """Start a cluster, or use the one that runs; hand over the variables that lead to it.

    A cluster that was started here is ended afterwards. One that somebody else gave is used as it
    is, and has to have geopod in it.
    """
    provider = providers.choose(print)
    was_running = bool(provider.status())
    if provider.name == "given":
        yield {"KUBECONFIG": str(provider.kubeconfig)}
        return
    try:
        _run("up", "--nodes=2", SIMULATED, "--fast-controllers")
        _run("build", "helm")
        _run("images")
        _run("deploy")
        yield {"KUBECONFIG": str(Places.of(cluster_name()).kubeconfig)}
    finally:
        if not was_running:
            _run("down")


def _run(*words: str) -> None:
    """Run a command of the test cluster, and let its words be seen."""
    subprocess.run([sys.executable, "-m", "cluster.testcluster", *words], check=True)
