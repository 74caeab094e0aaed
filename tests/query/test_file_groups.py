"""Any grouping of small files answers what the files answer one by one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from query.metrics.metrics import metrics_range
from query.requests import RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest
from query.scan.stitch import whole
from query.search.search import search
from query.tags.tag_text import parse_tag
from query.tags.tags import tag_names, tag_values
from query.trace.trace import find_trace
from tables.columns import overflow
from tables.columns.arrays import one_array
from tables.columns.in_memory import TableSource
from tables.columns.whole_traces import FACT_COLUMNS
from tables.parquet.directory import with_directory
from tables.parquet.encode_file import encode_rows
from tables.parquet.group import GroupSource
from tables.parquet.read import ParquetSource
from tables.parquet.small_files import SmallFile, load
from tables.parquet.write import key_values, one_chunk, to_parquet
from tables.schema import parse_attribute_column
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tests.helpers.examples import examples
from tests.helpers.files import file_of
from tests.query.golden import load_table
from tests.query.strategies import END, LEAVES, QUERIES, START, STEP_NS, spans, split

SLOW = settings(max_examples=examples(9), deadline=None, suppress_health_check=[HealthCheck.too_slow])
MOVABLE = ("string", "int", "double", "bool")


def moved_to_overflow(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Some attributes without columns of their own."""
    collected = overflow.Overflow(table.num_rows)
    for name in names:
        array = one_array(table[name])
        rows = np.flatnonzero(array.is_valid().to_numpy(zero_copy_only=False))
        attribute = parse_attribute_column(name)
        assert attribute is not None
        values = array.drop_null()
        labels = pa.array([name] * len(values), pa.string())
        collected.add(rows, overflow.entries(labels, overflow.value_field(attribute.type), values))
        table = table.drop_columns([name])
    for name, column in collected.columns().items():
        table = table.append_column(name, column)
    return table


def files(table: pa.Table, data: st.DataObject) -> list[tuple[SmallFile, Any]]:
    """The spans in up to three small files, some attributes of each in the overflow."""
    return [one for number, part in enumerate(split(table, data)) for one in written(part, data, f"file {number}")]


def written(part: pa.Table, data: st.DataObject, name: str) -> list[tuple[SmallFile, Any]]:
    attributes = [(name, parse_attribute_column(name)) for name in part.column_names]
    movable = [name for name, parts in attributes if parts is not None and parts.type in MOVABLE]
    names = data.draw(st.lists(st.sampled_from(movable), unique=True)) if movable else []
    names = [name for name in names if part[name].null_count < part.num_rows]
    empty = [name for name, parts in attributes if parts and part[name].null_count == part.num_rows]
    write = data.draw(st.sampled_from([to_parquet, encoded]), label="written")
    made = write(moved_to_overflow(part.drop_columns(empty), names))
    return [(SmallFile(name, made.size, part.num_rows, tail_of(made)), made)]


def encoded(table: pa.Table) -> Any:
    """As merged files of some thousand rows are written."""
    return with_directory(encode_rows(one_chunk(table), key_values(None), 12_288), table)


def one_by_one(made: Sequence[tuple[SmallFile, Any]]) -> list[Any]:
    """By the directory and by the footer, in turns."""
    cache: Any = ByteCache("test", 1 << 24)
    return [
        ParquetSource(
            file.path, lambda data=data: file_of(data), cache, file.rows, tail=None if number % 2 else file.tail
        )
        for number, (file, data) in enumerate(made)
    ]


def grouped(made: Sequence[tuple[SmallFile, Any]], data: st.DataObject) -> list[Any]:
    """The same files in up to two groups, with or without a cache."""
    cache: Any = ByteCache("test", data.draw(st.sampled_from([0, 1 << 24])))
    loaded = {file.path: load(file, written) for file, written in made}
    groups: list[list[SmallFile]] = [[], []]
    for file, _ in made:
        groups[data.draw(st.integers(0, 1))].append(file)
    return [
        GroupSource(f"group {number}", group, lambda of: [loaded[file.path] for file in of.files], cache)
        for number, group in enumerate(groups)
        if group
    ]


def plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


@SLOW
@given(table=spans(), data=st.data())
def test_columns(table: pa.Table, data: st.DataObject) -> None:
    """A group of all files has the columns that one file with all rows has, whole, at some rows, and as sparse."""
    made = files(table, data)
    cache: Any = ByteCache("test", data.draw(st.sampled_from([0, 1 << 24])))
    loaded = [load(*one) for one in made]
    group = GroupSource("group", [file for file, _ in made], lambda _: loaded, cache)
    expected = TableSource(table)
    assert group.rows == expected.rows
    # Fixed columns are there, whether or not a row has a value.
    assert group.columns >= expected.columns
    columns = sorted(expected.columns)
    assert group.traces().ids.tolist() == expected.traces().ids.tolist()
    assert group.traces().offsets.tolist() == expected.traces().offsets.tolist()
    first = data.draw(st.integers(0, table.num_rows - 1))
    rows = (first, data.draw(st.integers(first + 1, table.num_rows)))
    few = group.read(columns, rows)
    assert group.decoded_bytes(columns) > 0
    sparse = group.sparse() if group.sparse_columns() else None
    for column in columns:
        whole, want = group.read([column])[column], expected.read([column])[column]
        assert whole.type == want.type
        assert plain(whole).to_pylist() == plain(want).to_pylist(), column
        assert plain(few[column]).to_pylist() == plain(want).slice(first, rows[1] - first).to_pylist(), column
        if column in group.sparse_columns():
            assert sparse is not None
            at, values = sparse.column(column)
            assert at.tolist() == np.flatnonzero(plain(want).is_valid()).tolist()
            assert values.to_pylist() == plain(want).drop_null().to_pylist()
        if (bounds := group.bounds(column)) is not None:
            values = [value for value in plain(want).to_pylist() if value is not None]
            assert bounds[0] <= min(values)
            assert max(values) <= bounds[1]


@SLOW
@given(
    table=spans(),
    query=QUERIES | st.just("{ }"),
    limit=st.integers(0, 5),
    order=st.sampled_from(["start", "duration"]),
    window=st.tuples(st.none() | st.integers(0, 60), st.none() | st.integers(0, 60)),
    data=st.data(),
)
def test_search(
    table: pa.Table, query: str, limit: int, order: Any, window: tuple[int | None, int | None], data: st.DataObject
) -> None:
    request = SearchRequest(
        query=query, start_ns=window[0], end_ns=window[1], limit=limit, order=order, total=True, spans_per_span_set=2
    )
    made = files(table, data)
    expected, found = search(one_by_one(made), request), search(grouped(made, data), request)
    assert list(found.traces) == list(expected.traces)
    assert found.total == expected.total


