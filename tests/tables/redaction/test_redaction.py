"""What redactions remove, in tables and in sources: exactly what they name, whatever form it has."""

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from query.metrics.metrics import metrics_range
from query.requests import RangeRequest, SearchRequest
from query.scan.progress import QueryObserver
from query.search.search import search
from query.trace.trace import find_trace
from tables.columns.in_memory import TableSource
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.redaction.apply import redacted_table
from tables.redaction.rules import Redaction, parse_attribute
from tables.redaction.source import RedactedSource
from tables.storage.byte_cache import ByteCache
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.helpers.live.whole_way import START_NS, Way

KEYS = ("email", "k:int", "service.name", "other")
VALUES = st.one_of(
    st.sampled_from(["x", "y", "1", "true"]).map(lambda v: AnyValue(string_value=v)),
    st.integers(0, 2).map(lambda v: AnyValue(int_value=v)),
    st.booleans().map(lambda v: AnyValue(bool_value=v)),
    st.sampled_from([0.5, 1.0]).map(lambda v: AnyValue(double_value=v)),
    st.lists(st.sampled_from(["x", "y"]), min_size=1, max_size=2).map(
        lambda v: AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=one) for one in v]))
    ),
)
ATTRIBUTES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3).map(
    lambda pairs: [KeyValue(key=key, value=value) for key, value in pairs.items()]
)


