"""Cost of each encoding that receivers take, in one process: from a body to the records of topic `spans`.

python -m benchmarks.encodings [--spans 20000] [--spans-per-request 100]

The same spans in each encoding. CPU microseconds a span, the least of some rounds: to make an OTLP request of a body,
and with the encoding of its records, which all have in common.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.span_encoder import Request, SpanEncoder
from benchmarks import workload
from tables.units import NS_PER_S
from tables.wire.jaeger import jaeger_pb2
from tables.wire.jaeger.protobuf import post_spans_to_otlp
from tables.wire.jaeger.thrift import batch_to_otlp
from tables.wire.otlp.json import to_protobuf
from tables.wire.zipkin.json import version2_to_otlp
from tests.helpers.receiving import jaeger

ROUNDS: Final = 3
PARTITIONS: Final = 4
NS_PER_US: Final = 1000
ZIPKIN_KINDS: Final = {2: "SERVER", 3: "CLIENT", 4: "PRODUCER", 5: "CONSUMER"}
JAEGER_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
Message = Any


def as_json(request: Message) -> list[bytes]:
    """OTLP's JSON, as SDKs for browsers send it."""
    tree = json_format.MessageToDict(request, use_integers_for_enums=True)
    for source, resource in zip(request.resource_spans, tree["resourceSpans"], strict=True):
        for scope_source, scope in zip(source.scope_spans, resource["scopeSpans"], strict=True):
            for one, span in zip(scope_source.spans, scope["spans"], strict=True):
                span |= {"traceId": one.trace_id.hex(), "spanId": one.span_id.hex()}
                if one.parent_span_id:
                    span["parentSpanId"] = one.parent_span_id.hex()
                for link_source, link in zip(one.links, span.get("links", ()), strict=True):
                    link |= {"traceId": link_source.trace_id.hex(), "spanId": link_source.span_id.hex()}
    return [json.dumps(tree, separators=(",", ":")).encode()]


def each_span(request: Message) -> Any:
    """Each resource with each of its spans."""
    for resource in request.resource_spans:
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield resource.resource, span


def value_of(pair: Message) -> Any:
    """The plain value of an attribute; a text for lists."""
    kind = pair.value.WhichOneof("value")
    value = getattr(pair.value, kind)
    return value if kind in ("string_value", "int_value", "bool_value", "double_value") else str(value)


