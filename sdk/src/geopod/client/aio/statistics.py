"""Numbers and origins of a run, from its records: how long, how much memory, out of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from geopod.api import names
from geopod.api.plan import decode_plan
from geopod.api.results import TaskRecord
from geopod.errors.wording import size_text, span_text
from geopod.store import KeyMissingError

if TYPE_CHECKING:
    from geopod.client.aio.run import Run


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class RunStats:
    """How a run's finished tasks went; seconds and bytes, 0 while nothing has ended."""

    tasks: int
    finished: int
    failed: int
    retried: int
    queued_s: float
    """From submission to the first task."""
    wall_s: float
    """From the first task to the end, or to the last state that was heard."""
    runtime_min_s: float
    runtime_p50_s: float
    runtime_p99_s: float
    runtime_max_s: float
    runtime_total_s: float
    """Seconds of all nodes together."""
    peak_max_bytes: int
    result_bytes: int
    log_bytes: int
    tasks_by_node: dict[int, int]

    @override
    def __repr__(self) -> str:
        return (
            f"<RunStats {self.finished} of {self.tasks} tasks ended, {self.failed} failed, "
            f"ran {span_text(self.wall_s)}>"
        )

    @override
    def __str__(self) -> str:
        spread = " / ".join(
            f"{value:.3f}"
            for value in (
                self.runtime_min_s,
                self.runtime_p50_s,
                self.runtime_p99_s,
                self.runtime_max_s,
            )
        )
        return (
            f"{self.finished} of {self.tasks} tasks ended, {self.failed} failed, "
            f"{self.retried} attempts more\n"
            f"waited {span_text(self.queued_s)}, ran {span_text(self.wall_s)}, "
            f"{self.runtime_total_s:.2f} s of node time\n"
            f"seconds of a task (least / half / 99 of 100 / most): {spread}\n"
            f"peak {size_text(self.peak_max_bytes)}, results {size_text(self.result_bytes)}, "
            f"logs {size_text(self.log_bytes)}, {len(self.tasks_by_node)} nodes"
        )

    def _repr_html_(self) -> str:
        """Return a card for notebooks."""
        from geopod.display.html import card, code  # only in a notebook

        return card("Statistics", f"{self.tasks} tasks", code(str(self)))


async def run_stats(run: Run) -> RunStats:
    """Return the numbers of a run, finished or not."""
    records = await run.records()
    runtimes = sorted(record.runtime_s for record in records if not record.skipped) or [0.0]
    state = run.state
    started = state.started or state.created or run.order.created
    return RunStats(
        tasks=run.total,
        finished=len(records),
        failed=sum(record.failure is not None for record in records),
        retried=max(state.retried, sum(record.attempt - 1 for record in records)),
        queued_s=max(started - run.order.created, 0.0),
        wall_s=max((state.finished or started) - started, 0.0),
        runtime_min_s=runtimes[0],
        runtime_p50_s=_percentile(runtimes, 50),
        runtime_p99_s=_percentile(runtimes, 99),
        runtime_max_s=runtimes[-1],
        runtime_total_s=sum(runtimes),
        peak_max_bytes=max((record.peak_bytes for record in records), default=0),
        result_bytes=sum(record.entry.bytes for record in records if record.entry is not None),
        log_bytes=sum(record.log_bytes for record in records),
        tasks_by_node=dict(sorted(Counter(record.node for record in records).items())),
    )


async def run_provenance(run: Run) -> dict[str, Any]:
    """Return what a run's results were made of and by, as JSON-able values."""
    order, function = run.order, run.order.function
    records = await run.records()
    return {
        "run": {"name": order.name, "uid": order.uid, "tags": list(order.tags)},
        "environment": {"uid": order.environment},
        "created": order.created,
        "finished": run.state.finished,
        "phase": run.phase,
        "function": {
            "name": function.name,
            "format": function.format,
            "sha256": function.sha256,
            "python": function.python,
        },
        "arguments": None if order.arguments is None else order.arguments.sha256,
        "options": {"mode": order.mode, "onEmpty": order.on_empty, "writeTo": order.write_to},
        "rerunOf": order.rerun_of or None,
        **await _inputs(run),
        "results": {record.index: _result(record) for record in records if record.failure is None},
    }


async def _inputs(run: Run) -> dict[str, Any]:
    """Return the layers and files of the run's plan, with the versions that were planned on."""
    sha256 = await run.plan_sha256()
    if not sha256:
        return {"plan": None, "layers": [], "files": []}
    try:
        data = await run.store.get(names.plan_key(run.order.environment, sha256))
    except KeyMissingError:
        return {"plan": sha256, "layers": [], "files": []}
    plan = decode_plan(data)
    layers = [
        {
            "key": layer.key,
            "pathId": layer.path_id,
            "timestamp": layer.timestamp,
            "date": layer.date,
            "hrefs": list(layer.hrefs),
            "version": dict(layer.version),
        }
        for layer in plan.layers
    ]
    files = [{"key": file.key, "sha256": file.sha256, "bytes": file.bytes} for file in plan.files]
    return {"plan": sha256, "layers": layers, "files": files}


def _result(record: TaskRecord) -> dict[str, Any]:
    entry = record.entry
    return {
        "node": record.node,
        "attempt": record.attempt,
        "codec": None if entry is None else entry.codec,
        "sha256": None if entry is None else entry.sha256,
        "bytes": 0 if entry is None else entry.bytes,
        "used": list(record.touched),
    }


def _percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the smallest value that `percent` of 100 do not exceed."""
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]
