"""Spans of OpenTelemetry: one for each request, with what led to it."""

import httpx
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from saccade.serving.served_model import ServedModel
from saccade.serving.settings import Limits, ServerSettings
from saccade.serving.tracing import Tracing
from saccade.tasks.loading import predictor_of
from tests.serving.conftest import photograph, running, small_source


def test_a_request_is_a_span_below_that_of_its_client() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    model = ServedModel("insects", predictor_of(small_source()))
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    with running(ServerSettings({"insects": ""}, Limits()), [model], tracing=Tracing(provider)) as port:
        url = f"http://127.0.0.1:{port}/v1/models/insects:predict"
        headers = {"x-request-id": "one", "traceparent": f"00-{trace}-{parent}-01", "content-type": "image/png"}
        assert httpx.post(url, content=photograph(), headers=headers).status_code == 200
        assert httpx.post(url, content=b"", headers={"content-type": "text/css"}).status_code == 415
    first, second = exporter.get_finished_spans()
    assert first.attributes == {
        "http.request.method": "POST", "http.route": "/v1/models/insects:predict", "http.response.status_code": 200,
        "saccade.request_id": "one", "saccade.batch_size": 1,
    }  # fmt: skip
    assert f"{first.context.trace_id:032x}" == trace
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == parent
    assert first.end_time > first.start_time  # type: ignore[operator]
    assert second.attributes is not None
    assert (second.attributes["saccade.batch_size"], second.parent) == (0, None)
