"""OTLP over HTTP: what each request is answered, without Kafka."""

import asyncio
import gzip
import json
import random
import time
import zlib
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from google.protobuf import json_format
from google.rpc.status_pb2 import Status
from multidict import CIMultiDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.receivers.input_budget import InputBudget, InputBytes, Overloaded
from app.receivers.otlp.http import BodyLimits, build_http_receiver
from app.receivers.otlp.json import _json_text, to_protobuf
from tables.errors import WireError
from tests.app.receivers.test_decompress import EMPTY, block, framed, lz4, zstd

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


class Gather:
    """In place of the batcher: keeps what came, answers what the test wants."""

    def __init__(self, answer: Outcome | Exception) -> None:
        self.answer = answer
        self.came: list[tuple[str, bytes]] = []

    async def add(self, tenant: str, body: bytes, held: InputBytes | None = None) -> Outcome:
        self.came.append((tenant, body))
        if held is not None:
            held.release()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


TAKEN = Outcome(1)
LIMITS = BodyLimits(10_000, 5_000, 0.5)


def post(
    body: bytes,
    headers: Mapping[str, str],
    answer: Outcome | Exception = TAKEN,
    *,
    multitenancy: bool = False,
    limits=None,
    budget: InputBudget | None = None,
) -> tuple[int, dict[str, str], bytes, Gather]:
    gather = Gather(answer)

    async def run() -> tuple[int, dict[str, str], bytes]:
        access = Access(multitenancy=multitenancy)
        app = build_http_receiver(gather, access, limits or LIMITS, budget)  # type: ignore[arg-type]
        server = TestServer(app)
        await server.start_server(auto_decompress=False)  # as http_runner
        async with TestClient(server) as client:
            reply = await client.post("/v1/traces", data=BytesIO(body), headers=headers)
            return reply.status, dict(reply.headers), await reply.read()

    return *asyncio.run(run()), gather


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        pytest.param(lambda b: b, None, id="plain"),
        pytest.param(gzip.compress, "gzip", id="gzip"),
        pytest.param(zlib.compress, "deflate", id="deflate"),
        pytest.param(raw_deflate, "deflate", id="deflate without a head"),
        pytest.param(lambda b: gzip.compress(b[:3]) + gzip.compress(b[3:]) + bytes(9), "GZIP", id="gzip twice"),
        pytest.param(lambda b: b, "identity", id="identity"),
        pytest.param(lambda b: b, "", id="an empty Content-Encoding"),
        pytest.param(lambda b: b, " , identity", id="nothing, twice"),
        pytest.param(zlib.compress, "zlib", id="zlib"),
        pytest.param(zstd, "zstd", id="zstd"),
        pytest.param(lz4, "lz4", id="lz4"),
        pytest.param(block, "snappy", id="a block of snappy"),
        pytest.param(framed, "snappy", id="framed snappy"),
        pytest.param(framed, "x-snappy-framed", id="x-snappy-framed"),
    ],
)
def test_bodies_arrive_decompressed(encode: Any, encoding: str | None) -> None:
    """The receiver hands on the request's own bytes."""
    headers = {"Content-Type": PROTOBUF, **({} if encoding is None else {"Content-Encoding": encoding})}
    status, sent, body, gather = post(encode(b"request"), headers)
    assert (status, sent["Content-Type"], body) == (200, PROTOBUF, b"")
    assert gather.came == [("single-tenant", b"request")]


