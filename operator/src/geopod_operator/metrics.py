"""What Prometheus reads. Never a run, pod or user name as a label."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from geopod.api import names
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

Raw = dict[str, Any]
NODE_STATES = ("connected", "ready", "busy", "idle", "outdated")
RESULTS = ("ok", "failed")
BUILDS = names.build_name("")
"""How the builders' Jobs begin; those that delete results are no builds."""
READY_BUCKETS_S = (2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)


class Metrics:
    """The operator's metrics in a registry of their own."""

    def __init__(self) -> None:
        """Register all of them."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # twice the series for nothing
        self.registry = CollectorRegistry()
        self._duration = Histogram(
            "geopod_reconcile_duration_seconds",
            "How long one reconcile took.",
            ["kind", "result"],
            registry=self.registry,
        )
        self._requests = Counter(
            "geopod_api_requests",
            "Answers of the API server; code 0: none came.",
            ["verb", "kind", "code"],
            registry=self.registry,
        )
        self._ready = Histogram(
            "geopod_environment_ready_seconds",
            "From the creation of an environment until it was Ready for the first time.",
            buckets=READY_BUCKETS_S,
            registry=self.registry,
        )
        self._build = Histogram(
            "geopod_build_seconds",
            "How long builds of environment bundles took.",
            ["result"],
            buckets=READY_BUCKETS_S,
            registry=self.registry,
        )
        for result in RESULTS:
            self._build.labels(result)  # at zero: an increase from nothing is none
        self._waiting: dict[str, datetime] = {}
        """uid -> creation of environments that were never Ready."""
        self._built: set[str] = set()

    def reconciled(self, kind: str, result: str, seconds: float) -> None:
        """One reconcile ended."""
        self._duration.labels(kind, result).observe(seconds)

    def answered(self, verb: str, kind: str, code: int) -> None:
        """The API server answered."""
        self._requests.labels(verb, kind, str(code)).inc()

    def watch_queue(self, depth: Callable[[], float], oldest_s: Callable[[], float]) -> None:
        """Ask the queue at each scrape."""
        gauges = {
            "geopod_reconcile_queue_depth": ("Keys that are due and not started.", depth),
            "geopod_reconcile_oldest_seconds": ("Age of the oldest work.", oldest_s),
        }
        for name, (text, read) in gauges.items():
            Gauge(name, text, registry=self.registry).set_function(read)

    def watch_objects(
        self,
        environments: Callable[[], Iterable[Raw]],
        watch_ages_s: Callable[[], Mapping[str, float]],
    ) -> None:
        """Ask stores and watches at each scrape."""
        self.registry.register(_Objects(environments, watch_ages_s))

    def saw(self, found: Raw) -> None:
        """An object changed: an environment may be Ready, a build may have ended."""
        if found["kind"] == "ComputeEnvironment":
            self._saw_environment(found)
        elif found["kind"] == "Job" and found["metadata"]["name"].startswith(BUILDS):
            self._saw_job(found)

    def _saw_environment(self, found: Raw) -> None:
        uid = found["metadata"]["uid"]
        ready = _condition(found, "Ready")
        if not ready:
            self._waiting[uid] = _moment(found["metadata"]["creationTimestamp"])
        elif ready["status"] == "True" and uid in self._waiting:
            since = self._waiting.pop(uid)
            seconds = (_moment(ready["lastTransitionTime"]) - since).total_seconds()
            self._ready.observe(max(0.0, seconds))

    def _saw_job(self, found: Raw) -> None:
        status, uid = found.get("status") or {}, found["metadata"]["uid"]
        ended = _condition(found, "Complete") or _condition(found, "Failed")
        if not ended or ended["status"] != "True" or uid in self._built:
            return
        self._built.add(uid)
        if "startTime" in status:
            spent = _moment(ended["lastTransitionTime"]) - _moment(status["startTime"])
            result = "ok" if ended["type"] == "Complete" else "failed"
            self._build.labels(result).observe(max(0.0, spent.total_seconds()))

    def gone(self, found: Raw) -> None:
        """An object is gone."""
        self._waiting.pop(found["metadata"].get("uid", ""), None)
        self._built.discard(found["metadata"].get("uid", ""))

    def render(self) -> bytes:
        """Return all metrics as Prometheus reads them."""
        return generate_latest(self.registry)


class _Objects(Collector):
    """Counts what is there at the time of a scrape."""

    def __init__(
        self,
        environments: Callable[[], Iterable[Raw]],
        watch_ages_s: Callable[[], Mapping[str, float]],
    ) -> None:
        self._environments = environments
        self._watch_ages_s = watch_ages_s

    @override
    def collect(self) -> Iterator[Metric]:
        ages = GaugeMetricFamily(
            "geopod_watch_last_byte_age_seconds",
            "How long the most silent watch of a kind told nothing.",
            labels=["kind"],
        )
        for kind, age in self._watch_ages_s().items():
            ages.add_metric([kind], age)
        yield ages
        yield from self._count_environments()

    def _count_environments(self) -> Iterator[Metric]:
        reasons: Counted[tuple[str, str]] = Counted()
        nodes: Counted[str] = Counted(dict.fromkeys(NODE_STATES, 0))
        for found in self._environments():
            status = found.get("status") or {}
            for held in status.get("conditions") or ():
                reasons[held["type"], held.get("reason") or held["status"]] += 1
            for state in NODE_STATES:
                nodes[state] += (status.get("nodes") or {}).get(state, 0)
        counted = GaugeMetricFamily(
            "geopod_environments",
            "Environments by condition and its reason.",
            labels=["condition", "reason"],
        )
        for labels, number in sorted(reasons.items()):
            counted.add_metric([*labels], number)
        yield counted
        states = GaugeMetricFamily(
            "geopod_nodes", "Nodes of all environments by state.", labels=["state"]
        )
        for state, number in nodes.items():
            states.add_metric([state], number)
        yield states


def _condition(found: Raw, type_: str) -> Raw:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((held for held in conditions if held["type"] == type_), {})


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
