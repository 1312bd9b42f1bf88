"""Metrics of a server in Prometheus' format."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


@dataclass(frozen=True)
class ModelMonitor:
    """The metrics of one model's queue."""

    queue: Gauge
    refused: Counter
    expired: Counter
    skipped: Counter
    batch_size: Histogram
    batch_seconds: Histogram


class Monitor:
    """The metrics of one process."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # memory, file descriptors, processor time
        self.requests = Counter(
            "saccade_requests", "Requests by route and status.", ("route", "status"), registry=registry
        )
        self.request_seconds = Histogram(
            "saccade_request_seconds", "From arrival to response.", ("route",), buckets=SECONDS, registry=registry
        )
        model = ("model",)
        self._queue = Gauge("saccade_queue", "Inputs waiting.", model, registry=registry)
        self._refused = Counter("saccade_refused", "Inputs refused: the queue was full.", model, registry=registry)
        self._expired = Counter("saccade_expired", "Inputs past their deadline.", model, registry=registry)
        self._skipped = Counter("saccade_skipped", "Inputs whose client left.", model, registry=registry)
        self._size = Histogram("saccade_batch_size", "Inputs per batch.", model, buckets=SIZES, registry=registry)
        self._seconds = Histogram("saccade_batch_seconds", "Time per batch.", model, buckets=SECONDS, registry=registry)

    def of_model(self, name: str) -> ModelMonitor:
        """The metrics of one model."""
        return ModelMonitor(
            self._queue.labels(name),
            self._refused.labels(name),
            self._expired.labels(name),
            self._skipped.labels(name),
            self._size.labels(name),
            self._seconds.labels(name),
        )

    def text(self) -> bytes:
        """The response of `/metrics`."""
        return generate_latest(self.registry)
