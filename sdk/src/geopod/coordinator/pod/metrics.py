"""Prometheus metrics of a coordinator. Never a run, pod or user name as a label."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

from geopod.api.runs import RunState
from geopod.dispatch import events
from geopod.dispatch.retry import CLASS_OF

if TYPE_CHECKING:
    from geopod.coordinator.service import Coordinator

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)


class Metrics:
    """Counts what happens. A Meter."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._queue = Histogram(
            "geopod_run_queue_seconds", "From creation to start.", registry=registry,
            buckets=SECONDS,
        )  # fmt: skip  # one line less
        self._dispatch = Histogram(
            "geopod_run_dispatch_seconds", "From the coordinator's first sight to the start.",
            registry=registry, buckets=SECONDS,
        )  # fmt: skip  # one line less
        self._duration = Histogram(
            "geopod_run_duration_seconds", "From start to end.", ("result",), registry=registry,
            buckets=SECONDS,
        )  # fmt: skip  # one line less
        self._tasks = Counter("geopod_tasks", "Final tasks.", ("result",), registry=registry)
        self._retries = Counter(
            "geopod_task_retries", "Failed attempts by class.", ("class",), registry=registry
        )
        self._payload = Counter(
            "geopod_payload_bytes", "Functions sent to nodes.", registry=registry
        )
        self._results = Counter("geopod_result_bytes", "Results committed.", registry=registry)
        self._writes = Counter(
            "geopod_status_writes", "Status writes to the API server.", registry=registry
        )
        self._connected = Gauge("geopod_nodes_connected", "Agents connected.", registry=registry)
        self._heartbeat = Gauge(
            "geopod_heartbeat_age_seconds", "Longest silence of an agent.", registry=registry
        )
        self._epoch = Gauge("geopod_epoch", "Epoch of this coordinator.", registry=registry)

    def watch(self, coordinator: Coordinator) -> None:
        """Read nodes and epoch from this coordinator whenever somebody asks."""
        links = coordinator.nodes.links
        self._connected.set_function(lambda: len(links))
        self._heartbeat.set_function(lambda: _longest_silence(coordinator))
        self._epoch.set(coordinator.epoch)
        coordinator.meter = self

    def render(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def wrote(self) -> None:
        """Count one status write."""
        self._writes.inc()

    def ended(self, state: RunState, accepted: float | None) -> None:
        """Count a run that has ended."""
        if state.started is None or state.finished is None:
            return
        if accepted is not None:
            self._dispatch.observe(max(0.0, state.started - accepted))
        self._queue.observe(max(0.0, state.started - state.created))
        self._duration.labels(state.phase).observe(max(0.0, state.finished - state.started))
        self._tasks.labels("Succeeded").inc(state.succeeded)
        self._tasks.labels("Failed").inc(state.failed)
        self._tasks.labels("Cancelled").inc(state.cancelled)

    # ---- Meter

    def happened(self, event: events.Event) -> None:
        """Count what an event says."""
        match event:
            case events.TaskFailed(record=record) if record.failure is not None:
                kind = CLASS_OF.get(record.failure.reason)
                self._retries.labels("none" if kind is None else str(kind)).inc()
            case events.TasksDone(records=records):
                self._results.inc(sum(it.entry.bytes for it in records if it.entry is not None))
            case _:
                pass

    def sent(self, payload_bytes: int) -> None:
        """Count a function that went to a node."""
        self._payload.inc(payload_bytes)


def _longest_silence(coordinator: Coordinator) -> float:
    now = asyncio.get_running_loop().time()
    return max((now - link.heard for link in coordinator.nodes.links.values()), default=0.0)