@pytest.mark.parametrize(
    ("answer", "status", "code", "text"),
    [
        pytest.param(Outcome(malformed="not OTLP: why"), 400, 3, "not OTLP: why", id="malformed"),
        pytest.param(KafkaUnavailable("Kafka is away"), 503, 14, "Kafka is away", id="Kafka away"),
        pytest.param(Overloaded("too much"), 429, 8, "too much", id="overloaded"),
    ],
)
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_refusals(content_type: str, answer: Outcome | Exception, status: int, code: int, text: str) -> None:
    """A google.rpc.Status in the request's own format; what may be sent again says when."""
    body = b"{}" if content_type == JSON else b""
    got, headers, reply, _ = post(body, {"Content-Type": content_type}, answer)
    assert (got, headers["Content-Type"].partition(";")[0]) == (status, content_type)
    assert headers.get("Retry-After") == ("1" if status in (429, 503) else None)
    said = json.loads(reply) if content_type == JSON else Status.FromString(reply)
    found = (said["code"], said["message"]) if content_type == JSON else (said.code, said.message)
    assert found == (code, text)


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        pytest.param(b"x", {"Content-Type": "text/plain"}, 415, "text/plain", id="unknown type"),
        pytest.param(b"no", {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, 400, "gzip", id="not gzip"),
        pytest.param(bytes(10_001), {"Content-Type": PROTOBUF}, 413, "max_request_body_size", id="too large"),
        pytest.param(
            gzip.compress(bytes(10_001)),
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            413,
            "max_request_body_size",
            id="too large when decompressed",
        ),
        pytest.param(
            gzip.compress(bytes(300_000_000)),
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            413,
            "max_request_body_size",
            id="far too large when decompressed",
        ),
        pytest.param(
            gzip.compress(b"request")[:-4],
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            400,
            "end is missing",
            id="half of gzip",
        ),
        pytest.param(b"x", {"Content-Type": PROTOBUF, "Content-Encoding": "br"}, 415, "'br'", id="unknown encoding"),
        pytest.param(
            b'{"a": "%s"}' % (b"x" * 5000), {"Content-Type": JSON}, 413, "max_json_body_size", id="large JSON"
        ),
        pytest.param(b"[" + b"{}," * 1600 + b"{}]", {"Content-Type": JSON}, 400, "very small", id="small objects"),
        pytest.param(b"[1]", {"Content-Type": JSON}, 400, "not an object", id="JSON of another shape"),
        pytest.param(b"{", {"Content-Type": JSON}, 400, "not JSON", id="no JSON"),
    ],
)
def test_bad_requests(body: bytes, headers: dict[str, str], status: int, text: str) -> None:
    """Refused with what is wrong; nothing is handed on."""
    got, _, reply, gather = post(body, headers)
    assert (got, gather.came) == (status, [])
    assert text in reply.decode(errors="replace")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param({}, 401, id="none"),
        pytest.param({"X-Scope-OrgID": "a/b"}, 400, id="a slash"),
        pytest.param({"X-Scope-OrgID": "a,b"}, 400, id="two in one"),
        pytest.param([("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "b")], 400, id="two"),
        pytest.param([("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "a")], 400, id="one twice"),
        pytest.param([("X-Scope-OrgID", "a"), *[("Authorization", "x")] * 2], 400, id="two tokens"),
        pytest.param({"X-Scope-OrgID": "team-a"}, 200, id="a name"),
    ],
)
def test_tenants(header: dict[str, str], status: int) -> None:
    """With multitenancy each request names its tenant."""
    pairs = header.items() if isinstance(header, dict) else header
    headers = CIMultiDict([("Content-Type", PROTOBUF), *pairs])
    got, _, _, gather = post(b"r", headers, multitenancy=True)
    assert got == status
    assert gather.came == ([("team-a", b"r")] if status == 200 else [])


def test_partial_success() -> None:
    """The reply counts what was left out, and says why."""
    _, _, body, _ = post(b"r", {"Content-Type": PROTOBUF}, Outcome(received=5, rejected=2, too_large=1))
    reply = ExportTraceServiceResponse.FromString(body).partial_success
    assert reply.rejected_spans == 3
    assert "2 of 5 spans" in reply.error_message
    assert "max_message_bytes" in reply.error_message
    _, _, body, _ = post(b"{}", {"Content-Type": JSON}, Outcome(received=5, rejected=2))
    assert json.loads(body)["partialSuccess"]["rejectedSpans"] == "2"


SPAN = {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174", "parentSpanId": ""}


def wrapped(span: dict[str, Any], *, snake: bool = False) -> bytes:
    names = ("resource_spans", "scope_spans") if snake else ("resourceSpans", "scopeSpans")
    return json.dumps({names[0]: [{names[1]: [{"spans": [span]}]}]}).encode()


@pytest.mark.parametrize(
    ("body", "field", "value"),
    [
        pytest.param(wrapped(SPAN), "trace_id", bytes.fromhex(SPAN["traceId"]), id="hex of either case"),
        pytest.param(wrapped(SPAN), "parent_span_id", b"", id="empty id"),
        pytest.param(wrapped({"trace_id": "0a" * 16}, snake=True), "trace_id", b"\n" * 16, id="proto names"),
        pytest.param(wrapped({**SPAN, "kind": 2}), "kind", 2, id="enum by number"),
        pytest.param(wrapped({**SPAN, "kind": "SPAN_KIND_CLIENT"}), "kind", 3, id="enum by name"),
        pytest.param(wrapped({**SPAN, "startTimeUnixNano": "17"}), "start_time_unix_nano", 17, id="int64 as text"),
        pytest.param(wrapped({**SPAN, "endTimeUnixNano": 17}), "end_time_unix_nano", 17, id="int64 as number"),
        pytest.param(wrapped({**SPAN, "unheardOf": {"a": 1}}), "name", "", id="unknown fields are passed over"),
        pytest.param(wrapped({**SPAN, "parentSpanId": None}), "parent_span_id", b"", id="null for an id"),
        pytest.param(wrapped({**SPAN, "name": None, "kind": None}), "name", "", id="null for nothing"),
        pytest.param(
            wrapped({**SPAN, "links": None, "attributes": [None]}), "dropped_links_count", 0, id="null in lists"
        ),
        pytest.param(wrapped({**SPAN, "kind": "2"}), "kind", 2, id="enum by number in text"),
        pytest.param(wrapped({**SPAN, "startTimeUnixNano": 17.0}), "start_time_unix_nano", 17, id="int64 as float"),
        pytest.param(
            wrapped({**SPAN, "startTimeUnixNano": str(2**64 - 1)}), "start_time_unix_nano", 2**64 - 1, id="2^64-1"
        ),
        pytest.param(
            wrapped({**SPAN, "name": "HERE"}).replace(b"HERE", b"a\\ud83db"), "name", "a\ufffdb", id="half an emoji"
        ),
        pytest.param(
            wrapped({**SPAN, "name": "HERE"}).replace(b"HERE", b"\\\\ud83d \\ud83d\\ude00 \\ude00"),
            "name",
            "\\ud83d 😀 \ufffd",
            id="half an emoji beside a whole one and a backslash",
        ),
        pytest.param(
            wrapped({**SPAN, "name": "HERE"}).replace(b"HERE", b"a\xffb"),
            "name",
            "a\ufffdb",
            id="a byte that is no UTF-8",
        ),
    ],
)
def test_json(body: bytes, field: str, value: object) -> None:
    """OTLP's JSON, and protobuf's own names."""
    message = ExportTraceServiceRequest.FromString(to_protobuf(body).body)
    assert getattr(message.resource_spans[0].scope_spans[0].spans[0], field) == value


@pytest.mark.parametrize(
    ("span", "text"),
    [
        pytest.param({"traceId": "xyz"}, r"spans\[0\].traceId is 'xyz'", id="not hex"),
        pytest.param({"traceId": "5B8EFFF7 98038103D269B633813FC60C"}, r"traceId is '5B8", id="blanks in an id"),
        pytest.param({"traceId": "abc"}, r"traceId is 'abc'", id="half a byte"),
        pytest.param({"traceId": 7}, r"spans\[0\].traceId is not a string", id="a number as id"),
        pytest.param({"links": [{"spanId": "q"}]}, r"links\[0\].spanId", id="in a link"),
        pytest.param({"name": 7}, "name", id="wrong type"),
        pytest.param({"startTimeUnixNano": "soon"}, "startTimeUnixNano", id="not a time"),
    ],
)
def test_bad_json(span: dict[str, Any], text: str) -> None:
    """The error says where."""
    with pytest.raises(WireError, match=text):
        to_protobuf(wrapped({**SPAN, **span}))


def test_large_bodies() -> None:
    """Those that take long are read on a thread, and arrive as they are."""
    data = random.Random(1).randbytes(3_000_000)
    limits = BodyLimits(4_000_000, 4_000_000)
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{**SPAN, "name": "x" * 50_000}]}]}]}).encode()
    zipped = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
    _, _, _, gather = post(gzip.compress(data, 1), zipped, limits=limits)
    assert gather.came == [("single-tenant", data)]
    _, _, _, gather = post(text, {"Content-Type": JSON}, limits=limits)
    assert gather.came == [("single-tenant", to_protobuf(text).body)]


