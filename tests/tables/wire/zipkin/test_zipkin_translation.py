"""Zipkin's spans become the OTLP spans that OpenTelemetry's mapping says, in every encoding."""

import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from tables.errors import WireError
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.usual import Unusual
from tables.wire.zipkin import json as zipkin_json
from tables.wire.zipkin import json_fields
from tables.wire.zipkin.json import version1_to_otlp, version2_to_otlp
from tables.wire.zipkin.json_spans import usual_spans
from tables.wire.zipkin.protobuf import protobuf_to_otlp
from tables.wire.zipkin.thrift import thrift_to_otlp
from tests.helpers.receiving.zipkin import FULL, START_US, VERSION1, full_protobuf, version1_thrift

RECEIVED_US = 1_800_000_000_000_000
BASE = {"traceId": "5af7183fb1d4cf5f", "id": "352bff9a74ca9ad2", "timestamp": START_US, "duration": 10}

DECODER = OtlpDecoder()


def translated(span: Any, *, parse: bool = False) -> ResourceSpans:
    body = json.dumps([BASE | span]).encode()
    request = ExportTraceServiceRequest.FromString(version2_to_otlp(body, RECEIVED_US, parse_string_tags=parse))
    (found,) = request.resource_spans
    return found


def the_span(span: Any, *, parse: bool = False) -> Span:
    return translated(span, parse=parse).scope_spans[0].spans[0]


def values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def read(body: bytes, *, parse: bool = False) -> bytes | str:
    try:
        return version2_to_otlp(body, RECEIVED_US, parse_string_tags=parse)
    except WireError as err:
        return str(err)


def slowly(body: bytes, *, parse: bool = False) -> bytes | str:
    """What comes of it where each object is checked by itself, as is done with what is not in the usual form."""

    def unusual(*_: Any) -> Any:
        raise Unusual

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(zipkin_json, "usual_spans", unusual)
        return read(body, parse=parse)


@pytest.mark.parametrize(
    "make",
    [lambda: version2_to_otlp(json.dumps([FULL]).encode(), RECEIVED_US), lambda: protobuf_to_otlp(full_protobuf(), 0)],
)
def test_all_fields(make: Callable[[], bytes]) -> None:
    (found,) = ExportTraceServiceRequest.FromString(make()).resource_spans
    assert values(found.resource.attributes) == {"service.name": "frontend"}
    one = found.scope_spans[0].spans[0]
    assert one.trace_id.hex() == FULL["traceId"]
    assert (one.span_id.hex(), one.parent_span_id.hex()) == (FULL["id"], FULL["parentId"])
    assert (one.name, one.kind) == ("get", Span.SPAN_KIND_CLIENT)
    assert one.start_time_unix_nano == START_US * 1000
    assert one.end_time_unix_nano - one.start_time_unix_nano == 207_000_000
    assert [(event.name, event.time_unix_nano) for event in one.events] == [("wire send", (START_US + 5) * 1000)]
    assert values(one.attributes) == {
        "http.path": "/api",
        "clnt/finagle.version": "6.45.0",
        "net.host.ip": "127.0.0.1",
        "net.host.port": 80,
        "peer.service": "backend",
        "net.peer.ip": "2001:db8::1",
        "net.peer.port": 9000,
        "zipkin.debug": True,
        "zipkin.shared": True,
    }


@pytest.mark.parametrize(
    ("tags", "code", "message", "left"),
    [
        ({"error": "true"}, 2, "", {}),
        ({"error": ""}, 2, "", {}),
        ({"error": "timed out"}, 2, "timed out", {"error": "timed out"}),
        ({"error": "false"}, 0, "", {"error": "false"}),
        ({"otel.status_code": "OK"}, 1, "", {}),
        ({"otel.status_code": "ERROR", "error": "no", "otel.status_description": "so"}, 2, "so", {"error": "no"}),
        ({"http.status_code": "500"}, 2, "", {"http.status_code": "500"}),
        ({"http.status_code": "404"}, 2, "", {"http.status_code": "404"}),
    ],
)
def test_status(tags: dict[str, str], code: int, message: str, left: dict[str, str]) -> None:
    one = the_span({"tags": tags})
    assert (one.status.code, one.status.message, values(one.attributes)) == (code, message, left)


