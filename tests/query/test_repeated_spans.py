"""Spans that a client sent twice are found by few columns, where they rest, and once for many queries."""

import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from query.requests import SearchRequest
from query.scan.reader import Reader
from query.scan.stitch import StitchedSource, ids_in_several, stitch
from query.scan.trace_lookup import find
from query.search.search import search
from tables.columns.absent import EMPTY_TEXTS, MOSTLY_EMPTY
from tables.columns.in_memory import TableSource
from tables.columns.whole_traces import FACT_COLUMNS
from tables.parquet import group, kept_digests
from tables.parquet.read import ParquetSource
from tables.schema import OPTIONAL
from tables.storage.byte_cache import ByteCache
from tests.helpers.blocks.resting import DECODER, file_source, group_source, sealed
from tests.helpers.examples import examples
from tests.strategies import REQUESTS

# Values that a span without the field has, too.
NOTHING = {
    **dict.fromkeys(EMPTY_TEXTS, ""),
    **{name: [] for name in MOSTLY_EMPTY},
    **{field.name: 0 for field in OPTIONAL if str(field.type) == "uint32"},
}


def stitched(sources: Sequence[Any]) -> StitchedSource | None:
    readers = [Reader(source) for source in sources]
    shared = ids_in_several([reader.traces().ids for reader in readers])
    some = [(reader, *find(reader.traces(), shared)) for reader in readers]
    return stitch(some, ["status_code"]) if len(shared) else None


def exact(value: Any) -> Any:
    """A value as something that equals another one only if all bits are equal."""
    match value:
        case float():
            return struct.pack(">d", value)
        case list():
            return tuple(map(exact, value))
        case dict():
            return tuple((name, exact(one)) for name, one in value.items())
    return value


def span_rows(table: Any) -> Iterator[dict[str, Any]]:
    """What a client sent, span by span, without what stands for nothing."""
    source = TableSource(table)
    columns = {name: array.to_pylist() for name, array in source.read(sorted(source.columns)).items()}
    for row in range(source.rows):
        fields = {name: values[row] for name, values in columns.items() if name not in FACT_COLUMNS}
        yield {
            name: value
            for name, value in fields.items()
            if value is not None and value != NOTHING.get(name, NotImplemented)
        }


def row_by_row(sources: Sequence[Sequence[Any]]) -> Counter[Any]:
    """How often each span id of each trace comes, of traces that several sources have. In: the tables of each source"""
    holders: Counter[bytes] = Counter()
    spans = set()
    for tables in sources:
        rows = [row for table in tables for row in span_rows(table)]
        holders.update({row["trace_id"] for row in rows})
        spans |= {tuple((name, exact(row[name])) for name in sorted(row)) for row in rows}
    found = map(dict, spans)
    return Counter((row["trace_id"], row["span_id"]) for row in found if holders[row["trace_id"]] > 1)


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(requests=st.lists(REQUESTS, min_size=2, max_size=3), data=st.data())
def test_as_row_by_row(requests: list[ExportTraceServiceRequest], data: st.DataObject) -> None:
    """Whatever sources the spans lie in, with and without kept digests, and when sources come and go."""
    requests = [one for one in requests if len(DECODER.decode([one.SerializeToString()]).spans)]
    if not requests:
        return
    again = data.draw(st.lists(st.sampled_from(requests), min_size=1, max_size=3))
    tables = [sealed(one, data.draw(st.sampled_from([1000, 2, 0]))) for one in [*requests, *again]]
    cache: Any = ByteCache("test", data.draw(st.sampled_from([0, 1 << 24])))
    made: list[tuple[Any, list[Any]]] = []
    while sum(len(of) for _, of in made) < len(tables):
        rest = tables[sum(len(of) for _, of in made) :]
        match data.draw(st.sampled_from(["memory", "file", "group"])):
            case "memory":
                made.append((TableSource(rest[0]), rest[:1]))
            case "file":
                made.append((file_source(f"file {len(made)}", rest[0], cache), rest[:1]))
            case _:
                some = rest[: data.draw(st.integers(1, 3))]
                made.append((group_source(f"group {len(made)}", some, cache), some))
    for _ in range(3):
        use = data.draw(st.lists(st.sampled_from(range(len(made))), unique=True, min_size=1))
        found = stitched([made[number][0] for number in use])
        wanted = row_by_row([made[number][1] for number in use])
        got: Counter[Any] = Counter()
        if found is not None:
            columns = found.read(["trace_id", "span_id"])
            got = Counter(zip(columns["trace_id"].to_pylist(), columns["span_id"].to_pylist(), strict=True))
        assert got == wanted


