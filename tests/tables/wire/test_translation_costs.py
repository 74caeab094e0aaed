"""The cost of translating a body to OTLP grows with its bytes, whatever they are; what would cost more is refused."""

import struct
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.errors import WireError
from tables.wire.jaeger.json import span_json_to_otlp
from tables.wire.jaeger.protobuf import post_spans_to_otlp, usual_post_spans_to_otlp
from tables.wire.jaeger.thrift import batch_to_otlp, usual_batch_to_otlp
from tables.wire.otlp.clean import tagged
from tables.wire.span_parts import SPAN_BYTES_MAX
from tables.wire.thrift_structs import Encoding
from tables.wire.usual import Unusual
from tables.wire.zipkin.json import version1_to_otlp, version2_to_otlp
from tables.wire.zipkin.protobuf import protobuf_to_otlp
from tables.wire.zipkin.thrift import thrift_to_otlp
from tests.helpers.receiving import jaeger

Read = Callable[[bytes], bytes]
ENCODINGS: list[Encoding] = ["binary", "compact"]

TRACE_ID, SPAN_ID = bytes(range(1, 17)), bytes(range(1, 9))
# As often as bytes of ordinary spans.
COST_MAX = 120
BODY_BYTES = 64 << 10

jaeger_thrift = partial(batch_to_otlp, encoding="binary")
zipkin_thrift = partial(thrift_to_otlp, received_us=1)
zipkin_protobuf = partial(protobuf_to_otlp, received_us=1)
zipkin_1, zipkin_2 = partial(version1_to_otlp, received_us=1), partial(version2_to_otlp, received_us=1)


def i64(number: int, value: int) -> bytes:
    """A field of a struct in binary Thrift that holds an integer of 64 bits."""
    return struct.pack(">Bhq", 10, number, value)


def structs(number: int, item: bytes, count: int) -> bytes:
    """A field of Thrift: a list of equal structs."""
    return struct.pack(">BhBi", 15, number, 12, count) + item * count


def field(number: int, *contents: bytes) -> bytes:
    """Fields of protobuf with the same number."""
    return b"".join(tagged(number << 3 | 2, content) for content in contents)


JAEGER_IDS = i64(1, 1) + i64(3, 2)
ZIPKIN_IDS = i64(1, 1) + i64(4, 2)
JAEGER_MESSAGE_IDS = field(1, TRACE_ID) + field(2, SPAN_ID)
ZIPKIN_MESSAGE_IDS = field(1, TRACE_ID) + field(3, SPAN_ID)