def test_what_exporters_made_of_resources_scopes_links_and_events() -> None:
    link = "0102030405060708090a0b0c0d0e0f10|0102030405060708|a=b|" + '{"k":1,"t":"x|y"}' + "|2"
    found = translated(
        {
            "localEndpoint": {"serviceName": "s"},
            "tags": {"telemetry.sdk.name": "otel", "otel.library.name": "lib", "otel.library.version": "1",
                     "w3c.tracestate": "v=1", "span.kind": "internal", "otlp.link.0": link, "service.name": "other"},
            "annotations": [{"timestamp": 1, "value": 'boom|{"a":true,"b":0.5}|3'}, {"timestamp": 2, "value": "a|b"}],
        }
    )  # fmt: skip
    assert values(found.resource.attributes) == {"service.name": "s", "telemetry.sdk.name": "otel"}
    scope = found.scope_spans[0]
    assert (scope.scope.name, scope.scope.version) == ("lib", "1")
    one = scope.spans[0]
    assert (one.trace_state, one.kind, values(one.attributes)) == ("v=1", Span.SPAN_KIND_INTERNAL, {})
    assert [(each.trace_state, values(each.attributes), each.dropped_attributes_count) for each in one.links] == [
        ("a=b", {"k": 1, "t": "x|y"}, 2)
    ]
    first, second = one.events
    assert (first.name, values(first.attributes), first.dropped_attributes_count) == ("boom", {"a": True, "b": 0.5}, 3)
    assert second.name == "a|b"


def test_spans_without_a_time() -> None:
    """The first annotation, else the time of reception, and an attribute that says so."""
    late = the_span({"timestamp": None, "annotations": [{"timestamp": 77, "value": "x"}]})
    assert late.start_time_unix_nano == 77_000
    never = the_span({"timestamp": 0})
    assert never.start_time_unix_nano == RECEIVED_US * 1000
    assert values(never.attributes) == {"otel.zipkin.absentField.startTime": True}


def test_typed_tags() -> None:
    tags = {"i": "12", "d": "1.5", "b": "true", "t": "1.2.3", "z": "007", "n": "-3"}
    assert values(the_span({"tags": tags}).attributes) == tags
    assert values(the_span({"tags": tags}, parse=True).attributes) == {
        "i": 12, "d": 1.5, "b": True, "t": "1.2.3", "z": "007", "n": -3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{}", "the JSON is not a list"),
        (b"[1]", "[0] is not a span"),
        (b"[{}]", "[0].traceId is 'None'"),
        (b'[{"traceId":"1","id":"xyz"}]', "[0].id is 'xyz'"),
        (b'[{"traceId":"1","id":"2","timestamp":-1}]', "[0].timestamp is -1"),
        (b'[{"traceId":"1","id":"2","timestamp":99999999999999999999}]', "[0].timestamp"),
        (b'[{"traceId":"1","id":"2","tags":[]}]', "[0].tags is not an object"),
        (b'[{"traceId":"1","id":"2","annotations":[5]}]', "[0].annotations[0]"),
        (b'[{"traceId":"1","id":"2","localEndpoint":{"port":70000}}]', "[0].localEndpoint.port is 70000"),
        (b"[", "not JSON"),
    ],
)
def test_bad_json_is_named(body: bytes, says: str) -> None:
    with pytest.raises(WireError) as caught:
        version2_to_otlp(body, RECEIVED_US)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "make",
    [lambda: version1_to_otlp(json.dumps([VERSION1]).encode(), 0), lambda: thrift_to_otlp(version1_thrift(), 0)],
)
def test_version_1_of_both_sides(make: Callable[[], bytes]) -> None:
    """A client and a shared server span come of it, each with its times, its host and what it said."""
    request = ExportTraceServiceRequest.FromString(make())
    spans = {
        values(found.resource.attributes)["service.name"]: found.scope_spans[0].spans[0]
        for found in request.resource_spans
    }
    client, server = spans["a"], spans["b"]
    assert (client.kind, server.kind) == (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER)
    assert client.span_id == server.span_id
    assert (client.start_time_unix_nano, server.start_time_unix_nano) == (START_US * 1000, (START_US + 20) * 1000)
    assert client.end_time_unix_nano - client.start_time_unix_nano == 100_000
    assert server.end_time_unix_nano - server.start_time_unix_nano == 60_000
    assert [event.name for event in server.events] == ["cache miss"]
    assert not client.events
    assert values(client.attributes) == {
        "http.path": "/x", "net.host.ip": "10.0.0.1", "net.host.port": 8080,
        "peer.service": "b", "net.peer.ip": "10.0.0.2",
    }  # fmt: skip
    assert values(server.attributes) == {"net.host.ip": "10.0.0.1", "net.host.port": 8080, "zipkin.shared": True}


