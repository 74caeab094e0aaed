"""Attribute values that nobody should send: what becomes of each, from the request to the answer."""

import math
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tables.wire.otlp.clean import CUT, DROPPED, ITEMS_MAX, NESTING_MAX, REPAIRED, tagged
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.limits import ATTRIBUTES_MAX
from tests.helpers.live.whole_way import Way, request, span, values

SHORT = OtlpDecoder(attribute_bytes_max=256)


def text(value: str) -> AnyValue:
    return AnyValue(string_value=value)


def array(*items: AnyValue) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=items))


def kvlist(**pairs: AnyValue) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=k, value=v) for k, v in pairs.items()]))


def count(counter: Any) -> int:
    return int(counter._value.get())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        pytest.param(text("x" * 300), text("x" * 256), id="string"),
        pytest.param(text("x" * 255 + "ä"), text("x" * 255), id="not inside a character"),
        pytest.param(text("x" * 254 + "\U0001f600"), text("x" * 254), id="nor inside one of four bytes"),
        pytest.param(AnyValue(bytes_value=b"\xff" * 300), AnyValue(bytes_value=b"\xff" * 256), id="bytes"),
        pytest.param(
            array(text("a"), text("x" * 300), text("b")), array(text("a"), text("x" * 230)), id="a string in an array"
        ),
        pytest.param(
            kvlist(a=AnyValue(int_value=1), b=text("x" * 300), c=text("y")),
            kvlist(a=AnyValue(int_value=1), b=text("x" * 220)),
            id="a string in a key-value list",
        ),
    ],
)
def test_long_values_are_cut(sent: AnyValue, kept: AnyValue) -> None:
    """At a character, at an item, and counted once; in spans, events, links, resources and scopes alike."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    scope = group.scope_spans.add()
    pair = KeyValue(key="k", value=sent)
    one = span(attributes={"k": sent, "short": "s"}, events=[Span.Event(name="e", attributes=[pair])])
    one.links.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, attributes=[pair])
    scope.spans.append(one)
    group.resource.attributes.append(pair)
    scope.scope.attributes.append(pair)
    before = count(CUT)
    way = Way(message.SerializeToString(), decoder=SHORT)
    assert count(CUT) - before == 5
    (found,) = way.groups()
    (got,) = found.scope_spans[0].spans
    attributes = (got.attributes, got.events[0].attributes, got.links[0].attributes)
    for pairs in (*attributes, found.resource.attributes, found.scope_spans[0].scope.attributes):
        value = values(pairs)["k"]
        assert_cut(value, kept)
    assert values(got.attributes)["short"] == text("s")


def assert_cut(value: AnyValue, kept: AnyValue) -> None:
    """Texts inside of lists leave some bytes for what is around them."""
    if value.WhichOneof("value") in ("string_value", "bytes_value"):
        assert value == kept
        return
    plain = (value.array_value.values or [p.value for p in value.kvlist_value.values])[-1].string_value
    wanted = (kept.array_value.values or [p.value for p in kept.kvlist_value.values])[-1].string_value
    assert set(plain) == {"x"}
    assert len(wanted) - 20 <= len(plain) <= 256
    assert value.ByteSize() <= 256 + 12


def test_long_keys_are_cut() -> None:
    """As values are."""
    way = Way(request([span(attributes={"k" * 300: "v"})]), decoder=SHORT)
    assert way.attributes() == {"k" * 256: text("v")}


def test_a_key_of_10_kb() -> None:
    """Is kept, and found; without a column of its own, so that files' footers stay small."""
    key = "k" * 10_000
    way = Way(request([span(attributes={key: "v", "other": "w"}), span(2)]))
    assert way.found(f'{{ span."{key}" = "v" }}') == [1]
    assert values(way.spans()[0].attributes) == {key: text("v"), "other": text("w")}
    assert f"span.{key}" not in way.table.column_names
    assert len(way.file) < 20_000


def test_types_that_change() -> None:
    """Each type of a key is a column; a comparison sees the values of its type."""
    kinds = [text("1"), AnyValue(int_value=1), AnyValue(double_value=1.0), AnyValue(bool_value=True), array(text("1"))]
    way = Way(request([span(n, attributes={"k": value}) for n, value in enumerate(kinds, 1)]))
    assert way.found('{ span.k = "1" }') == [1, 5]
    assert way.found("{ span.k = 1 }") == [2]
    assert way.found("{ span.k = 1.0 }") == [3]
    assert way.found("{ span.k = true }") == [4]
    assert way.found("{ span.k != nil }") == [1, 2, 3, 4, 5]
    assert [values(one.attributes)["k"] for one in way.spans()] == kinds


