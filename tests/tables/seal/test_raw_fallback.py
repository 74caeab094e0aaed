"""Spans that a seal cannot take: kept whole, found by trace id, neighbours unhurt; in the head, a segment, a block."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pyarrow as pa
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from query.trace.trace import find_trace
from tables.live.head import Head, seal_records
from tables.live.partition import CutPolicy
from tables.live.shared_records import HeadRecord
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.seal import raw_fallback, segment
from tables.seal.raw_fallback import raw_spans
from tables.storage.byte_cache import ByteCache
from tables.wire import record
from tables.wire.otlp.writer import to_resource_spans
from tests.helpers.files import file_of
from tests.helpers.live.whole_way import DECODER, request, span
from tests.helpers.receiving.panics import PanicException

POISON = "poison"


def trace(number: int) -> bytes:
    return number.to_bytes(16, "big")


def poisoned(number: int) -> Span:
    """With something of everything."""
    value = AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=-1), AnyValue(string_value="x")]))
    return span(
        number,
        trace=trace(number),
        attributes={POISON: "yes", "list": value, "nothing": AnyValue()},
        name="bad one",
        kind=2,
        trace_state="a=b",
        flags=3,
        events=[Span.Event(time_unix_nano=5, name="e", attributes=[KeyValue(key="k", value=value)])],
        links=[Span.Link(trace_id=trace(99), span_id=b"\1" * 8, attributes=[KeyValue(key="k", value=value)])],
        dropped_links_count=2,
    )


def records(bad: set[int], count: int, per_record: int = 4) -> list[HeadRecord]:
    spans = [
        poisoned(n) if n in bad else span(n, trace=trace(n), attributes={"n": str(n)}) for n in range(1, count + 1)
    ]
    out = []
    for offset, at in enumerate(range(0, count, per_record)):
        body = request(spans[at : at + per_record], service_name="shop")
        value, headers = record.encode(DECODER.decode([body]).spans)
        out.append(HeadRecord(offset, record.read_headers(headers).spans, value))
    return out


def keys_of(batches: list[pa.RecordBatch]) -> Iterator[str]:
    for batch in batches:
        yield from batch.column("attributes").flatten().field("key").to_pylist()


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Makes one step of the seal fail where there is a poisoned span."""

    def with_error(error: BaseException) -> None:
        real = segment.attribute_columns

        def step(rows: Any, *args: Any) -> Any:
            if POISON in keys_of(rows.batches):
                raise error
            return real(rows, *args)

        monkeypatch.setattr(segment, "attribute_columns", step)

    return with_error


def everywhere(items: list[HeadRecord]) -> dict[str, list[Any]]:
    """Sources of the head, of one trace's look-up in it, and of the file that becomes segment and block."""
    head = Head()
    for item in items:
        head.append(item)
    table, bad = seal_records(items)
    assert table is not None
    assert not bad
    table.validate(full=True)
    data = to_parquet(table)
    file = ParquetSource(f"raw {id(data)}", lambda: file_of(data), ByteCache("test", 1 << 24), len(table))
    return {"head": head.sources(len(items)), "file": [file], "head of one": [head]}


def by_id(sources: list[Any], number: int, count: int) -> list[Span]:
    if isinstance(sources[0], Head):
        sources = sources[0].trace_sources(trace(number), count)
    table = find_trace(sources, trace(number))
    assert table is not None
    groups = to_resource_spans(table)
    assert [pair.value.string_value for group in groups for pair in group.resource.attributes] == ["shop"]
    return [one for group in groups for scoped in group.scope_spans for one in scoped.spans]


@pytest.mark.parametrize(
    "error", [ValueError("no"), RuntimeError("no"), pa.ArrowInvalid("no"), PanicException("slice")]
)
@pytest.mark.parametrize("bad", [{3}, {1, 2, 3, 4}, {1, 7, 20}, set(range(1, 21))])
def test_a_span_that_cannot_be_sealed_is_kept_whole(
    broken: Callable[[BaseException], None], error: BaseException, bad: set[int]
) -> None:
    """It comes back by its trace id as it was sent, from head, segment and file; so do all others."""
    broken(error)
    items = records(bad, 20)
    for sources in everywhere(items).values():
        for number in range(1, 21):
            (got,) = by_id(sources, number, len(items))
            wanted = (
                poisoned(number) if number in bad else span(number, trace=trace(number), attributes={"n": str(number)})
            )
            if not got.status.ByteSize():
                got.ClearField("status")
            assert got == wanted
    table, _ = seal_records(items)
    assert table is not None
    assert raw_spans(table) == len(bad)


def test_the_fixed_columns_of_a_raw_span_hold(broken: Callable[[BaseException], None]) -> None:
    """Its name, times and service are known, so that it counts and shows in a list of traces."""
    broken(ValueError("no"))
    table, _ = seal_records(records({3}, 8))
    assert table is not None
    (row,) = [row for row in table.to_pylist() if row["raw"] is not None]
    assert (row["name"], row["kind"], row["root_service"], row["duration_ns"]) == ("bad one", 2, "shop", 1_000_000)


