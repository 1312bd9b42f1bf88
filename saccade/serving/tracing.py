"""A span of OpenTelemetry for each request. The extra `otel`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from saccade.deferred import Deferred
from saccade.errors import ConfigError

propagate, trace = Deferred("opentelemetry.propagate"), Deferred("opentelemetry.trace")
sdk, resources = Deferred("opentelemetry.sdk.trace"), Deferred("opentelemetry.sdk.resources")
export = Deferred("opentelemetry.sdk.trace.export")
otlp = Deferred("opentelemetry.exporter.otlp.proto.http.trace_exporter")


@dataclass(frozen=True)
class Answered:
    """One request with its response.

    Attributes:
        method, route, status: of HTTP.
        request_id: of the response.
        batch_size: inputs of the batch that it was in; 0 for none.
        start, end: nanoseconds since 1970.
    """

    method: str
    route: str
    status: int
    request_id: str
    batch_size: int
    start: int
    end: int


class Tracing:
    """Records requests as spans, below those of the clients that send a `traceparent`.

    Args:
        provider: a `TracerProvider` of OpenTelemetry.
    """

    def __init__(self, provider: Any):
        self.tracer = provider.get_tracer("saccade")

    def record(self, answered: Answered, headers: Mapping[str, str]) -> None:
        attributes = {
            "http.request.method": answered.method, "http.route": answered.route,
            "http.response.status_code": answered.status, "saccade.request_id": answered.request_id,
            "saccade.batch_size": answered.batch_size,
        }  # fmt: skip
        span = self.tracer.start_span(
            f"{answered.method} {answered.route}", propagate.extract(headers), kind=trace.SpanKind.SERVER,
            attributes=attributes, start_time=answered.start,
        )  # fmt: skip
        if answered.status >= 500:
            span.set_status(trace.StatusCode.ERROR)
        span.end(answered.end)


def start_tracing() -> Tracing:
    """Spans that are sent by OTLP to the collector that OpenTelemetry's own environment variables name.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        provider = sdk.TracerProvider(resource=resources.Resource.create({"service.name": "saccade"}))
        provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
    except ImportError as error:
        raise ConfigError(f"--trace needs the extra `otel`: pip install 'saccade[otel]' ({error})") from None
    return Tracing(provider)
