"""What the gateway counts. Never a token, key, tenant or user name as a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)


class Metrics:
    """Counters of one gateway process, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self.registry = registry
        self.requests = Counter(
            "geopod_gateway_requests", "Answers.", ("method", "status"), registry=registry
        )
        self.refusals = Counter(
            "geopod_gateway_refusals", "Requests not carried out.", ("reason",), registry=registry
        )
        self.seconds = Histogram(
            "geopod_gateway_request_seconds",
            "Time to the end of an answer.",
            ("method",),
            buckets=SECONDS,
            registry=registry,
        )
        self.payload = Counter(
            "geopod_gateway_payload_bytes", "Bytes of objects.", ("direction",), registry=registry
        )
        self.free = Gauge(
            "geopod_gateway_free_bytes", "Room on the disk above the reserve.", registry=registry
        )
        self.stored = Gauge(
            "geopod_gateway_stored_bytes", "Bytes of all objects.", registry=registry
        )
        self.expired = Counter(
            "geopod_gateway_expired", "Runs whose results were removed.", registry=registry
        )