def test_a_fault_in_a_fixed_column(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then no more than ids and start are trusted, and the span comes back whole all the same."""
    real = segment.parse_resource

    def step(raw: bytes) -> Any:
        if b"shop" in raw:
            raise ValueError("no")
        return real(raw)

    monkeypatch.setattr(segment, "parse_resource", step)
    items = records({2}, 8)
    for sources in everywhere(items).values():
        assert [len(by_id(sources, number, len(items))) for number in range(1, 9)] == [1] * 8


def test_what_is_too_much_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each record can be sealed, all of them cannot: what does not fit is kept raw, nothing is lost."""
    real = segment.attribute_columns

    def step(rows: Any, *args: Any) -> Any:
        if sum(1 for key in keys_of(rows.batches) if key == "n") > 10:
            raise pa.ArrowInvalid("offset overflow while concatenating arrays")
        return real(rows, *args)

    monkeypatch.setattr(segment, "attribute_columns", step)
    items = records(set(), 20)
    for sources in everywhere(items).values():
        assert [len(by_id(sources, number, len(items))) for number in range(1, 21)] == [1] * 20


def test_a_file_that_cannot_be_written(caplog: pytest.LogCaptureFixture) -> None:
    """What the writer of Parquet refuses is no less a step of the seal."""
    from tables.live.head import seal_and

    def write(table: pa.Table) -> Any:
        if f"span.{POISON}" in table.column_names:
            raise pa.ArrowNotImplementedError("no")
        return to_parquet(table)

    with caplog.at_level(logging.ERROR):
        table, data, bad = seal_and(write, records({5}, 8), 300)
    assert table is not None and data is not None and not bad  # noqa: PT018
    assert (raw_spans(table), len(table)) == (1, 8)
    assert "1 of 8 spans are kept raw" in caplog.text


@pytest.mark.parametrize("error", [OSError("disk"), MemoryError()])
def test_what_says_nothing_about_the_spans_is_passed_on(
    broken: Callable[[BaseException], None], error: BaseException
) -> None:
    """The seal is tried again later; nothing is kept raw for it."""
    broken(error)
    with pytest.raises(type(error)):
        seal_records(records({1}, 4))


def test_the_search_ends(broken: Callable[[BaseException], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it takes too long, more than the bad spans are kept raw, and found."""
    broken(ValueError("no"))
    monkeypatch.setattr(raw_fallback, "_SEARCH_S", 0.0)
    items = records({3}, 8)
    table, _ = seal_records(items)
    assert table is not None
    assert raw_spans(table) == 8
    for sources in everywhere(items).values():
        assert [len(by_id(sources, number, len(items))) for number in range(1, 9)] == [1] * 8


def test_wide_resources() -> None:
    """A resource's long lists and bytes are not copied for each of its spans; all of it comes back."""
    pairs = {
        "bytes": AnyValue(bytes_value=b"x" * 60_000),
        "list": AnyValue(array_value=ArrayValue(values=[AnyValue(string_value="y" * 60_000)])),
        "numbers": AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(int_value=2)])),
    }
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.extend(KeyValue(key=key, value=value) for key, value in pairs.items())
    group.scope_spans.add().spans.extend(span(n, trace=trace(n)) for n in range(1, 2001))
    decoded = DECODER.decode([message.SerializeToString()])
    value, headers = record.encode(decoded.spans)
    table, _ = seal_records([HeadRecord(0, record.read_headers(headers).spans, value)])
    assert table is not None
    assert raw_spans(table) == 0
    assert table.nbytes < 2_000_000
    assert {name for name in table.column_names if name.startswith("resource.")} == {
        "resource.bytes:bytes",
        "resource.list:any",
        "resource.numbers:int[]",
    }
    data = to_parquet(table)
    source = ParquetSource("wide", lambda: file_of(data), ByteCache("test", 1 << 24), len(table))
    found = find_trace([source], trace(7))
    assert found is not None
    (got,) = to_resource_spans(found)
    assert {pair.key: pair.value for pair in got.resource.attributes} == pairs


def test_a_head_is_full_by_what_it_holds_once_decoded() -> None:
    """Spans that compress a thousandfold do not pile up until the seal takes all memory."""
    policy = CutPolicy(partitions=1, segment_decoded_bytes_max=1 << 20)
    body = request([span(n, trace=trace(n), attributes={"a": "x" * 60_000}) for n in range(1, 11)])
    value, headers = record.encode(DECODER.decode([body]).spans)
    assert len(value) < 10_000
    head = Head()
    fits = []
    for offset in range(3):
        head.append(HeadRecord(offset, record.read_headers(headers).spans, value))
        fits.append(not policy.is_full(head))
    assert fits == [True, False, False]
