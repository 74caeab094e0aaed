"""OTLP as JSON: what counts as what, what is refused, and in what time."""

import json
import time
from typing import Any

import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
)

from agents.distributor.span_writer import Outcome
from tables.errors import WireError
from tables.wire.otlp.json import _json_text, to_protobuf
from tests.helpers.receiving.otlp_http import JSON, SPAN, post, wrapped


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
    reply = json.loads(body).get("partialSuccess", {})
    assert int(reply.get("rejectedSpans", 0)) == left_out
    assert text in reply.get("errorMessage", "")


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


def test_a_long_text_that_is_no_json_is_refused_at_once() -> None:
    """What might need repair is searched for: 4 MB took 180 ms, for which nothing else of the process ran."""
    body = b'{"resourceSpans":"' + b"x" * 4_000_000
    start_s = time.thread_time()
    with pytest.raises(WireError, match="not JSON"):
        to_protobuf(body)
    assert time.thread_time() - start_s < 0.06
