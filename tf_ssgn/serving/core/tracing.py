"""A trace of each request for OpenTelemetry, of the `otel` extra: one span for it, and one each for its stages.

Off, at no cost, unless the standard variables ask for it: `OTEL_TRACES_EXPORTER` (`otlp` or `console`),
`OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`. Requests are computed together in other threads,
so stages are noted with their times, and become spans once the request is answered.
"""

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from tf_ssgn.common.cli import log

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


@dataclass(frozen=True)
class Trace:
    """One request: W3C `traceparent` of its caller, when it came, and its stages as (name, from, to) in ns."""

    parent: str | None
    begun: int = field(default_factory=time.time_ns)
    stages: list[tuple[str, int, int]] = field(default_factory=list)


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)
current = _trace.get  # that of the request which this thread or task works for


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Notes a stage of the current request."""
    trace, start = current(), time.time_ns()
    try:
        yield
    finally:
        if trace is not None:
            trace.stages.append((name, start, time.time_ns()))


class Traces:
    """Sends finished requests to a tracer provider of OpenTelemetry's SDK."""

    def __init__(self, provider: Any):
        self._provider, self._tracer = provider, provider.get_tracer("tf_ssgn.serving")

    def begin(self, parent: str | None) -> None:
        _trace.set(Trace(parent))

    def end(self, transport: str, method: str, code: str, identity: str) -> None:
        """Makes the spans of the current request; its images and tokens are in none of them."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        trace = current()
        if trace is None:
            return
        _trace.set(None)
        above = TraceContextTextMapPropagator().extract({"traceparent": trace.parent} if trace.parent else {})
        about = {"tf_ssgn.request_id": identity}
        span = self._tracer.start_span(
            f"{transport} {method}", above, SpanKind.SERVER, {**about, "tf_ssgn.code": code}, start_time=trace.begun
        )
        if code in ("INTERNAL", "UNKNOWN"):
            span.set_status(Status(StatusCode.ERROR))
        inside = set_span_in_context(span)
        for name, start, end in trace.stages:
            self._tracer.start_span(name, inside, attributes=about, start_time=start).end(end)
        span.end()

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()


def from_environment(environment: Mapping[str, str] = os.environ) -> Traces | None:
    """What the OTEL_ variables ask for; None if that is nothing, or a line says why it cannot be done."""
    wanted = environment.get(
        "OTEL_TRACES_EXPORTER", "otlp" if any(environment.get(name) for name in ENDPOINTS) else "none"
    )
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or wanted == "none":
        return None
    try:
        return Traces(_provider(wanted, environment))
    except ImportError as error:
        log(f"no traces: {error.name} is not installed; pip install 'tf_ssgn[otel]'")
    except ValueError as error:
        log(f"no traces: {error}")
    return None


def _provider(wanted: str, environment: Mapping[str, str]) -> Any:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    exporter: Any
    if wanted == "console":
        import sys

        exporter = ConsoleSpanExporter(out=sys.stderr)  # stdout has the line that says ready
    elif wanted == "otlp":
        protocol = environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or environment.get(
            "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"
        )
        if protocol != "grpc":
            raise ValueError(f"received the protocol {protocol!r}, expected grpc")
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter()
    else:
        raise ValueError(f"received OTEL_TRACES_EXPORTER {wanted!r}, expected otlp, console or none")
    named = {} if environment.get("OTEL_SERVICE_NAME") else {"service.name": "tf_ssgn"}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider
