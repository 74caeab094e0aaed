"""GET /api/traces/{id} and /api/v2/traces/{id}."""

import json
import math
from base64 import b64encode

import orjson
import pyarrow as pa
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1 import resource_pb2
from opentelemetry.proto.trace.v1 import trace_pb2
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData

from app.api.backend import TraceAnswer
from app.api.tempo.jsonpb import resource_spans_json
from tests.helpers.examples import examples
from tests.helpers.querying.api import TRACE_ID

ID = "000f2ba9cc8f6a098a30a7aec2cbeadb"
PROTOBUF = {"Accept": "application/protobuf"}
SPAN_JSON = {
    "traceId": b64encode(bytes.fromhex(ID)).decode(),
    "spanId": "AAAAAAAAAAE=",
    "name": "op 0",
    "kind": "SPAN_KIND_SERVER",
    "startTimeUnixNano": "1795259580000000000",
    "endTimeUnixNano": "1795259580001000000",
    "attributes": [{"key": "http.response.status_code", "value": {"intValue": "500"}}],
    "status": {},
}
GROUPS_JSON = [
    {
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "checkout"}}]},
        "scopeSpans": [{"scope": {"name": "lib", "version": "1.0"}, "spans": [SPAN_JSON]}],
    }
]


def found(table, complete=True, message="") -> TraceAnswer:
    return TraceAnswer(table, complete=complete, message=message)