def test_version_1_local_component() -> None:
    body = json.dumps(
        [{"traceId": "1", "id": "2", "timestamp": 5, "binaryAnnotations": [{"key": "lc", "value": "job"}]}]
    )
    (found,) = ExportTraceServiceRequest.FromString(version1_to_otlp(body.encode(), 0)).resource_spans
    assert values(found.resource.attributes) == {"service.name": "job"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from([*FULL, *VERSION1])
ID = st.sampled_from(["", "0", "A1", "0 1", "0102030405060708", "0 1 2 3 4 5 6 7 ", "\u0661", "01" * 16, "0" * 33])
TIME = st.integers(-1, 2**64) | st.none() | st.sampled_from(["7", "x", 1.0, 1.5, True])
TEXT = st.text(max_size=4) | st.none()
ENDPOINT = st.dictionaries(st.sampled_from(["serviceName", "ipv4", "ipv6", "x"]), TEXT) | st.none()
TAG_KEYS = ["error", "span.kind", "service.name", "host.name", "otel.status_code", "otlp.link.0", "x", ""]
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["traceId", "id", "parentId"], ID),
        **dict.fromkeys(["timestamp", "duration"], TIME),
        **dict.fromkeys(["debug", "shared"], st.sampled_from([True, False, None, 1, "true"])),
        **dict.fromkeys(["localEndpoint", "remoteEndpoint"], ENDPOINT),
        "name": TEXT,
        "kind": st.sampled_from(["CLIENT", "server", "?", "", None, 1]),
        "annotations": st.lists(st.fixed_dictionaries({"timestamp": TIME, "value": TEXT}), max_size=2) | st.none(),
        "tags": st.dictionaries(st.sampled_from(TAG_KEYS), st.sampled_from(["", "1", "true", "0.5", "OK", None, 1])),
    },
)


@pytest.mark.parametrize("parse", [False, True])
def test_the_usual_form_takes_the_quick_way(parse: bool) -> None:
    """With every field, with as few as possible, and with nulls; twice, as what repeats is kept."""
    spans = [
        FULL,
        None,
        BASE,
        BASE | dict.fromkeys(["name", "kind", "tags", "annotations", "remoteEndpoint", "shared"]),
    ]
    body = json.dumps(spans).encode()
    typed = json_fields.as_typed if parse else json_fields.as_text
    for _ in range(2):
        assert len(usual_spans(body, typed)) == 3
        assert read(body, parse=parse) == slowly(body, parse=parse)


def test_service_of_a_tag() -> None:
    """Where the span has no local endpoint, a tag may name the service, wherever it is among the tags."""
    tags = {"host.name": "a1", "x": "1", "service.name": "s"}
    assert values(translated({"tags": tags}).resource.attributes) == {"host.name": "a1", "service.name": "s"}
    named = translated({"tags": tags, "localEndpoint": {"serviceName": "local"}})
    assert values(named.resource.attributes) == {"host.name": "a1", "service.name": "local"}


@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=6), max_size=3))
def test_any_json(found: list[dict[str, Any]]) -> None:
    """Whatever comes: an OTLP request, or an error of ours."""
    spans = [BASE | each for each in found]
    for decode in (version2_to_otlp, version1_to_otlp):
        with suppress(WireError):
            DECODER.decode([decode(json.dumps(spans).encode(), RECEIVED_US)])
    assert read(json.dumps(spans).encode()) == slowly(json.dumps(spans).encode())


@given(st.lists(LIKELY, max_size=3), st.booleans())
def test_what_clients_send(spans: list[dict[str, Any]], parse: bool) -> None:
    """The quick way never reads what the slow one refuses or reads otherwise."""
    body = json.dumps([BASE | each for each in spans]).encode()
    assert read(body, parse=parse) == slowly(body, parse=parse)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    for decode in (version2_to_otlp, version1_to_otlp, protobuf_to_otlp, thrift_to_otlp):
        with suppress(WireError):
            DECODER.decode([decode(data, RECEIVED_US)])


def test_what_is_kept_of_tags_mixes_nothing_up() -> None:
    """Equal tags are kept from span to span: by type, by what text becomes, and only short ones."""
    for _ in range(2):
        assert values(the_span({"tags": {"n": "1"}}).attributes) == {"n": "1"}
        assert values(the_span({"tags": {"n": "1"}}, parse=True).attributes) == {"n": 1}
        for plain in (1, True, 1.0):
            found = values(the_span({"tags": {"n": plain}}).attributes)
            assert (found, type(found["n"])) == ({"n": plain}, type(plain))
        assert values(the_span({"tags": {"n": [1]}}).attributes) == {"n": "[1]"}
    for number in range(2 * json_fields.TAGS_KEPT):
        assert values(the_span({"tags": {"n": str(number)}}).attributes) == {"n": str(number)}
    kept = json_fields.KEPT[json_fields.as_text]
    assert 0 < len(kept) <= json_fields.TAGS_KEPT
    assert values(the_span({"tags": {"long": "x" * 1000}}).attributes) == {"long": "x" * 1000}
    assert ("long", "x" * 1000) not in kept