def test_deeply_nested_json() -> None:
    """Refused, not a crash."""
    deep = '{"arrayValue": {"values": [' * 500 + '{"stringValue": "x"}' + "]}}" * 500
    text = wrapped({**SPAN, "attributes": [{"key": "k", "value": "HERE"}]}).decode().replace('"HERE"', deep)
    with pytest.raises(WireError):
        to_protobuf(text.encode())


ODD_VALUES = [
    ({"stringValue": None}, {}),
    ({"doubleValue": "NaN"}, {"doubleValue": "NaN"}),
    ({"doubleValue": "-Infinity"}, {"doubleValue": "-Infinity"}),
    ({"doubleValue": 3}, {"doubleValue": 3.0}),
    ({"doubleValue": "1e3"}, {"doubleValue": 1000.0}),
    ({"intValue": 5}, {"intValue": "5"}),
    ({"intValue": 5.0}, {"intValue": "5"}),
    ({"intValue": "-9223372036854775808"}, {"intValue": "-9223372036854775808"}),
    ({"bytesValue": "-_8="}, {"bytesValue": "+/8="}),
    ({"bytesValue": "+/8"}, {"bytesValue": "+/8="}),
    ({"arrayValue": {"values": [{"stringValue": "a"}, None]}}, {"arrayValue": {"values": [{"stringValue": "a"}, {}]}}),
    ({"kvlistValue": {"values": [{"key": "a", "value": None}]}}, {"kvlistValue": {"values": [{"key": "a"}]}}),
    (None, {}),
]


