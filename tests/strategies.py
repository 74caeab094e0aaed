"""Hypothesis strategies for OTLP requests: anything that protobuf allows, small enough to shrink well."""

from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
KEYS = st.sampled_from(["a", "b", "http.route", "k:int", "k", "", "ä:string[]", "service.name"])
INT64 = st.integers(-(2**63), 2**63 - 1)
SCALARS = st.one_of(
    TEXT.map(lambda v: AnyValue(string_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    INT64.map(lambda v: AnyValue(int_value=v)),
    st.floats(allow_nan=False).map(lambda v: AnyValue(double_value=v)),
    st.binary(max_size=4).map(lambda v: AnyValue(bytes_value=v)),
    st.just(AnyValue()),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda v: AnyValue(array_value=ArrayValue(values=v))),
        st.lists(st.builds(KeyValue, key=KEYS, value=inner), max_size=2).map(
            lambda v: AnyValue(kvlist_value=KeyValueList(values=v))
        ),
    ),
    max_leaves=4,
)
# A key twice in one list is against OTLP; what becomes of it is tested by hand.
ATTRIBUTES = st.dictionaries(KEYS, VALUES, max_size=4).map(
    lambda pairs: [KeyValue(key=key, value=value) for key, value in pairs.items()]
)
COUNTS = st.integers(0, 3)
TRACE_IDS = st.integers(1, 3).map(lambda n: n.to_bytes(16, "big")) | st.binary(min_size=16, max_size=16).filter(any)
SPAN_IDS = st.integers(1, 9).map(lambda n: n.to_bytes(8, "big"))
TIMES = st.integers(0, 2**62)

EVENTS = st.builds(Span.Event, time_unix_nano=TIMES, name=TEXT, attributes=ATTRIBUTES, dropped_attributes_count=COUNTS)
LINKS = st.builds(
    Span.Link,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    trace_state=TEXT,
    attributes=ATTRIBUTES,
    dropped_attributes_count=COUNTS,
    flags=COUNTS,
)
SPANS = st.builds(
    Span,
    trace_id=TRACE_IDS,
    span_id=SPAN_IDS,
    parent_span_id=st.just(b"") | SPAN_IDS,
    trace_state=TEXT,
    flags=COUNTS,
    name=TEXT,
    kind=st.integers(0, 5),
    start_time_unix_nano=TIMES,
    end_time_unix_nano=TIMES,
    attributes=ATTRIBUTES,
    dropped_attributes_count=COUNTS,
    events=st.lists(EVENTS, max_size=2),
    dropped_events_count=COUNTS,
    links=st.lists(LINKS, max_size=2),
    dropped_links_count=COUNTS,
    status=st.builds(Status, code=st.integers(0, 2), message=TEXT),
)
SCOPES = st.builds(
    InstrumentationScope, name=TEXT, version=TEXT, attributes=ATTRIBUTES, dropped_attributes_count=COUNTS
)
SCOPE_SPANS = st.builds(ScopeSpans, scope=SCOPES, spans=st.lists(SPANS, max_size=4), schema_url=TEXT)
RESOURCE_SPANS = st.builds(
    ResourceSpans,
    resource=st.builds(Resource, attributes=ATTRIBUTES, dropped_attributes_count=COUNTS),
    scope_spans=st.lists(SCOPE_SPANS, max_size=2),
    schema_url=TEXT,
)
REQUESTS = st.builds(ExportTraceServiceRequest, resource_spans=st.lists(RESOURCE_SPANS, max_size=2))
