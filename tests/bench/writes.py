"""What is written to the API server, from its audit log: a run, a map, and Kubernetes' own Job.

Asked on a process cluster with geopod in it, as `make bench LEVEL=cluster` starts one: others keep
no audit log.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.functions import nothing
from bench.kubernetes import MINOR, NAMESPACE, SMALL, _image, _job, a_namespace
from bench.measure import Row, spread
from cluster.audit_builders import Audit
from cluster.testcluster.kubectl import Kubectl
from cluster.testcluster.places import Places, cluster_name

TASKS, JOB_TASKS = 10_000, 20
MOST_OF_A_RUN, MOST_OF_A_MAP = 6.0, 10.0
QUIET_S = 12.0
"""Kubelets look every ten seconds whether a node is ready, and others write what they find."""


def writes() -> list[Row]:
    """Count what geopod and Kubernetes write for the same work."""
    import geopod

    with asyncio.Runner() as runner, a_namespace(runner) as api:
        kubectl, log = _reach()
        with geopod.connect(namespace=NAMESPACE) as client:
            environment = client.environment("writes", nodes=2, interpreter=MINOR, **SMALL)
            environment.execute(nothing, progress=False)
            _until_quiet(kubectl, log)
            before = Audit.now(log, kubectl)
            environment.execute(nothing, progress=False)
            _until_quiet(kubectl, log)
            one = _count(before)
            before = Audit.now(log, kubectl)
            found = list(environment.map(nothing, range(TASKS), progress=False))
            _until_quiet(kubectl, log)
            many = _count(before)
            assert len(found) == TASKS
            environment.delete()
        image = runner.run(_image(api))
        before = Audit.now(log, kubectl)
        runner.run(_job(api, "written", image, JOB_TASKS))
        _until_quiet(kubectl, log)
        job = _count(before)
    return [
        _row("a run on two nodes", one, MOST_OF_A_RUN, job, JOB_TASKS),
        _row(f"a map of {TASKS:,} tasks on two nodes", many, MOST_OF_A_MAP, job, JOB_TASKS),
    ]


def _reach() -> tuple[Kubectl, Path]:
    places = Places.of(cluster_name())
    kubectl = Kubectl(str(places.commands / "kubectl"), places.kubeconfig, NAMESPACE)
    return kubectl, places.audit_log


def _until_quiet(kubectl: Kubectl, log: Path) -> None:
    """Wait until nobody writes any more of what began before: a start, the run before."""
    while True:
        before = Audit.now(log, kubectl)
        time.sleep(QUIET_S)  # noqa: TID251  # nothing tells of nothing
        if not _count(before):
            return


def _count(before: Audit) -> float:
    """Return the writes in the bench's namespace that were not refused."""
    return float(
        sum(it.is_write and it.code < 400 and it.namespace == NAMESPACE for it in before.requests())
    )


def _row(what: str, count: float, limit: float, job: float, tasks: int) -> Row:
    peer = f"Indexed Job of {tasks}"
    spreads = {"geopod": spread([count]), "limit": spread([limit]), peer: spread([job])}
    notes = {peer: "a pod per task, so this many again for as many more tasks"}
    question = f"writes to the API server: {what}"
    return Row(question, spreads, {"limit": 1.0}, unit="writes", notes=notes)