@pytest.mark.parametrize(
    ("value", "query"),
    [
        pytest.param(AnyValue(double_value=math.inf), "{ span.k > 1e300 }", id="infinity"),
        pytest.param(AnyValue(double_value=-math.inf), "{ span.k < -1e300 }", id="minus infinity"),
        pytest.param(AnyValue(double_value=5e-324), "{ span.k > 0.0 }", id="denormal"),
        pytest.param(AnyValue(int_value=2**63 - 1), f"{{ span.k = {2**63 - 1} }}", id="largest int"),
        pytest.param(AnyValue(int_value=-(2**63)), "{ span.k = minInt }", id="smallest int"),
        pytest.param(text(""), '{ span.k = "" }', id="empty string"),
        pytest.param(text("\0 \u2028"), "{ span.k != nil }", id="control characters"),
        pytest.param(AnyValue(), "{ }", id="no value"),
        pytest.param(array(), "{ }", id="empty array"),
        pytest.param(array(text("a"), AnyValue(int_value=1)), "{ }", id="mixed array"),
        pytest.param(array(array(text("a")), kvlist(b=text("c"))), "{ }", id="nested"),
    ],
)
def test_odd_values(value: AnyValue, query: str) -> None:
    """Come back as they were, and are found."""
    way = Way(request([span(1, attributes={"k": value}), span(2, attributes={"other": "x"})]))
    assert 1 in way.found(query)
    assert values(way.spans()[0].attributes) == {"k": value}


def test_nan() -> None:
    """Comes back; equals nothing; does not hide its neighbours; equal spans with it are one."""
    nan = AnyValue(double_value=math.nan)
    way = Way(
        request([span(1, attributes={"k": nan}), span(1, attributes={"k": nan})]),
        request([span(2, attributes={"k": AnyValue(double_value=1.5)})]),
    )
    assert way.found("{ span.k > 1.0 }") == [2]
    assert way.found("{ span.k < 2.0 }") == [2]
    assert [math.isnan(values(s.attributes)["k"].double_value) for s in way.spans()] == [True, False]


def deep(levels: int, tag: int = 0x2A) -> bytes:
    """An AnyValue of lists inside each other, which protobuf would not write. tag: of an array or a key-value list."""
    raw = tagged(0x0A, b"x")
    for _ in range(levels):
        item = raw if tag == 0x2A else tagged(0x0A, b"k") + tagged(0x12, raw)
        raw = tagged(tag, tagged(0x0A, item))
    return raw


def with_value(raw: bytes, where: str) -> bytes:
    """A request with one span, where an attribute `k` of the span, its event, resource or scope is the raw AnyValue."""
    pair = tagged(0x0A, b"k") + tagged(0x12, raw)
    one = span(attributes={"ok": "v"}).SerializeToString()
    one += tagged(0x4A, pair) if where == "span" else b""
    one += tagged(0x5A, tagged(0x1A, pair)) if where == "event" else b""
    scope = tagged(0x0A, tagged(0x1A, pair)) if where == "scope" else b""
    resource = tagged(0x0A, tagged(0x0A, pair)) if where == "resource" else b""
    return tagged(0x0A, resource + tagged(0x12, scope + tagged(0x12, one)))


@pytest.mark.parametrize("where", ["span", "event", "resource", "scope"])
@pytest.mark.parametrize("tag", [pytest.param(0x2A, id="array"), pytest.param(0x32, id="key-value list")])
@pytest.mark.parametrize(
    ("levels", "readable"),
    [(1, True), (NESTING_MAX, True), (NESTING_MAX + 1, False), (45, False), (60, False), (1000, False), (6000, False)],
)
def test_deep_nesting(where: str, tag: int, levels: int, readable: bool) -> None:
    """Lists deeper than readers of protobuf follow are kept as bytes; the span and its neighbours come through."""
    raw = deep(levels, tag)
    way = Way(with_value(raw, where))
    (group,) = way.groups()
    (got,) = group.scope_spans[0].spans
    holder: Any = {"span": got, "resource": group.resource, "scope": group.scope_spans[0].scope}.get(where)
    value = values((holder or got.events[0]).attributes)["k"]
    assert (value.WhichOneof("value") == "bytes_value") is not readable
    if readable:
        assert value == AnyValue.FromString(raw)
    assert way.found('{ span.ok = "v" }') == [1]


