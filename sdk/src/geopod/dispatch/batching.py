"""How many tasks of a map go into one lease."""

from __future__ import annotations

from collections.abc import Sequence

from geopod.api.results import TaskRecord
from geopod.dispatch.state import Lease, Run

TARGET_S = 0.1
"""A batch takes about this long: some 1,000 times the cost of handing it over, and short enough
that cancel, progress and the last nodes of a run do not wait for it."""
MAX_BATCH = 512
"""Bounds what a lost node costs, and one message."""
GROWTH = 8
"""Between batches: from 1 to 512 in three, without trusting one measurement far."""
SMOOTHING = 0.3
MAX_MEASURED_S = 1e6
"""A node reports what it likes; the mean stays a number."""
BRISK_S = 2 * TARGET_S
"""A lease that ends within this may have another one waiting behind it on its node: that hides
the milliseconds of handing over. Behind a longer one, tasks would wait while other nodes idle."""


def batch_size(run: Run, node: int, *, pending: int, ready: int) -> int:
    """Return how many tasks the next lease of a node takes: at least 1, at most a fair share.

    The share is half of what each ready node would get, so that the end of a run is spread. A node
    that is slower than the others takes less.
    """
    share = -(-pending // (2 * max(1, ready)))
    if run.order.batch:
        return max(1, min(run.order.batch, share))
    task_s = pace(run, node)
    if task_s is None:
        return 1
    wanted = int(TARGET_S / max(task_s, 1e-6))
    return max(1, min(wanted, run.reach, MAX_BATCH, share))


def learn(run: Run, lease: Lease, records: Sequence[TaskRecord]) -> None:
    """Take the runtimes of finished tasks into the run's and the node's mean; batches may grow."""
    measured = sum(record.runtime_s for record in records) / len(records)
    measured = min(measured, MAX_MEASURED_S) if measured > 0 else 0.0  # NaN: 0
    run.mean_s = _smoothed(run.mean_s, measured)
    run.paces[lease.node] = _smoothed(run.paces.get(lease.node), measured)
    run.reach = min(MAX_BATCH, max(run.reach, GROWTH * lease.size))


def pace(run: Run, node: int) -> float | None:
    """Return how long one task of the run takes on a node; until it is known, on all of them."""
    return run.paces.get(node, run.mean_s)


def is_brisk(run: Run, lease: Lease) -> bool:
    """Tell whether the lease's rest will be done in a moment, as far as is known."""
    task_s = pace(run, lease.node)
    return lease.partition is None and task_s is not None and task_s * len(lease.open) <= BRISK_S


def _smoothed(known: float | None, measured: float) -> float:
    return measured if known is None else known + SMOOTHING * (measured - known)