def wide(first: int, spans: int = 40) -> ExportTraceServiceRequest:
    """Spans of one trace, of which each has an attribute that no other has."""
    made = ExportTraceServiceRequest()
    into = made.resource_spans.add().scope_spans.add().spans
    for number in range(first, first + spans):
        span = into.add(trace_id=bytes([1] * 16), span_id=number.to_bytes(8, "big"), name=f"name {number}")
        span.start_time_unix_nano, span.end_time_unix_nano = 10**9 + number, 10**9 + 100
        span.attributes.add(key=f"odd {number}").value.int_value = number
    return made


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows were read with all columns, each time."""
    rows: list[int] = []

    def counts(of: Any, name: str) -> None:
        made = getattr(of, name)

        def counted(it: Any, wanted: Any) -> Any:
            rows.append(len(wanted))
            return made(it, wanted)

        monkeypatch.setattr(of, name, counted)

    counts(ParquetSource, "_made_digests")
    counts(TableSource, "_made_digests")
    counts(group, "digests_of_rows")
    return rows


QUERY = SearchRequest(query='{ name = "none" } >> { name = "name 1" }')


def test_all_columns_are_read_once(reads: list[int]) -> None:
    """For several queries, of the files with rows that may be repeated, and not into the cache, where they evict what
    queries use.
    """
    cache: Any = ByteCache("test", 1 << 26)
    sources: list[Any] = [
        file_source("a", sealed(wide(1)), cache),
        group_source("b", [sealed(wide(39)), sealed(wide(60))], cache),
    ]
    for _ in range(3):
        search(sources, QUERY)
    assert reads == [40] * 3
    for source in sources:
        odd = [name for name in source.columns if "odd" in name]
        assert len(odd) >= 40
        assert [name for name in odd if source.ready_bytes(name) is not None] == []


def test_a_new_file_leaves_what_is_known(reads: list[int]) -> None:
    """What the others have is not read again."""
    cache: Any = ByteCache("test", 1 << 26)
    sources = [file_source(f"old {number}", sealed(wide(first)), cache) for number, first in enumerate((1, 31))]
    search(sources, QUERY)
    assert reads == [40] * 2
    search([*sources, file_source("new", sealed(wide(69)), cache)], QUERY)
    assert reads == [40] * 3


def test_a_large_file_is_read_for_some_rows_then_for_all(reads: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a client sends other spans of it again."""
    monkeypatch.setattr(kept_digests, "_FEW_ROWS", 0)
    cache: Any = ByteCache("test", 1 << 26)
    old = file_source("old", sealed(wide(1)), cache)
    for number in range(1, 8):
        search([old, TableSource(sealed(wide(5 * number - 4, 5)))], QUERY)
    of_heads = 7 * [5]
    assert sorted(reads) == sorted([5, 5, 5, 25, *of_heads])


def test_spans_that_a_name_tells_apart_are_not_read(reads: list[int]) -> None:
    """One id for several spans."""
    other = wide(1)
    for span in other.resource_spans[0].scope_spans[0].spans:
        span.name += " again"
    cache: Any = ByteCache("test", 1 << 26)
    search([file_source("a", sealed(wide(1)), cache), file_source("b", sealed(other), cache)], QUERY)
    assert reads == []


def test_rows_in_memory_are_read_once(reads: list[int]) -> None:
    """They know what they have been asked for."""
    sources = [TableSource(sealed(wide(1))), TableSource(sealed(wide(1)))]
    for _ in range(2):
        search(sources, QUERY)
    assert reads == [40] * 2


def test_of_a_span_that_is_sent_again_and_again_one_is_compared_with_new_ones(reads: list[int]) -> None:
    """Each query sees another head; the files stay as they are."""
    cache: Any = ByteCache("test", 1 << 26)
    sources = [file_source(f"old {number}", sealed(wide(1)), cache) for number in range(4)]
    for _ in range(2):
        head = TableSource(sealed(wide(1)))
        assert len(search([*sources, head], SearchRequest(query="{ } | count() = 40")).traces) == 1
    assert reads == [40] * (4 + 2)  # of each file and of each head once
