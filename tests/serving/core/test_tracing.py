"""Spans of a request and of its stages, into the SDK's own memory exporter; nothing at all unless asked for."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from tests.serving import serving_tiny as tiny

pytest.importorskip("opentelemetry.sdk")
pytest.importorskip("starlette")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tf_ssgn.runtime import wire
from tf_ssgn.serving.client.calls import search
from tf_ssgn.serving.core import tracing
from tf_ssgn.serving.core.access import Access
from tf_ssgn.serving.core.service import Service, served
from tf_ssgn.serving.http.gateway import Gateway
from tf_ssgn.serving.rpc.server import Server

PARENT = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
PNG = tiny.drawing(4)


@pytest.fixture(scope="module")
def traced(model: Any, gallery: Any) -> Iterator[tuple[Any, str, int]]:
    """The exporter, and where gRPC and HTTP listen."""
    kept, provider, service = InMemorySpanExporter(), TracerProvider(), Service()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    service.traces = tracing.Traces(provider)
    with Server(service, port=0) as server:
        server.publish(served(model, gallery, 1))
        gateway = Gateway(service, ("127.0.0.1", 0), Access())
        yield kept, server.address, gateway.port
        gateway.stop()


def ask(address: str, images: list[bytes], **metadata: str) -> None:
    (_, message) = next(search("ssgn", "search", images, 3))
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(wire.PREDICT)(message.SerializeToString(), timeout=20, metadata=list(metadata.items()))


def spans(kept: Any) -> dict[str, Any]:
    found = {span.name: span for span in kept.get_finished_spans()}
    kept.clear()
    return found


def test_a_request_over_grpc_and_its_stages(traced) -> None:
    kept, address, _ = traced
    kept.clear()
    ask(address, [PNG], **{"x-request-id": "mine", "traceparent": PARENT})
    found = spans(kept)
    assert set(found) == {"grpc Predict", "decode", "queue", "embed", "search"}
    whole = found.pop("grpc Predict")
    assert f"{whole.context.trace_id:032x}" == "a" * 32 and f"{whole.parent.span_id:016x}" == "b" * 16
    assert whole.attributes == {"tf_ssgn.request_id": "mine", "tf_ssgn.code": "OK"}
    last = whole.start_time
    for name in ("decode", "queue", "embed", "search"):
        span = found[name]
        assert span.parent.span_id == whole.context.span_id and span.attributes == {"tf_ssgn.request_id": "mine"}
        assert last <= span.start_time <= span.end_time <= whole.end_time
        last = span.start_time


def test_over_http_too_and_a_refusal_has_no_stages(traced) -> None:
    kept, _, port = traced
    kept.clear()
    for body, names in ((PNG, {"http search", "decode", "queue", "embed", "search"}), (b"", {"http search"})):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        path = "/api/search" if body else "/api/search?k=x"
        connection.request("POST", path, body, {"Content-Type": "image/png", "X-Request-Id": "yours"})
        connection.getresponse().read()
        connection.close()
        found = spans(kept)
        assert set(found) == names
        assert found["http search"].attributes["tf_ssgn.request_id"] == "yours" and found["http search"].parent is None


def test_off_unless_the_standard_variables_ask_for_it(capsys) -> None:
    for given in ({}, {"OTEL_SERVICE_NAME": "x"}, {"OTEL_TRACES_EXPORTER": "none"}):
        assert tracing.from_environment(given) is None
    assert tracing.from_environment({"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"}) is None
    assert capsys.readouterr().err == ""
    for given in (
        {"OTEL_TRACES_EXPORTER": "zipkin"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
    ):
        assert tracing.from_environment(given) is None
        assert len(capsys.readouterr().err.splitlines()) == 1
    made = tracing.from_environment({"OTEL_TRACES_EXPORTER": "console"})
    assert made is not None
    made.close()


def test_nothing_is_noted_where_nobody_traces() -> None:
    with tracing.stage("search"):
        assert tracing.current() is None
