"""JSON in the usual form is read without protobuf's parser: with the same result, or not at all."""

import base64
import json
import tracemalloc
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.errors import WireError
from tables.wire.otlp import json as otlp_json
from tables.wire.otlp.json import to_protobuf
from tables.wire.otlp.json_spans import encode_span
from tables.wire.usual import Unusual
from tests.helpers.examples import examples
from tests.strategies import REQUESTS

IDS = {"traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708"}


def as_json(message: ExportTraceServiceRequest) -> Any:
    """As OTLP has it: ids in hex, enums as numbers."""

    def hexed(value: Any) -> Any:
        if isinstance(value, dict):
            return {
                key: base64.b64decode(one).hex() if key in ("traceId", "spanId", "parentSpanId") else hexed(one)
                for key, one in value.items()
            }
        return [hexed(one) for one in value] if isinstance(value, list) else value

    return hexed(json_format.MessageToDict(message, use_integers_for_enums=True))


def read(body: bytes) -> ExportTraceServiceRequest | str:
    try:
        return ExportTraceServiceRequest.FromString(to_protobuf(body).body)
    except WireError as err:
        return str(err)


def slowly(body: bytes) -> ExportTraceServiceRequest | str:
    """By protobuf's parser alone."""

    def unusual(_: Any) -> bytes:
        raise Unusual

    with pytest.MonkeyPatch.context() as patched:
        for name in ("encode_span", "encode_resource", "encode_scope"):
            patched.setattr(otlp_json, name, unusual)
        return read(body)


def in_request(*spans: Any) -> bytes:
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).encode()


@settings(max_examples=examples(50), deadline=None)
@given(REQUESTS)
def test_what_sdks_send(message: ExportTraceServiceRequest) -> None:
    body = json.dumps(as_json(message)).encode()
    assert read(body) == slowly(body) == message


SCALAR = st.one_of(
    *(st.none(), st.booleans(), st.integers(-(2**65), 2**65), st.floats(), st.text(max_size=3)),
    st.sampled_from(["", "0", "-1", " 1", "1.0", "+1", "\u0661", "NaN", "0a", "0102030405060708", "0 1 2 3 4 5 6 7 "]),
)
ANY = st.recursive(
    SCALAR,
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["values", "stringValue", "intValue", "x"]), inner, max_size=2),
    ),
    max_leaves=4,
)
VALUE = st.dictionaries(
    st.sampled_from(
        ["stringValue", "intValue", "boolValue", "doubleValue", "arrayValue", "kvlistValue", "bytesValue", "int_value"]
    ),
    ANY,
    max_size=2,
)
PAIR = st.dictionaries(st.sampled_from(["key", "value", "other"]), st.one_of(VALUE, st.text(max_size=2)), max_size=3)
FIELDS = st.sampled_from(
    [
        *("traceId", "spanId", "parentSpanId", "traceState", "flags", "name", "kind", "startTimeUnixNano"),
        *("endTimeUnixNano", "droppedAttributesCount", "status", "events", "links", "trace_id", "unknown"),
    ]
)
STATUS = st.dictionaries(st.sampled_from(["code", "message", "deprecated"]), SCALAR, max_size=2)
EVENT = st.dictionaries(st.sampled_from(["name", "timeUnixNano", "droppedAttributesCount", "time_unix_nano"]), SCALAR)


@settings(max_examples=examples(195), deadline=None)
@given(st.dictionaries(FIELDS, st.one_of(ANY, STATUS, st.lists(EVENT, max_size=2)), max_size=5), st.lists(PAIR))
def test_anything(fields: dict[str, Any], attributes: list[Any]) -> None:
    """The quick way never reads what the slow one refuses or reads otherwise."""
    body = in_request(IDS | fields | {"attributes": attributes}, IDS)
    assert repr(read(body)) == repr(slowly(body))  # NaN differs from itself


@settings(max_examples=examples(65), deadline=None)
@given(
    st.dictionaries(st.sampled_from(["attributes", "droppedAttributesCount", "entityRefs"]), st.lists(PAIR) | ANY),
    st.dictionaries(st.sampled_from(["name", "version", "attributes", "x"]), st.lists(PAIR) | ANY),
    ANY,
)
def test_any_owner(resource: dict[str, Any], scope: dict[str, Any], url: Any) -> None:
    """Resources, scopes and schemas likewise."""
    scopes = {"scope": scope, "spans": [IDS], "schemaUrl": url}
    body = json.dumps({"resourceSpans": [{"resource": resource, "scopeSpans": [scopes], "schemaUrl": url}]}).encode()
    assert repr(read(body)) == repr(slowly(body))


def test_the_usual_form_takes_the_quick_way() -> None:
    """Of every field; the slow way would take ten times as long."""
    span = IDS | {
        "parentSpanId": "",
        "traceState": "a=b",
        "name": "op",
        "kind": 3,
        "flags": 257,
        "startTimeUnixNano": "1800000000000000000",
        "endTimeUnixNano": 1800000000000000001,
        "droppedAttributesCount": 1,
        "attributes": [
            {"key": "s", "value": {"stringValue": "x"}},
            {"key": "i", "value": {"intValue": "-5"}},
            {"key": "n", "value": {"intValue": 5}},
            {"key": "b", "value": {"boolValue": False}},
            {"key": "d", "value": {"doubleValue": -0.0}},
            {"key": "e", "value": {"doubleValue": 1}},
            {"key": "a", "value": {"arrayValue": {"values": [{"stringValue": "x"}, {"intValue": "1"}]}}},
            {"key": "z", "value": {"arrayValue": {}}},
        ],
        "events": [{"timeUnixNano": "1", "name": "e", "attributes": [{"key": "s", "value": {"stringValue": ""}}]}],
        "links": [IDS | {"flags": 1, "traceState": "", "droppedAttributesCount": 0}],
        "status": {"code": 2, "message": "no"},
    }
    assert encode_span(dict(span))
    body = in_request(span)
    assert read(body) == slowly(body)
    assert "double_value: -0" in str(read(body))


@pytest.mark.parametrize("bad", [1, "x", None, [], {"traceId": 5}, {"attributes": [None]}, {"attributes": [[]]}])
def test_no_span(bad: Any) -> None:
    body = in_request(bad)
    assert read(body) == slowly(body)


@pytest.mark.parametrize("name", ["spans", "attributes"])
def test_many_items_of_a_byte(name: str) -> None:
    """They take no more memory than what the body itself is made of: refused, or read the slow way."""
    items = b"[" + b"1," * 200_000 + b"1]"
    inner = items if name == "spans" else b'[{"attributes":' + items + b"}]"
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":' + inner + b"}]}]}"
    tracemalloc.start()
    found = read(body)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is not an object" in str(found) or "spans[0]" in str(found)
    assert peak_bytes < 24 * len(body)