def of_jaeger_span(number: int, item: bytes, size: int) -> bytes:
    """A batch with a span of which one list is long."""
    return structs(2, JAEGER_IDS + structs(number, item, size // len(item)) + b"\0", 1) + b"\0"


def of_zipkin_span(number: int, item: bytes, size: int) -> bytes:
    """A list with a span of which one list is long."""
    return structs(1, ZIPKIN_IDS + structs(number, item, size // len(item)) + b"\0", 1)[3:]


def of_jaeger_message(number: int, item: bytes, size: int) -> bytes:
    """PostSpans with a span of which one field is there often."""
    return field(1, field(1, JAEGER_MESSAGE_IDS + field(number, item) * (size // (len(item) + 2))))


def of_zipkin_message(number: int, item: bytes, size: int) -> bytes:
    return field(1, ZIPKIN_MESSAGE_IDS + field(number, item) * (size // (len(item) + 2)))


def of_zipkin_json(name: str, item: str, size: int) -> bytes:
    items = ",".join([item] * (size // (len(item) + 1)))
    return f'[{{"traceId":"{TRACE_ID.hex()}","id":"{SPAN_ID.hex()}","{name}":[{items}]}}]'.encode()


def of_jaeger_json(name: str, size: int) -> bytes:
    return f'{{"{name}":[{",".join(["{}"] * (size // 3))}]}}'.encode()


SHAPES: list[tuple[str, Read, Callable[[int], bytes]]] = [
    ("Jaeger Thrift, empty spans", jaeger_thrift, lambda n: structs(2, b"\0", n) + b"\0"),
    ("Jaeger Thrift, spans of ids", jaeger_thrift, lambda n: structs(2, JAEGER_IDS + b"\0", n // 23) + b"\0"),
    ("Jaeger Thrift, references", jaeger_thrift, partial(of_jaeger_span, 6, b"\0")),
    ("Jaeger Thrift, tags", jaeger_thrift, partial(of_jaeger_span, 10, b"\0")),
    ("Jaeger Thrift, logs", jaeger_thrift, partial(of_jaeger_span, 11, b"\0")),
    ("Jaeger Thrift, logs of times", jaeger_thrift, partial(of_jaeger_span, 11, i64(1, 1) + b"\0")),
    ("Jaeger protobuf, empty spans", post_spans_to_otlp, lambda n: field(1, field(1, b"") * (n // 2))),
    ("Jaeger protobuf, spans of ids", post_spans_to_otlp, lambda n: field(1, field(1, JAEGER_MESSAGE_IDS) * (n // 30))),
    ("Jaeger protobuf, references", post_spans_to_otlp, partial(of_jaeger_message, 4, b"")),
    ("Jaeger protobuf, tags", post_spans_to_otlp, partial(of_jaeger_message, 8, b"")),
    ("Jaeger protobuf, logs", post_spans_to_otlp, partial(of_jaeger_message, 9, b"")),
    ("Jaeger protobuf, logs of tags", post_spans_to_otlp, partial(of_jaeger_message, 9, field(2, b""))),
    ("Jaeger JSON, tags", span_json_to_otlp, partial(of_jaeger_json, "tags")),
    ("Jaeger JSON, logs", span_json_to_otlp, partial(of_jaeger_json, "logs")),
    ("Zipkin Thrift, empty spans", zipkin_thrift, lambda n: structs(1, b"\0", n)[3:]),
    ("Zipkin Thrift, spans of ids", zipkin_thrift, lambda n: structs(1, ZIPKIN_IDS + b"\0", n // 23)[3:]),
    ("Zipkin Thrift, annotations", zipkin_thrift, partial(of_zipkin_span, 6, b"\0")),
    ("Zipkin Thrift, annotations of texts", zipkin_thrift, partial(of_zipkin_span, 6, b"\x0b\0\2\0\0\0\1a\0")),
    ("Zipkin Thrift, binary annotations", zipkin_thrift, partial(of_zipkin_span, 8, b"\0")),
    ("Zipkin protobuf, annotations", zipkin_protobuf, partial(of_zipkin_message, 10, b"")),
    ("Zipkin protobuf, annotations of texts", zipkin_protobuf, partial(of_zipkin_message, 10, field(2, b"a"))),
    ("Zipkin protobuf, tags", zipkin_protobuf, partial(of_zipkin_message, 11, b"")),
    ("Zipkin JSON, annotations", zipkin_2, partial(of_zipkin_json, "annotations", "{}")),
    ("Zipkin JSON, annotations of texts", zipkin_2, partial(of_zipkin_json, "annotations", '{"value":"a"}')),
    ("Zipkin JSON 1, annotations", zipkin_1, partial(of_zipkin_json, "annotations", "{}")),
    ("Zipkin JSON 1, annotations of texts", zipkin_1, partial(of_zipkin_json, "annotations", '{"value":"a"}')),
    ("Zipkin JSON 1, binary annotations", zipkin_1, partial(of_zipkin_json, "binaryAnnotations", "{}")),
]


def cpu_s(read: Read, body: bytes) -> float:
    """CPU seconds to translate the body, or to refuse it."""
    began_s = time.thread_time()
    with suppress(WireError):
        read(body)
    return time.thread_time() - began_s


@pytest.fixture(scope="module")
def ordinary() -> bytes:
    spans = [jaeger.span(n + 1, tags=[jaeger.tag(f"key.{k}", f"value {k}") for k in range(8)]) for n in range(200)]
    return jaeger.encoded(jaeger.batch(*spans), "binary")


@pytest.mark.parametrize(("read", "make"), [shape[1:] for shape in SHAPES], ids=[shape[0] for shape in SHAPES])
def test_no_bytes_cost_much_more_than_others(read: Read, make: Callable[[int], bytes], ordinary: bytes) -> None:
    body = make(BODY_BYTES)
    assert BODY_BYTES - 200 < len(body) < BODY_BYTES + 200
    # In turns: the machine may have others to serve.
    costs = [(cpu_s(read, body), cpu_s(jaeger_thrift, ordinary)) for _ in range(3)]
    cost_s, ordinary_s = (min(each) for each in zip(*costs, strict=True))
    assert cost_s / len(body) < COST_MAX * ordinary_s / len(ordinary)


@pytest.mark.parametrize(
    ("read", "make"),
    [
        (jaeger_thrift, partial(of_jaeger_span, 11, i64(1, 1) + b"\0")),
        (post_spans_to_otlp, partial(of_jaeger_message, 9, field(2, field(1, b"a")))),
        (zipkin_thrift, partial(of_zipkin_span, 6, b"\x0b\0\2\0\0\0\1a\0")),
        (zipkin_protobuf, partial(of_zipkin_message, 10, field(2, b"a"))),
        (zipkin_2, partial(of_zipkin_json, "annotations", '{"value":"a"}')),
        (zipkin_1, partial(of_zipkin_json, "annotations", '{"value":"a"}')),
    ],
)
def test_a_span_has_limits(read: Read, make: Callable[[int], bytes]) -> None:
    """Of its bytes, and of its parts: one of them stops a long message early, and says which span it is."""
    assert read(make(BODY_BYTES))
    for size in (SPAN_BYTES_MAX - 1000, SPAN_BYTES_MAX + (1 << 20)):
        with pytest.raises(WireError, match=r"are allowed|can have"):
            read(make(size))


SPANS = [
    jaeger.span(n + 1, tags=[jaeger.tag("text", "x" * (n % 900))], logs=[jaeger.log(n, jaeger.tag("event", "e"))])
    for n in range(500)
]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_long_batch_is_read_as_short_ones(encoding: Encoding) -> None:
    """A batch above 64 KiB is read span by span, and becomes the spans that small batches become."""
    whole = jaeger.encoded(jaeger.batch(*SPANS), encoding)
    short = [jaeger.encoded(jaeger.batch(*SPANS[at : at + 20]), encoding) for at in range(0, len(SPANS), 20)]
    assert len(whole) > 2 * BODY_BYTES > 6 * max(map(len, short))
    found = [spans_of(batch_to_otlp(whole, encoding))]
    assert found == [[span for body in short for span in spans_of(batch_to_otlp(body, encoding))]]
    assert len(found[0]) == len(SPANS)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_usual_form_of_thrift(encoding: Encoding) -> None:
    """Few enough parts are read at once, and become the same."""
    usual = jaeger.encoded(jaeger.batch(*SPANS), encoding)
    assert usual_batch_to_otlp(usual, encoding) == batch_to_otlp(usual, encoding)
    for spans in (
        SPANS * 2,
        [jaeger.span(1, logs=[jaeger.log(1)] * 1000)],
        [jaeger.span(1, references=[jaeger.reference(1, 2, 3)] * 1000)],
    ):
        unusual = jaeger.encoded(jaeger.batch(*spans, SPANS[0]), encoding)
        assert batch_to_otlp(unusual, encoding)
        with pytest.raises(Unusual):
            usual_batch_to_otlp(unusual, encoding)


def test_the_usual_form_of_protobuf() -> None:
    (usual,) = jaeger.posted()
    assert usual_post_spans_to_otlp(usual) == post_spans_to_otlp(usual)
    for parts in (
        field(1, JAEGER_MESSAGE_IDS) * 1001,
        field(1, JAEGER_MESSAGE_IDS + field(9, field(2, field(1, b"a"))) * 1000),
        field(1, JAEGER_MESSAGE_IDS + field(4, JAEGER_MESSAGE_IDS) * 1000),
    ):
        unusual = field(1, parts)
        assert post_spans_to_otlp(unusual)
        with pytest.raises(Unusual):
            usual_post_spans_to_otlp(unusual)


def test_the_process_of_a_long_batch_may_come_last() -> None:
    batch = jaeger.batch(*SPANS)
    spans = struct.pack(">BhBi", 15, 2, 12, len(SPANS)) + b"".join(jaeger.encoded(one, "binary") for one in SPANS)
    process = b"\x0c\0\1" + jaeger.encoded(batch.process, "binary")
    assert jaeger_thrift(spans + process + b"\0") == jaeger_thrift(jaeger.encoded(batch, "binary"))


def spans_of(request: bytes) -> list[bytes]:
    (resource,) = ExportTraceServiceRequest.FromString(request).resource_spans
    return [span.SerializeToString() for scope in resource.scope_spans for span in scope.spans]
