"""What a Prometheus server reads at `/metrics`; without `prometheus_client`, of the `web` extra, nothing is counted."""

import importlib.util
from collections.abc import Callable
from typing import Any

from tf_ssgn.serving.core.batcher import Batch

# Seconds; one query takes milliseconds, a full queue of them about a second.
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry: Any = None
        if importlib.util.find_spec("prometheus_client") is None:
            return
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        own = {"registry": self.registry}
        self._requests = Counter(
            "tf_ssgn_requests", "Answered requests by status code", ("transport", "method", "code"), **own
        )
        self._latency = Histogram(
            "tf_ssgn_request_seconds", "From arrival to answer", ("transport", "method"), buckets=BUCKETS, **own
        )
        self._stage = Histogram(
            "tf_ssgn_stage_seconds", "Waiting in the queue, or computing a batch", ("stage",), buckets=BUCKETS, **own
        )
        self._rows = Histogram("tf_ssgn_batch_rows", "Images computed together", buckets=ROWS, **own)
        self._reloads = Counter("tf_ssgn_reloads", "New versions of model or gallery", ("outcome",), **own)
        self._gauges = {
            name: Gauge(f"tf_ssgn_{name}", text, **own)
            for name, text in (
                ("queue_waiting", "Requests that wait"),
                ("model_version", "Version that answers"),
                ("gallery_version", "Version that answers"),
                ("gallery_items", "Items in it"),
            )
        }

    def request(self, transport: str, method: str, code: str, seconds: float) -> None:
        if self.registry is not None:
            self._requests.labels(transport, method, code).inc()
            self._latency.labels(transport, method).observe(seconds)

    def batch(self, batch: Batch) -> None:
        if self.registry is not None:
            self._rows.observe(batch.rows)
            self._stage.labels("compute").observe(batch.seconds)
            for seconds in batch.waited:
                self._stage.labels("queue").observe(seconds)

    def reload(self, outcome: str) -> None:
        if self.registry is not None:
            self._reloads.labels(outcome).inc()

    def follow(self, name: str, value: Callable[[], float]) -> None:
        """A gauge that is asked for its value whenever somebody reads the metrics."""
        if self.registry is not None:
            self._gauges[name].set_function(value)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        if self.registry is None:
            return b""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