def test_v1_json(ask, backend, trace_table):
    """The groups are under `batches`; ids are base64, enums words, times strings; an unset status is empty."""
    backend.answer = found(trace_table(1))
    answer = ask(f"/api/traces/{ID}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.body) == {"batches": GROUPS_JSON}


def test_v2_json(ask, backend, trace_table):
    """A complete trace has no status."""
    backend.answer = found(trace_table(1))
    answer = ask(f"/api/v2/traces/{ID}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    assert json.loads(answer.body) == {"trace": {"resourceSpans": GROUPS_JSON}, "metrics": {}}


def test_v2_json_partial(ask, backend, trace_table):
    """An incomplete trace says so, and why."""
    backend.answer = found(trace_table(1), complete=False, message="partition 3 did not answer")
    body = json.loads(ask(f"/api/v2/traces/{ID}").body)
    assert (body["status"], body["message"]) == ("PARTIAL", "partition 3 did not answer")
    assert body["trace"]["resourceSpans"]


def test_unknown(ask):
    """Unknown: 404 in v1, an empty trace in v2."""
    assert ask(f"/api/traces/{ID}").status == 404
    answer = ask(f"/api/v2/traces/{ID}")
    assert (answer.status, json.loads(answer.body)) == (200, {"trace": {}, "metrics": {}})


def test_v1_incomplete(ask, backend, trace_table):
    """v1 has no status in its body: 206 for a part; 503, not 404, where the missing part may have the trace."""
    backend.answer = found(trace_table(1), complete=False, message="partition 3 did not answer")
    assert ask(f"/api/traces/{ID}").status == 206
    backend.answer = found(None, complete=False, message="partition 3 did not answer")
    answer = ask(f"/api/traces/{ID}")
    assert (answer.status, answer.text) == (503, "partition 3 did not answer")


@pytest.mark.parametrize(
    "accept",
    ["application/protobuf", "application/json;q=0.5, application/protobuf", "application/protobuf;v=1"],
)
def test_v1_protobuf(ask, backend, trace_table, accept):
    """Protobuf wherever Accept contains its name."""
    backend.answer = found(trace_table(3))
    answer = ask(f"/api/traces/{ID}", headers={"Accept": accept})
    assert answer.headers["Content-Type"] == "application/protobuf"
    (group,) = TracesData.FromString(answer.body).resource_spans
    assert [span.name for span in group.scope_spans[0].spans] == ["op 0", "op 1", "op 2"]


def trace_by_id_response():
    """The class of Tempo's TraceByIDResponse."""
    proto = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="frozen.proto", package="frozen", syntax="proto3", dependency=[trace_pb2.DESCRIPTOR.name]
    )
    status = file.enum_type.add(name="PartialStatus")
    status.value.add(name="COMPLETE", number=0)
    status.value.add(name="PARTIAL", number=1)
    trace = file.message_type.add(name="Trace")
    trace.field.add(
        name="resourceSpans",
        number=1,
        label=proto.LABEL_REPEATED,
        type=proto.TYPE_MESSAGE,
        type_name=".opentelemetry.proto.trace.v1.ResourceSpans",
    )
    file.message_type.add(name="TraceByIDMetrics")
    answer = file.message_type.add(name="TraceByIDResponse")
    for number, (name, type_, type_name) in enumerate(
        [
            ("trace", proto.TYPE_MESSAGE, ".frozen.Trace"),
            ("metrics", proto.TYPE_MESSAGE, ".frozen.TraceByIDMetrics"),
            ("status", proto.TYPE_ENUM, ".frozen.PartialStatus"),
            ("message", proto.TYPE_STRING, None),
        ],
        1,
    ):
        answer.field.add(name=name, number=number, type=type_, type_name=type_name, label=proto.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("frozen.TraceByIDResponse"))


@pytest.mark.parametrize(
    ("count", "complete", "message"),
    [
        pytest.param(0, True, "", id="unknown"),
        pytest.param(0, False, "partition 3 did not answer", id="unknown and incomplete"),
        pytest.param(1, True, "", id="one span"),
        pytest.param(500, False, "ä" * 300, id="many spans, incomplete"),
    ],
)
def test_v2_protobuf(ask, backend, trace_table, count, complete, message):
    """TraceByIDResponse, in which `trace` is always present: Grafana's plugin does not check."""
    backend.answer = found(trace_table(count) if count else None, complete, message)
    answer = ask(f"/api/v2/traces/{ID}", headers=PROTOBUF)
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/protobuf")
    got = trace_by_id_response().FromString(answer.body)
    assert got.HasField("trace")
    assert got.HasField("metrics")
    assert (got.status, got.message) == (0 if complete else 1, message)
    assert sum(len(scope.spans) for group in got.trace.resourceSpans for scope in group.scope_spans) == count


@pytest.mark.parametrize("path", ["/api/traces/", "/api/v2/traces/"])
@pytest.mark.parametrize(
    ("text", "want"),
    [
        pytest.param(ID, ID, id="full"),
        pytest.param("f2BA9cc8f6a098a30a7aec2cbeadb", ID, id="without left zeros, mixed case"),
        pytest.param("1", "0" * 31 + "1", id="one digit"),
        pytest.param("zzz", None, id="not hex"),
        pytest.param("0" * 33, None, id="too long"),
        pytest.param("%20" + "1" * 8, None, id="space"),
        pytest.param("0x1f", None, id="with 0x"),
    ],
)
def test_trace_id(ask, backend, path, text, want):
    """1 to 32 hex digits, padded with zeros on the left; anything else is 400."""
    answer = ask(path + text)
    assert [asked["trace_id"].hex() for asked in backend.asked] == ([want] if want else [])
    if want is None:
        assert answer.status == 400
        assert "hex digits" in answer.text


def test_asked(ask, backend):
    """Tenant and times reach the backend; a bad time is 400."""
    headers = {"X-Scope-OrgID": "team-a"}
    ask(f"/api/v2/traces/{ID}?start=1&end=2", headers=headers, multitenancy=True, max_bytes_per_trace=9)
    whole = {"bytes_max": 9, "page": None, "outline": False, "matching": None, "filter": None}
    assert backend.asked == [
        {"tenant": "team-a", "trace_id": bytes.fromhex(ID), "start_ns": 1 * 10**9, "end_ns": 2 * 10**9} | whole
    ]
    assert ask(f"/api/v2/traces/{ID}?start=2&end=1").status == 400
    assert ask(f"/api/traces/{ID}", multitenancy=True).status == 401


# ---- JSON of OTLP

ANY = st.recursive(
    st.one_of(
        st.just(AnyValue()),
        st.text(max_size=3).map(lambda value: AnyValue(string_value=value)),
        st.booleans().map(lambda value: AnyValue(bool_value=value)),
        st.integers(-(2**63), 2**63 - 1).map(lambda value: AnyValue(int_value=value)),
        st.floats().map(lambda value: AnyValue(double_value=value)),
        st.binary(max_size=3).map(lambda value: AnyValue(bytes_value=value)),
    ),
    lambda inner: (
        st.lists(inner, max_size=2).map(lambda items: AnyValue(array_value=ArrayValue(values=items)))
        | st.lists(st.builds(KeyValue, key=st.text(min_size=1, max_size=2), value=inner), max_size=2).map(
            lambda pairs: AnyValue(kvlist_value=KeyValueList(values=pairs))
        )
    ),
    max_leaves=4,
)
ATTRIBUTES = st.lists(st.builds(KeyValue, key=st.text(min_size=1, max_size=2), value=ANY), max_size=3)
TEXT, UINT32, UINT64 = st.text(max_size=3), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
SPANS = st.builds(
    Span,
    trace_id=st.binary(max_size=16),
    span_id=st.binary(max_size=8),
    parent_span_id=st.binary(max_size=8),
    trace_state=TEXT,
    name=TEXT,
    kind=st.integers(0, 9),
    start_time_unix_nano=UINT64,
    end_time_unix_nano=UINT64,
    attributes=ATTRIBUTES,
    dropped_attributes_count=UINT32,
    dropped_events_count=UINT32,
    dropped_links_count=UINT32,
    events=st.lists(st.builds(Span.Event, time_unix_nano=UINT64, name=TEXT, attributes=ATTRIBUTES), max_size=2),
    links=st.lists(
        st.builds(Span.Link, trace_id=st.binary(max_size=2), trace_state=TEXT, attributes=ATTRIBUTES), max_size=2
    ),
    status=st.builds(trace_pb2.Status, code=st.integers(0, 4), message=TEXT),
)
GROUPS = st.builds(
    ResourceSpans,
    resource=st.builds(resource_pb2.Resource, attributes=ATTRIBUTES, dropped_attributes_count=UINT32),
    scope_spans=st.lists(
        st.builds(
            ScopeSpans,
            scope=st.builds(common_pb2.InstrumentationScope, name=TEXT, version=TEXT, attributes=ATTRIBUTES),
            spans=st.lists(SPANS, min_size=1, max_size=2),
            schema_url=TEXT,
        ),
        min_size=1,
        max_size=2,
    ),
    schema_url=TEXT,
)


@settings(max_examples=examples(40), deadline=None)
@given(GROUPS)
def test_json_is_protobufs_own(group):
    """Our JSON is what protobuf's json_format writes for the same message."""
    got = json.loads(orjson.dumps(resource_spans_json(group)))
    assert got == json_format.MessageToDict(group)


def test_json_without_flags():
    """Flags are left out of JSON, as in Tempo's, and so are zero values; doubles that JSON lacks are words."""
    span = Span(flags=1, links=[Span.Link(flags=1, span_id=b"1")])
    span.attributes.add(key="d", value=AnyValue(double_value=-math.inf))
    group = ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])
    got = json.loads(orjson.dumps(resource_spans_json(group)))
    assert got["scopeSpans"][0]["spans"] == [
        {
            "links": [{"spanId": "MQ=="}],
            "attributes": [{"key": "d", "value": {"doubleValue": "-Infinity"}}],
            "status": {},
        }
    ]