BAD = b"a\xff\xc3z"
GOOD = "a\ufffd\ufffdz"


def test_invalid_utf8_anywhere() -> None:
    """One bad byte costs a character, not the batch: names, keys, values, nested ones, resource, scope, events."""
    mark = "MARK"
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add(schema_url=mark)
    scope = group.scope_spans.add()
    one = span(attributes={mark: text(mark), "n": array(text(mark)), "m": kvlist(MARK=text(mark))}, name=mark)
    one.status.message = one.trace_state = mark
    one.events.add(name=mark, attributes=[KeyValue(key=mark, value=array(text(mark)))])
    one.links.add(trace_id=b"\1" * 16, span_id=b"\1" * 8, trace_state=mark)
    scope.spans.append(one)
    group.resource.attributes.add(key=mark, value=array(text(mark)))
    group.resource.attributes.add(key="service.name", value=text(mark))
    scope.scope.CopyFrom(type(scope.scope)(name=mark, attributes=[KeyValue(key=mark, value=text(mark))]))
    before = count(REPAIRED)
    way = Way(message.SerializeToString().replace(mark.encode(), BAD), request([span(2)]))
    assert count(REPAIRED) - before >= 14
    assert way.found(f'{{ span."{GOOD}" = "{GOOD}" && name = "{GOOD}" && resource.service.name = "{GOOD}" }}') == [1]
    assert way.found(f'{{ span.n = "{GOOD}" }}') == [1]
    got, other = way.groups()
    assert got.schema_url == GOOD
    assert str(got).count(GOOD) == str(message).count(mark)
    assert other.scope_spans[0].spans[0].span_id == span(2).span_id


def test_garbage_in_nested_values() -> None:
    """What is no list at all is kept as bytes."""
    for where in ("span", "event", "resource"):
        (group,) = Way(with_value(b"\x2a\x03\xff\xff\xff", where)).groups()
        (got,) = group.scope_spans[0].spans
        holder: Any = {"span": got, "resource": group.resource}.get(where)
        assert values((holder or got.events[0]).attributes)["k"].WhichOneof("value") == "bytes_value"


def test_events_and_links_in_the_thousands() -> None:
    """All come back, in order; the spans around it are found."""
    events = [
        Span.Event(time_unix_nano=n, name=f"e{n}", attributes=[KeyValue(key="n", value=AnyValue(int_value=n))])
        for n in range(5000)
    ]
    links = [Span.Link(trace_id=n.to_bytes(16, "big"), span_id=b"\1" * 8) for n in range(1, 3000)]
    way = Way(request([span(1), span(2, events=events, links=links), span(3)]))
    assert way.found('{ name = "op" }') == [1, 2, 3]
    got = way.spans()[1]
    assert list(got.events) == events
    assert list(got.links) == links


def test_too_many_attributes() -> None:
    """The first thousands stay; the others are dropped, and the span, event, resource or scope says how many."""
    pairs = [KeyValue(key=f"k{n}", value=AnyValue(int_value=n)) for n in range(ATTRIBUTES_MAX + 10)]
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.extend(pairs)
    group.resource.dropped_attributes_count = 5
    one = span(attributes=[], events=[Span.Event(attributes=pairs)], dropped_attributes_count=7)
    one.attributes.extend(pairs)
    group.scope_spans.add().spans.extend([one, span(2)])
    before = count(DROPPED)
    way = Way(message.SerializeToString())
    assert count(DROPPED) - before == 10 + 10 + (ATTRIBUTES_MAX + 10 - 256)
    (found,) = way.groups()
    first, second = found.scope_spans[0].spans
    assert (len(first.attributes), first.dropped_attributes_count) == (ATTRIBUTES_MAX, 17)
    assert (len(first.events[0].attributes), first.events[0].dropped_attributes_count) == (ATTRIBUTES_MAX, 10)
    assert (len(found.resource.attributes), len(second.attributes)) == (256, 0)
    assert found.resource.dropped_attributes_count == 5 + ATTRIBUTES_MAX + 10 - 256
    assert way.found(f"{{ span.k{ATTRIBUTES_MAX - 1} = {ATTRIBUTES_MAX - 1} }}") == [1]


def test_a_long_list_of_tiny_items() -> None:
    """Is cut after some thousand items: what is hostile must not take seconds."""
    way = Way(request([span(attributes={"k": array(*[AnyValue(bool_value=True)] * 100_000)})]))
    assert list(way.attributes()["k"].array_value.values) == [AnyValue(bool_value=True)] * ITEMS_MAX