@SLOW
@given(table=spans(), query=LEAVES, data=st.data())
def test_metrics(table: pa.Table, query: str, data: st.DataObject) -> None:
    request = RangeRequest(query=query, start_ns=START, end_ns=END, step_ns=STEP_NS)
    made = files(table, data)
    try:
        expected = metrics_range(one_by_one(made), request).series
    except Exception as err:  # noqa: BLE001  # whatever it is, it must be the same
        with pytest.raises(type(err)):
            metrics_range(grouped(made, data), request)
        return
    found = metrics_range(grouped(made, data), request).series
    assert [one.labels for one in found] == [one.labels for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert [at for at, _ in one.samples] == [at for at, _ in other.samples]
        assert [value for _, value in one.samples] == pytest.approx([value for _, value in other.samples], nan_ok=True)


@SLOW
@given(table=spans(), query=st.sampled_from(["", '{ name = "GET" }', "{ span.a = 1 }"]), data=st.data())
def test_tags(table: pa.Table, query: str, data: st.DataObject) -> None:
    made = files(table, data)
    names = TagNamesRequest(query=query)
    assert tag_names(grouped(made, data), names).scopes == tag_names(one_by_one(made), names).scopes
    for tag in ("span.a", "resource.service.name", "event.a", "rootName"):
        request = TagValuesRequest(fields=(parse_tag(tag),), query=query)
        found, expected = (tag_values(sources, request).values for sources in (grouped(made, data), one_by_one(made)))
        assert sorted(map(str, found)) == sorted(map(str, expected))


@SLOW
@given(table=spans(), data=st.data())
def test_trace_by_id(table: pa.Table, data: st.DataObject) -> None:
    made = files(table, data)
    for trace_id in (bytes([number]) * 16 for number in range(5)):
        expected, found = find_trace(one_by_one(made), trace_id), find_trace(grouped(made, data), trace_id)
        assert (found is None) == (expected is None)
        if found is not None and expected is not None:
            assert found.select(sorted(found.column_names)).equals(expected.select(sorted(expected.column_names)))


@SLOW
@given(table=spans(), again=st.lists(st.integers(0, 13), min_size=1), changed=st.booleans(), data=st.data())
def test_what_a_client_sent_again_counts_once(
    table: pa.Table, again: list[int], changed: bool, data: st.DataObject
) -> None:
    """Spans of one file that are in another one, too, are there once; unless a field differs."""
    rows = sorted({number % table.num_rows for number in again})
    second = whole(table.take(pa.array(rows)))
    if changed:
        at = second.schema.get_field_index("status_message")
        second = second.set_column(at, "status_message", pa.array(["changed"] * len(rows)))
    made = [*written(table, data, "first"), *written(second, data, "second")]
    loaded = [load(*one) for one in made]
    group = GroupSource("group", [file for file, _ in made], lambda _: loaded, ByteCache("test", 1 << 24))
    assert group.rows == table.num_rows + (len(rows) if changed else 0)
    # Where traces must be whole, stitching single files does the same.
    request = SearchRequest(query="{ } | count() > 0", spans_per_span_set=20)
    found, expected = (
        [(trace.trace_id, trace.span_sets) for trace in search(sources, request).traces]
        for sources in ([group], one_by_one(made))
    )
    assert found == expected


def test_facts_are_those_of_whole_traces() -> None:
    """What the property tests rely on: a column of facts is no column of a client."""
    assert {"nested_left", "root_name", "trace_duration_ns"} <= set(FACT_COLUMNS)


def test_what_no_file_has_is_seen_before_rows_are_sorted() -> None:
    table = load_table(
        """load
  t1 a start=5s name=GET kind=server span.x=1 span.y="a"
  t2 a start=6s name=PUT kind=client span.x=7
  t3 a start=7s name=GET kind=client span.y="b"
"""
    )
    made = [to_parquet(table.slice(at, 1)) for at in range(3)]
    small = [SmallFile(f"file {at}", one.size, 1, tail_of(one), 1) for at, one in enumerate(made)]
    loaded = [load(*one) for one in zip(small, made, strict=True)]
    cache: Any = ByteCache("test", 1 << 24)
    group = GroupSource("group", small, lambda _: loaded, cache)
    for query in (
        '{ span.nosuch = "x" }',
        '{ name = "nosuch" }',
        "{ span.x = 3 }",
        "{ span.x = 8 }",
        "{ kind = producer }",
    ):
        found = search([group], SearchRequest(query=query))
        assert (len(found.traces), found.inspected.spans, found.inspected.traces) == (0, 3, 3)
        assert group.unsorted() is not None, query
    found = search([group], SearchRequest(query='{ name = "GET" && span.y != "z" }'))
    assert [one.trace_id for one in found.traces] == [name.rjust(16, b"\0") for name in (b"t3", b"t1")]
    assert group.unsorted() is None