PARTS = [
    pytest.param({"q": "{ name = `op 1` }"}, [1], id="matches"),
    pytest.param({"q": "{ name = `op 1` }", "keep_hierarchy": "true"}, [0, 1], id="ancestors"),
    pytest.param({"q": "{ name = `op 2` }", "keep_hierarchy": "1", "ancestor_depth": "1"}, [1, 2], id="one level"),
    pytest.param({"q": "{ name = `op 1` }", "match_depth": "-1"}, [1, 2, 3], id="descendants"),
    pytest.param({"q": "{ name = `op 1` }", "match_depth": "1", "ancestor_depth": "x"}, [1, 2], id="not read"),
    pytest.param({"q": "{ name = `no` }"}, [], id="none"),
    pytest.param({"q": " ", "match_depth": "x"}, [0, 1, 2, 3], id="no filter"),
    pytest.param({"q": "{ }"}, [0, 1, 2, 3], id="all"),
]


@pytest.mark.parametrize(("params", "kept"), PARTS)
def test_part_of_a_trace(ask, backend, trace_table, params, kept):
    """A chain of four spans: what q matches, and those around it. Less than the whole is PARTIAL."""
    table = trace_table(4)
    parents = pa.array([bytes(8), *table["span_id"].to_pylist()[:3]], pa.binary(8))
    table = table.set_column(table.column_names.index("parent_span_id"), "parent_span_id", parents)
    backend.answer = TraceAnswer(table, complete=True, message="")
    body = json.loads(ask(f"/api/v2/traces/{TRACE_ID.hex()}", params=params).body)
    groups = body["trace"].get("resourceSpans", [])
    names = [span["name"] for group in groups for scope in group["scopeSpans"] for span in scope["spans"]]
    assert sorted(names) == [f"op {n}" for n in kept]
    assert body.get("status") == ("PARTIAL" if len(kept) < 4 else None)
    assert ("filtered" in body.get("message", "")) == (len(kept) < 4)


@pytest.mark.parametrize(
    "params",
    [
        {"q": "{ nonsense"},
        {"q": "{ } | rate()"},
        {"q": "{ } >> { }"},
        {"q": "{ rootName = `a` }"},
        {"q": "{ }", "match_depth": "-2"},
        {"q": "{ }", "match_depth": "many"},
        {"q": "{ }", "keep_hierarchy": "maybe"},
        {"q": "{ }", "keep_hierarchy": "true", "ancestor_depth": "-2"},
        {"q": "{ }", "cursor": ""},
    ],
)
def test_wrong_parts(ask, backend, trace_table, params):
    """400, whether or not there is such a trace; nothing was asked."""
    backend.answer = TraceAnswer(trace_table(1), complete=True, message="")
    assert ask(f"/api/v2/traces/{TRACE_ID.hex()}", params=params).status == 400
    assert backend.asked == []
