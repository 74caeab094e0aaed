"""The encodings of messages with spans, as the OpenTelemetry Collector's Kafka exporter writes them → OTLP requests."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from tables.wire.jaeger.json import span_json_to_otlp
from tables.wire.jaeger.protobuf import span_to_otlp
from tables.wire.otlp.json import to_protobuf, unknown_text
from tables.wire.zipkin.json import version2_to_otlp
from tables.wire.zipkin.protobuf import protobuf_to_otlp
from tables.wire.zipkin.thrift import thrift_to_otlp


class Translated(NamedTuple):
    """An ExportTraceServiceRequest. left_out: spans that are not in it; text: where they were"""

    body: bytes
    left_out: int = 0
    text: str = ""


# A message, when it was written (Unix microseconds), and the CPU seconds that it may take. Raises: WireError
Translate = Callable[[bytes, int, float], Translated]


def _otlp_json(message: bytes, _written_us: int, cpu_s_max: float) -> Translated:
    converted = to_protobuf(message, cpu_s_max)
    text = unknown_text(converted.unknown) if converted.unknown else ""
    return Translated(converted.body, converted.left_out, text)


def _without_time(read: Callable[[bytes], bytes]) -> Translate:
    return lambda message, _written_us, _cpu_s_max: Translated(read(message))


def _with_time(read: Callable[[bytes, int], bytes]) -> Translate:
    """Spans without any time began when the message was written: then a replay gives them the same."""
    return lambda message, written_us, _cpu_s_max: Translated(read(message, written_us))


# None: a message is such a request already.
ENCODINGS: Final[Mapping[str, Translate | None]] = {
    "otlp_proto": None,
    "otlp_json": _otlp_json,
    "jaeger_proto": _without_time(span_to_otlp),
    "jaeger_json": _without_time(span_json_to_otlp),
    "zipkin_proto": _with_time(protobuf_to_otlp),
    "zipkin_json": _with_time(version2_to_otlp),
    "zipkin_thrift": _with_time(thrift_to_otlp),
}