@st.composite
def requests(draw: st.DrawFn) -> ExportTraceServiceRequest:
    message = ExportTraceServiceRequest()
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        group = message.resource_spans.add()
        group.resource.attributes.extend(draw(ATTRIBUTES))
        scoped = group.scope_spans.add()
        scoped.scope.name = "scope"
        scoped.scope.attributes.extend(draw(ATTRIBUTES))
        for _ in range(draw(st.integers(1, 3))):
            number += 1
            start = START_NS + draw(st.integers(0, 3))
            span = scoped.spans.add(
                trace_id=draw(st.integers(1, 3)).to_bytes(16, "big"),
                span_id=number.to_bytes(8, "big"),
                name="op",
                start_time_unix_nano=start,
                end_time_unix_nano=start + 5,
                attributes=draw(ATTRIBUTES),
            )
            if draw(st.booleans()):
                span.events.add(name="e", time_unix_nano=start, attributes=draw(ATTRIBUTES))
            if draw(st.booleans()):
                span.links.add(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1", attributes=draw(ATTRIBUTES))
    return message


MAYBE_TIME = st.none() | st.integers(0, 4).map(lambda n: START_NS + n)
REDACTIONS = st.builds(
    Redaction,
    trace_id=st.just("") | st.integers(1, 3).map(lambda n: n.to_bytes(16, "big").hex()),
    attribute=st.just("")
    | st.builds(
        lambda scope, key: f"{scope}.{key}",
        st.sampled_from(["", "span", "resource", "instrumentation", "event", "link"]),
        st.sampled_from(KEYS),
    ),
    value=st.none() | st.sampled_from(["x", "1", "true", "0.5"]),
    since_ns=MAYBE_TIME,
    until_ns=MAYBE_TIME,
)

Seen = dict[bytes, Any]


def is_value(value: AnyValue, text: str | None) -> bool:
    """As documented, one by one."""
    kind = value.WhichOneof("value")
    if text is None:
        return True
    if kind == "array_value":
        return any(is_value(item, text) for item in value.array_value.values)
    shown = getattr(value, kind)
    if kind == "bool_value":
        # Arrow reads 1 and 0 as truth values, too.
        return text in ("true", "1") if shown else text in ("false", "0")
    if kind in ("int_value", "double_value"):
        try:
            return type(shown)(text) == shown
        except ValueError:
            return False
    return text == shown


def without(pairs: Iterable[KeyValue], scope: str, redaction: Redaction) -> list[tuple[str, bytes]]:
    gone = [
        bool(redaction.attribute)
        and redaction.scope in ("", scope)
        and redaction.key == pair.key
        and is_value(pair.value, redaction.value)
        for pair in pairs
    ]
    return sorted(
        (pair.key, pair.value.SerializeToString()) for pair, dropped in zip(pairs, gone, strict=True) if not dropped
    )


def expected(message: ExportTraceServiceRequest, redactions: list[Redaction]) -> Seen:
    """Each span that is left with its attributes."""
    seen = {}
    for group in message.resource_spans:
        for scoped in group.scope_spans:
            for span in scoped.spans:
                left = {
                    "resource": group.resource.attributes,
                    "instrumentation": scoped.scope.attributes,
                    "span": span.attributes,
                    "event": [pair for event in span.events for pair in event.attributes],
                    "link": [pair for link in span.links for pair in link.attributes],
                }
                lists = {scope: list(pairs) for scope, pairs in left.items()}
                for redaction in redactions:
                    about = redaction.trace_id in ("", span.trace_id.hex())
                    about &= redaction.since_ns is None or span.start_time_unix_nano >= redaction.since_ns
                    about &= redaction.until_ns is None or span.start_time_unix_nano < redaction.until_ns
                    if about and not redaction.attribute:
                        break
                    if about:
                        lists = {
                            scope: [
                                KeyValue(key=k, value=AnyValue.FromString(v))
                                for k, v in without(pairs, scope, redaction)
                            ]
                            for scope, pairs in lists.items()
                        }
                else:
                    seen[span.span_id] = {scope: plain(pairs) for scope, pairs in lists.items()}
    return seen


def plain(pairs: Iterable[KeyValue]) -> list[tuple[str, bytes]]:
    return sorted((pair.key, pair.value.SerializeToString()) for pair in pairs)


def found(sources: list[Any]) -> Seen:
    """What a client gets of all traces by their ids."""
    seen = {}
    for number in range(1, 4):
        table = find_trace(sources, number.to_bytes(16, "big"))
        for group in to_resource_spans(table) if table is not None else []:
            for scoped in group.scope_spans:
                for span in scoped.spans:
                    seen[span.span_id] = {
                        "resource": plain(group.resource.attributes),
                        "instrumentation": plain(scoped.scope.attributes),
                        "span": plain(span.attributes),
                        "event": plain(pair for event in span.events for pair in event.attributes),
                        "link": plain(pair for link in span.links for pair in link.attributes),
                    }
    return seen


@settings(max_examples=examples(25), deadline=None)
@given(requests(), st.lists(REDACTIONS, max_size=2), st.sampled_from([0, 2, 100]))
def test_what_is_left_is_what_nobody_named(
    message: ExportTraceServiceRequest, redactions: list[Redaction], columns_max: int
) -> None:
    """In tables, in sources of files and of heads, with attributes in columns or in the overflow."""
    way = Way(message.SerializeToString(), columns_max=columns_max)
    want = expected(message, redactions)
    table = redacted_table(way.table, redactions)
    table.validate(full=True)
    assert found([TableSource(table)] if table.num_rows else []) == want
    for source in ([RedactedSource(way.source, redactions)], [RedactedSource(one, redactions) for one in way.head]):
        assert sum(one.rows for one in source) == len(want) == table.num_rows
        assert found(source) == want
    same = RedactedSource(way.source, redactions)
    if table.num_rows:
        plain_source = TableSource(table)
        # Where whole spans are gone, names of attributes that only they had may be left, without a value.
        more = same.columns - plain_source.columns
        assert same.columns >= plain_source.columns
        assert all(array.null_count == len(array) for array in same.read(sorted(more)).values())
        assert (same.traces().ids == plain_source.traces().ids).all()
        assert (same.traces().offsets == plain_source.traces().offsets).all()
        for rows in (None, (0, 1), (table.num_rows - 1, table.num_rows), (1, 1)):
            columns = sorted(same.columns & plain_source.columns)
            ours, theirs = same.read(columns, rows), plain_source.read(columns, rows)
            assert {name: array.to_pylist() for name, array in ours.items()} == {
                name: array.to_pylist() for name, array in theirs.items()
            }
        assert same.decoded_bytes(["name"]) >= 0


def test_a_search_does_not_find_what_is_redacted() -> None:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    for number in (1, 2):
        span = Span(
            trace_id=bytes([number] * 16),
            span_id=bytes([number] * 8),
            name="op",
            start_time_unix_nano=START_NS,
            end_time_unix_nano=START_NS + 5,
        )
        span.attributes.add(key="email").value.string_value = f"{number}@example.com"
        group.scope_spans.add().spans.append(span)
    way = Way(message.SerializeToString())

    def names(query: str, *redactions: Redaction) -> list[str]:
        source = RedactedSource(way.source, redactions)
        return [trace.trace_id.hex()[:2] for trace in search([source], SearchRequest(query=query)).traces]

    email = Redaction(attribute="span.email", value="1@example.com")
    assert names("{ span.email != nil }") == ["01", "02"] or names("{ span.email != nil }") == ["02", "01"]
    assert names("{ span.email != nil }", email) == ["02"]
    assert names("{ }", Redaction(trace_id="02" * 16)) == ["01"]
    assert names("{ }", Redaction(trace_id="01" * 16), Redaction(trace_id="02" * 16)) == []
    services = Redaction(attribute="resource.service.name")
    table = redacted_table(way.table, [services])
    assert "resource.service.name" not in table.column_names
    assert table["root_service"].null_count == table.num_rows


def test_spans_that_are_stored_whole() -> None:
    """Their bytes are taken apart."""
    span = Span(trace_id=bytes(15) + b"\1", span_id=bytes(7) + b"\1", name="op")
    for holder in (span, span.events.add(), span.links.add()):
        holder.attributes.add(key="email").value.string_value = "a"
        holder.attributes.add(key="email2").value.string_value = "a"
    way = Way(request_with(span))
    table = way.table.append_column("raw", pa.array([span.SerializeToString()], pa.binary()))
    for attribute, left in [(".email", 0), ("span.email", 2), ("event.email", 2), ("link.email", 2), ("span.no", 3)]:
        (raw,) = redacted_table(table, [Redaction(attribute=attribute)])["raw"].to_pylist()
        after = Span.FromString(raw)
        pairs = [*after.attributes, *after.events[0].attributes, *after.links[0].attributes]
        assert sum(pair.key == "email" for pair in pairs) == left
        assert sum(pair.key == "email2" for pair in pairs) == 3


def request_with(span: Span) -> bytes:
    message = ExportTraceServiceRequest()
    message.resource_spans.add().scope_spans.add().spans.append(span)
    return bytes(message.SerializeToString())


def test_the_id_follows_from_what_is_removed() -> None:
    one = Redaction(trace_id="01" * 16, created_s=1.0)
    assert one.id == Redaction(trace_id="01" * 16, created_s=2.0, kept_until_s=9.0).id
    others = [Redaction(attribute="span.a"), Redaction(attribute="span.a", value=""), Redaction(attribute=".a")]
    assert len({redaction.id for redaction in [one, *others]}) == 4


@pytest.mark.parametrize("text", ["", ".", "email", "name", "parent.email", "span."])
def test_an_attribute_needs_its_scope(text: str) -> None:
    with pytest.raises(ValueError, match="is not an attribute with its scope"):
        parse_attribute(text)


QUERIES = [
    "{ }",
    '{ span.email = "x" }',
    "{ .email != nil } | count() > 1",
    "{ resource.service.name != nil } | select(span.email, event.email)",
    "{ event.email != nil || link.email != nil }",
    "{ } >> { span.other != nil }",
    "{ rootServiceName != nil }",
    "{ } | rate() by (span.email)",
    "{ span.other = nil } | count_over_time() by (resource.service.name)",
]


def answer(sources: list[Any], query: str) -> Any:
    if ("|" in query and "_over_time" in query) or "rate()" in query:
        request = RangeRequest(query=query, start_ns=START_NS - 10**9, end_ns=START_NS + 10**9, step_ns=10**9)
        found = metrics_range(sources, request, observer=QueryObserver())
        return sorted((str(series.labels), list(series.samples)) for series in found.series)
    result = search(sources, SearchRequest(query=query, limit=100, spans_per_span_set=100))
    return [
        (trace.trace_id, trace.root_service, [sorted(str(span) for span in group.spans) for group in trace.span_sets])
        for trace in result.traces
    ]


@settings(max_examples=examples(25), deadline=None)
@given(requests(), st.lists(REDACTIONS, min_size=1, max_size=2), st.sampled_from(QUERIES))
def test_queries_see_what_is_left(message: ExportTraceServiceRequest, redactions: list[Redaction], query: str) -> None:
    """Over a file that still has it as over one that was written anew."""
    way = Way(message.SerializeToString())
    table = redacted_table(way.table, redactions)
    anew = []
    if table.num_rows:
        data = to_parquet(table)
        anew = [ParquetSource("anew", lambda: file_of(data), ByteCache("anew", 1 << 24), table.num_rows)]
    want = answer(anew, query)
    assert answer([RedactedSource(way.source, redactions)], query) == want
    assert answer([RedactedSource(one, redactions) for one in way.head], query) == want