@pytest.mark.parametrize(("sent", "kept"), ODD_VALUES)
def test_json_values(sent: Any, kept: Any) -> None:
    """Numbers as text and as numbers, bytes in either base64, null as nothing."""
    body = wrapped({**SPAN, "attributes": [{"key": "k", "value": sent}]})
    message = ExportTraceServiceRequest.FromString(to_protobuf(body).body)
    (attribute,) = message.resource_spans[0].scope_spans[0].spans[0].attributes
    assert json_format.MessageToDict(attribute).get("value", {}) == kept


@pytest.mark.parametrize("lists", [24, 25, 60, 300])
def test_deep_values(lists: int) -> None:
    """What is inside more lists than are kept is kept as JSON in bytes, and the rest of the batch as ever."""
    value: Any = {"stringValue": 'a"\u00f6'}
    for number in range(lists):
        kind = "kvlistValue" if number % 3 == 0 else "arrayValue"
        value = {kind: {"values": [{"key": "k", "value": value} if kind == "kvlistValue" else value]}}
    # By hand: what writes JSON does not go so deep.
    body = wrapped({**SPAN, "attributes": [{"key": "k", "value": "@"}, {"key": "l", "value": {"intValue": 1}}]})
    text = _json_text(value)
    (span,) = (
        ExportTraceServiceRequest.FromString(to_protobuf(body.replace(b'"@"', text.encode())).body)
        .resource_spans[0]
        .scope_spans[0]
        .spans
    )
    assert span.attributes[1].value.int_value == 1
    found = span.attributes[0].value
    for _ in range(min(lists, 24)):
        (found,) = (
            found.array_value.values
            if found.HasField("array_value")
            else [pair.value for pair in found.kvlist_value.values]
        )
    if lists == 24:
        assert found.string_value == 'a"\u00f6'
    else:
        assert found.bytes_value.decode() in text
        assert found.bytes_value.startswith(b'{"')


def test_a_byte_order_mark() -> None:
    """Some editors write one in front."""
    assert to_protobuf(b"\xef\xbb\xbf" + wrapped(SPAN)) == to_protobuf(wrapped(SPAN))


@pytest.mark.parametrize("text", ["%%%", "AA AA", "AA==AA", "AA\n", "+/-_", "A"])
def test_bytes_that_are_not_base64(text: str) -> None:
    """Refused: what a lenient reader makes of them is something else than was meant."""
    with pytest.raises(WireError):
        to_protobuf(wrapped({**SPAN, "attributes": [{"key": "k", "value": {"bytesValue": text}}]}))


