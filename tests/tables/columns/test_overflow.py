"""More attribute keys than columns: the rarest share a list column, and nobody who asks can tell."""

import random
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue

from query.requests import SearchRequest
from query.search.search import search
from tables.columns.overflow import COLUMN
from tables.schema import attribute_column, parse_attribute_column
from tables.seal import seal
from tests.helpers.live.whole_way import START_NS, Way, request, span, values

KINDS = [
    AnyValue(string_value="v"),
    AnyValue(int_value=7),
    AnyValue(double_value=0.5),
    AnyValue(bool_value=True),
    AnyValue(bytes_value=b"\xff"),
    AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="v"), AnyValue(string_value="w")])),
    AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=7)])),
    AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=7), AnyValue()])),
    AnyValue(),
]


def attribute_columns(way: Way) -> list[str]:
    return [name for name in way.table.column_names if parse_attribute_column(name)]


def test_5000_keys() -> None:
    """Bounded columns; a rare key is searched by value, type and absence; by id all attributes come back."""
    rng = random.Random(1)
    spans, common = [], {"http.route": "/a", "http.status_code": AnyValue(int_value=200)}
    for number in range(1, 10_001):
        rare = {f"rare.{rng.randrange(5000)}": AnyValue(int_value=number) for _ in range(2)}
        spans.append(span(number, trace=(1 + number // 10).to_bytes(16, "big"), attributes=common | rare))
    way = Way(request(spans, service_name="s"))
    assert len(attribute_columns(way)) == 1000
    assert {"span.http.route", "span.http.status_code:int", "resource.service.name"} <= set(attribute_columns(way))
    assert len(way.source.columns & {f"span.rare.{n}:int" for n in range(5000)}) > 4800
    by_key: dict[str, list[int]] = {}
    for one in spans:
        for pair in one.attributes[2:]:
            by_key.setdefault(pair.key, []).append(int.from_bytes(one.span_id, "big"))
    hidden = sorted(key for key in by_key if f"span.{key}:int" not in way.table.column_names)
    assert len(hidden) > 3800
    for key in (hidden[0], hidden[-1]):
        assert way.found(f"{{ span.{key} != nil }}") == sorted(by_key[key])
        assert way.found(f"{{ .{key} = {by_key[key][0]} && span.http.status_code = 200 }}") == by_key[key][:1]
        assert way.found(f'{{ span.{key} = "a string" }}') == []
    trace = (1 + 77).to_bytes(16, "big")
    got = {one.span_id: values(one.attributes) for one in way.spans(trace)}
    assert got == {one.span_id: values(one.attributes) for one in spans if one.trace_id == trace}
    assert len(way.file) < 10_000 * 60


@pytest.mark.parametrize("value", [pytest.param(value, id=value.WhichOneof("value") or "none") for value in KINDS])
@pytest.mark.parametrize("where", ["span", "resource", "instrumentation"])
def test_every_type_overflows(value: AnyValue, where: str) -> None:
    """Whatever the type and the scope, the attribute is read as if it had a column."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    scope = group.scope_spans.add()
    scope.spans.extend([span(1), span(2)])
    holder = {"span": scope.spans[1], "resource": group.resource, "instrumentation": scope.scope}[where]
    holder.attributes.append(KeyValue(key="k", value=value))
    body = message.SerializeToString()
    wide, narrow = Way(body), Way(body, columns_max=0)
    (column,) = attribute_columns(wide)
    assert attribute_columns(narrow) == []
    assert COLUMN not in wide.table.column_names
    for source in (narrow.source, *narrow.head):
        assert COLUMN not in source.columns
        assert {name for name in source.columns if parse_attribute_column(name)} == {column}
        assert source.columns <= wide.source.columns  # parts of heads leave out those without any value
        for rows in (None, (0, 1), (1, 2), (1, 1)):
            want, got = wide.source.read([column, "span_id"], rows), source.read([column, "span_id"], rows)
            assert got[column].type == want[column].type
            assert got[column].to_pylist() == want[column].to_pylist()
            assert got["span_id"].equals(want["span_id"])
        assert source.bounds(column) is None
    assert [g.SerializeToString() for g in narrow.groups()] == [g.SerializeToString() for g in wide.groups()]


@pytest.mark.parametrize("columns_max", range(5))
def test_values_that_share_a_column_stay_together(columns_max: int) -> None:
    """A column is either in the file or in the overflow, never half in each."""
    kinds = [*KINDS, AnyValue(array_value=ArrayValue())]
    sent = [span(n, attributes={"k": value, "l": "v"}) for n, value in enumerate(kinds, 1)]
    way = Way(request(sent), columns_max=columns_max)
    assert way.spans() == sent
    assert way.found("{ span.k != nil && span.l != nil }") == Way(request(sent)).found("{ span.k != nil }")
    hidden = {entry["column"] for row in way.table[COLUMN].to_pylist() for entry in row}
    assert not hidden & set(way.table.column_names)


def test_unknown_columns_are_an_error() -> None:
    """With an overflow as without."""
    for columns_max in (0, 1000):
        way = Way(request([span(attributes={"k": "v"})]), columns_max=columns_max)
        for source in (way.source, *way.head):
            with pytest.raises(KeyError, match=r"span\.missing"):
                source.read(["span.missing"])


def test_resources_do_not_crowd_out_spans() -> None:
    """They have at most half of the columns: the most frequent of them."""
    bodies = []
    for number in range(1, 41):
        message = ExportTraceServiceRequest()
        group = message.resource_spans.add()
        for key in ("service.name", f"label.{number}", f"pod.{number}"):
            group.resource.attributes.add(key=key).value.string_value = str(number)
        attributes = {f"own.{number % 10}": str(number), "route": "/"}
        group.scope_spans.add().spans.append(span(number, trace=number.to_bytes(16, "big"), attributes=attributes))
        bodies.append(message.SerializeToString())
    way = Way(*bodies, columns_max=30)
    names = attribute_columns(way)
    assert len([n for n in names if n.startswith("resource.")]) == 15
    assert {"resource.service.name", "span.route", *(f"span.own.{n}" for n in range(10))} <= set(names)
    assert way.found('{ resource.label.40 = "40" }') == [40]
    assert way.found('{ resource.service.name = "40" }') == [40]
    (group,) = way.groups((40).to_bytes(16, "big"))
    assert sorted(values(group.resource.attributes)) == ["label.40", "pod.40", "service.name"]


def test_the_choice_is_the_same_on_every_machine() -> None:
    """Replicas make equal segments, whatever order the records of one cut have their keys in."""
    spans = [span(n, attributes={f"k{n % 7}": "v", f"r{n}": "v"}) for n in range(1, 50)]
    tables = [Way(request(order), columns_max=10).table for order in (spans, spans[::-1])]
    assert set(tables[0].column_names) == set(tables[1].column_names)


def test_parquet_readers_see_the_overflow() -> None:
    """The names in it are those that columns would have had."""
    way = Way(request([span(attributes={"k:int": "v", "n": AnyValue(int_value=1)})]), columns_max=0)
    (entries,) = pq.read_table(pa.BufferReader(way.file))[COLUMN].to_pylist()
    found = {e["column"]: {k: v for k, v in e.items() if v is not None and k != "column"} for e in entries}
    assert found == {
        attribute_column("span", "k:int"): {"string_value": "v"},
        "span.n:int": {"int_value": 1},
    }


def test_keys_with_an_id_in_them() -> None:
    """Ten thousand keys, each used once, as faulty instrumentation makes them: seconds, not minutes."""
    keys = 10_000
    spans = [
        span(
            n, trace=(1 + n // 5).to_bytes(16, "big"), start_time_unix_nano=START_NS + n, attributes={f"user.{n}": "v"}
        )
        for n in range(1, keys + 1)
    ]
    begin = time.process_time()
    way = Way(request(spans))
    assert time.process_time() - begin < 20
    assert way.found(f"{{ span.user.{keys} != nil }}") == [keys]
    assert [list(values(s.attributes)) for s in way.spans((2).to_bytes(16, "big"))] == [
        [f"user.{n}"] for n in range(5, 10)
    ]
    assert len(search([way.source], SearchRequest(query='{ span.user.1 = "v" }')).traces) == 1
    assert seal([way.decoded.spans]).num_columns < 1100