def as_zipkin(request: Message) -> list[bytes]:
    """Zipkin's JSON, version 2."""
    spans = []
    for resource, span in each_span(request):
        service = next((one.value.string_value for one in resource.attributes if one.key == "service.name"), "")
        start_us = span.start_time_unix_nano // NS_PER_US
        found = {
            "traceId": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "name": span.name,
            "timestamp": start_us,
            "duration": max(1, span.end_time_unix_nano // NS_PER_US - start_us),
            "localEndpoint": {"serviceName": service},
            "tags": {one.key: str(value_of(one)) for one in (*resource.attributes, *span.attributes)},
            "annotations": [{"timestamp": one.time_unix_nano // NS_PER_US, "value": one.name} for one in span.events],
        }
        if span.parent_span_id:
            found["parentId"] = span.parent_span_id.hex()
        if span.kind in ZIPKIN_KINDS:
            found["kind"] = ZIPKIN_KINDS[span.kind]
        spans.append(found)
    return [json.dumps(spans, separators=(",", ":")).encode()]


def thrift_batches(request: Message) -> list[Any]:
    """A batch for each process, as Jaeger's clients send them."""
    batches = []
    for resource in request.resource_spans:
        spans = []
        for scope in resource.scope_spans:
            for span in scope.spans:
                tags = [jaeger.tag(one.key, value_of(one)) for one in span.attributes]
                if span.kind in JAEGER_KINDS:
                    tags.append(jaeger.tag("span.kind", JAEGER_KINDS[span.kind]))
                logs = [
                    jaeger.log(
                        one.time_unix_nano // NS_PER_US,
                        jaeger.tag("event", one.name),
                        *(jaeger.tag(each.key, value_of(each)) for each in one.attributes),
                    )
                    for one in span.events
                ]
                start_us = span.start_time_unix_nano // NS_PER_US
                spans.append(
                    jaeger.span(
                        int.from_bytes(span.span_id, "big", signed=True),
                        trace_id_high=int.from_bytes(span.trace_id[:8], "big", signed=True),
                        trace_id_low=int.from_bytes(span.trace_id[8:], "big", signed=True),
                        parent_span_id=int.from_bytes(span.parent_span_id, "big", signed=True),
                        name=span.name.encode(),
                        start_us=start_us,
                        duration_us=span.end_time_unix_nano // NS_PER_US - start_us,
                        tags=tags,
                        logs=logs,
                    )
                )
        tags = [jaeger.tag(one.key, value_of(one)) for one in resource.resource.attributes if one.key != "service.name"]
        names = [one.value.string_value for one in resource.resource.attributes if one.key == "service.name"]
        batches.append(jaeger.batch(*spans, service=names[0] if names else "", tags=tags))
    return batches


def as_thrift(request: Message) -> list[bytes]:
    """Jaeger's Thrift over HTTP."""
    return [jaeger.encoded(batch, "binary") for batch in thrift_batches(request)]


def as_jaeger(request: Message) -> list[bytes]:
    """Jaeger's gRPC: each span with its process."""

    def pairs(attributes: Any) -> list[Any]:
        return [jaeger_pb2.KeyValue(key=one.key.encode(), **_typed(value_of(one))) for one in attributes]

    spans = []
    for resource, span in each_span(request):
        took_ns = span.end_time_unix_nano - span.start_time_unix_nano
        names = [one.value.string_value.encode() for one in resource.attributes if one.key == "service.name"]
        references = []
        if span.parent_span_id:
            references.append(jaeger_pb2.SpanRef(trace_id=span.trace_id, span_id=span.parent_span_id))
        spans.append(
            jaeger_pb2.Span(
                trace_id=span.trace_id,
                span_id=span.span_id,
                operation_name=span.name.encode(),
                references=references,
                start_time=_time(Timestamp, span.start_time_unix_nano),
                duration=_time(Duration, took_ns),
                tags=pairs(span.attributes),
                logs=[
                    jaeger_pb2.Log(timestamp=_time(Timestamp, one.time_unix_nano), fields=pairs(one.attributes))
                    for one in span.events
                ],
                process=jaeger_pb2.Process(
                    service_name=names[0] if names else b"",
                    tags=pairs([one for one in resource.attributes if one.key != "service.name"]),
                ),
            )
        )
    batch = jaeger_pb2.Batch(spans=[span.SerializeToString() for span in spans])
    return [jaeger_pb2.PostSpansRequest(batch=batch).SerializeToString()]


def _typed(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"v_type": 1, "v_bool": value}
    if isinstance(value, int):
        return {"v_type": 2, "v_int64": value}
    if isinstance(value, float):
        return {"v_type": 3, "v_float64": value}
    return {"v_str": value.encode()}


def _time(kind: Any, time_ns: int) -> Any:
    return kind(seconds=time_ns // NS_PER_S, nanos=time_ns % NS_PER_S)


# Name, OTLP request → bodies, body → OTLP request.
ENCODINGS: Final[Sequence[tuple[str, Callable[[Message], list[bytes]], Callable[[bytes], bytes]]]] = (
    ("OTLP protobuf", lambda request: [request.SerializeToString()], lambda body: body),
    ("OTLP JSON", as_json, lambda body: to_protobuf(body).body),
    ("Jaeger gRPC", as_jaeger, post_spans_to_otlp),
    ("Jaeger Thrift", as_thrift, lambda body: batch_to_otlp(body, "binary")),
    ("Zipkin JSON", as_zipkin, lambda body: version2_to_otlp(body, 0)),
)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encodings", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--spans-per-request", type=int, default=100)
    given = parser.parse_args(argv)
    file = workload.cached(workload.Options(given.spans, spans_per_request=given.spans_per_request))
    requests = [ExportTraceServiceRequest.FromString(body) for body in workload.Requests(file)]
    spans = sum(1 for request in requests for _ in each_span(request))
    print("| encoding | bytes a span | to OTLP, µs a span | to records | of OTLP's |\n|---|---|---|---|---|")
    whole_s: list[float] = []
    for name, encode, to_otlp in ENCODINGS:
        bodies = [encode(request) for request in requests]
        size = sum(len(body) for some in bodies for body in some)
        translate_s, records_s = measured(bodies, to_otlp)
        whole_s.append(translate_s + records_s)
        print(
            f"| {name} | {size / spans:.0f} | {translate_s / spans * 1e6:.1f} | {whole_s[-1] / spans * 1e6:.1f} | "
            f"{whole_s[-1] / whole_s[0]:.1f} |",
            flush=True,
        )
    return 0


def measured(bodies: Sequence[Sequence[bytes]], to_otlp: Callable[[bytes], bytes]) -> tuple[float, float]:
    """CPU seconds to translate, and to encode records of eight requests a batch."""
    encoder = SpanEncoder(1 << 22, 65_536, 10.0)
    translate_s = records_s = float("inf")
    for _ in range(ROUNDS):
        began_s = time.process_time()
        translated = [b"".join([to_otlp(body) for body in some]) for some in bodies]
        ended_s = time.process_time()
        for at in range(0, len(translated), 8):
            encoder.encode([Request("t", body) for body in translated[at : at + 8]], PARTITIONS, fast_path_only=True)
        translate_s, records_s = min(translate_s, ended_s - began_s), min(records_s, time.process_time() - ended_s)
    return translate_s, records_s


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