@pytest.mark.parametrize(
    ("request_", "left_out", "text"),
    [
        (
            {"resourceSpans": [{"instrumentationLibrarySpans": [{"spans": [SPAN, SPAN]}, {"spans": [SPAN]}]}]},
            3,
            "resourceSpans[0].instrumentationLibrarySpans",
        ),
        ({"resourcespans": [{"scopeSpans": [{"spans": [SPAN]}]}]}, 1, "resourcespans"),
        ({"resourceSpans": [{"scopeSpans": [{"Spans": [SPAN, SPAN]}]}]}, 2, "resourceSpans[0].scopeSpans[0].Spans"),
        (
            {"resourceSpans": [{"instrumentationLibrarySpans": {"spans": [SPAN, SPAN]}}]},
            2,
            "instrumentationLibrarySpans",
        ),
        ({"batches": [{"scopeSpans": [{"spans": [SPAN, {}]}, {"spans": [SPAN]}]}]}, 3, "batches"),
        ({"trace": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]}}, 1, "trace,"),
        ({"data": [{"spans": [{"traceID": "1", "spanID": "2"}]}]}, 1, "data"),
        ({"resourceSpans": [{"scopeSpans": [{"moreSpans": []}], "other": [SPAN]}]}, 1, "resourceSpans[0].other"),
        ({"resourceSpans": [{"other": [{"a": [1, None, {}]}], "resource": {"x": [SPAN]}}], "b": 1}, 0, ""),
    ],
)
def test_unknown_fields_with_spans(request_: Any, left_out: int, text: str) -> None:
    """They are not dropped without a word: partial success names the field."""
    _, _, body, _ = post(json.dumps(request_).encode(), {"Content-Type": JSON}, Outcome(received=0))
    told = json.loads(body).get("partialSuccess", {})
    assert int(told.get("rejectedSpans", 0)) == left_out
    assert text in told.get("errorMessage", "")


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"resourceSpans": [], "resource_spans": []}, "there twice"),
        ({"resourceSpans": {}}, "is not a list"),
        ({"resourceSpans": [7]}, r"resourceSpans\[0\] is not an object"),
        ({"resourceSpans": [{"scopeSpans": [{"spans": [[]]}]}]}, r"spans\[0\] is not an object"),
    ],
)
def test_json_of_other_shapes(request_: Any, text: str) -> None:
    """The error says where."""
    with pytest.raises(WireError, match=text):
        to_protobuf(json.dumps(request_).encode())


def test_json_takes_bounded_time() -> None:
    """CPU time is a limit."""
    with pytest.raises(WireError, match="body_cpu_s_max"):
        to_protobuf(wrapped(SPAN), -1.0)


def test_the_budget_over_http() -> None:
    """Refused before the body is read where its length is known; all comes back."""
    budget = InputBudget(5000)
    limits = BodyLimits(10_000, 5_000)
    headers = {"Content-Type": PROTOBUF, "Content-Length": "6000"}
    status, told, body, gather = post(bytes(6000), headers, limits=limits, budget=budget)
    assert (status, told["Retry-After"], gather.came) == (429, "1", [])
    assert b"distributor.input.bytes_max" in body
    assert told["Connection"] == "close"
    zipped = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
    assert post(gzip.compress(bytes(6000)), zipped, limits=limits, budget=budget)[0] == 429
    assert post(gzip.compress(bytes(4000)), zipped, limits=limits, budget=budget)[0] == 200
    assert post(wrapped(SPAN), {"Content-Type": JSON}, limits=limits, budget=budget)[0] == 200
    assert budget.used_bytes == 0


def test_empty_members() -> None:
    """12 MB of them took 99 s, for which all other bodies waited."""
    body = EMPTY * (12_000_000 // len(EMPTY))
    limits = BodyLimits(64 << 20, 4 << 20)
    status, _, told, _ = post(body, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, limits=limits)
    assert (status, b"members_max" in told) == (400, True)


@pytest.mark.parametrize(
    "text",
    [b"\\ud83d" * 200_000, b"\\\\" * 600_000 + b"\xff", b"\\n\\\\u" * 200_000 + b"\\udead", b"\xff" * 1_000_000],
    ids=["halves", "backslashes", "mixed", "bytes"],
)
def test_repairs_are_linear(text: bytes) -> None:
    """A megabyte that needs repair everywhere takes a fraction of a second, and is what it was but for the repairs."""
    start_s = time.thread_time()
    request = ExportTraceServiceRequest.FromString(to_protobuf(wrapped({"name": "HERE"}).replace(b"HERE", text)).body)
    assert time.thread_time() - start_s < 2
    want = json.loads(b'"' + text.replace(b"\xff", b"\\ufffd") + b'"')
    want = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in want)
    assert request.resource_spans[0].scope_spans[0].spans[0].name == want
