"""Records that several tenants share: nobody sees another's spans, and each record is decoded once for all."""

import asyncio
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from agents.distributor.record_producer import Record
from agents.distributor.span_writer import Outcome, Request, SpanWriter
from query.trace.trace import find_trace
from tables.errors import WireError
from tables.live import shared_records
from tables.live.head import Head, seal_records
from tables.live.shared_records import HeadRecord, SharedRecords, spans_of
from tables.wire import record
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.request_records import decode_record
from tables.wire.split import OWN_RECORD_SPANS, Run, split
from tests.helpers.live.whole_way import DECODER, TRACE, request, span

TENANTS = ("ann", "bob", "eve")


def of_tenant(tenant: str, spans: int = 1, first: int = 1) -> bytes:
    """A request that names the tenant wherever a name can be."""
    made = []
    for number in range(first, first + spans):
        attributes = {f"key-{tenant}": f"value-{tenant}", "shared": f"text-{tenant}"}
        one = span(number, name=f"name-{tenant}", attributes=attributes, trace_state=f"state-{tenant}")
        one.status.message = f"status-{tenant}"
        event = one.events.add(name=f"event-{tenant}", time_unix_nano=1)
        event.attributes.add(key=f"eventkey-{tenant}").value.string_value = f"eventvalue-{tenant}"
        one.links.add(trace_id=TRACE, span_id=b"\7" * 8, trace_state=f"link-{tenant}")
        made.append(one)
    return request(made, service_name=f"service-{tenant}", **{f"resource_{tenant}": tenant})


def heads_of(*bodies: tuple[str, bytes]) -> tuple[dict[str, list[HeadRecord]], list[bytes]]:
    """Each tenant's records in a partition, two batches of the same requests; and the values."""
    found: dict[str, list[HeadRecord]] = {}
    values = []
    names = list(dict.fromkeys(tenant for tenant, _ in bodies))
    for offset in range(2):
        decoded = DECODER.decode([body for _, body in bodies])
        tenant_of = np.array([names.index(tenant) for tenant, _ in bodies], np.int32)[decoded.request_of]
        (part,) = split(decoded.spans, 1, tenant_of)
        value, headers = record.encode(part.spans, [(names[run.tenant], run.spans) for run in part.runs])
        values.append(value)
        info = record.read_headers(headers)
        first = 0
        for tenant, spans in info.runs:
            found.setdefault(tenant, []).append(HeadRecord(offset, spans, value, first, info.spans))
            first += spans
    return found, values


def everything(table: pa.Table) -> str:
    """All that a reader of the table could see: names of columns, values, dictionaries."""
    chunks = [chunk for column in table.columns for chunk in column.chunks]
    dictionaries = [chunk.dictionary.to_pylist() for chunk in chunks if pa.types.is_dictionary(chunk.type)]
    return f"{table.column_names} {table.to_pylist()} {dictionaries}"


@pytest.mark.parametrize("columns_max", [pytest.param(300, id="columns"), pytest.param(0, id="overflow")])
def test_no_tenant_sees_another(columns_max: int) -> None:
    """Not in segments, nor in the head, nor by trace id: all tenants use the same trace id and span ids."""
    heads, _ = heads_of(*((tenant, of_tenant(tenant, 2)) for tenant in TENANTS))
    together = SharedRecords(heads.values())
    for tenant, records in heads.items():
        head = Head(columns_max)
        for item in records:
            head.append(item)
        table, bad = seal_records(records, columns_max, together)
        assert table is not None
        assert (len(table), bad) == (2, [])  # both batches have the same spans
        table.validate(full=True)
        answers = [to_resource_spans(find_trace(head.sources(2), TRACE)), to_resource_spans(found(head))]
        texts = [everything(table), everything(head.sources(2)[0]._table), *map(str, answers)]
        for text in texts:
            assert f"value-{tenant}" in text
            assert f"eventvalue-{tenant}" in text
            assert not [other for other in TENANTS if other != tenant and f"-{other}" in text]
            assert not [other for other in TENANTS if other != tenant and f"resource.{other}" in text]


def found(head: Head) -> Any:
    table = find_trace(head.trace_sources(TRACE, 2), TRACE)
    assert table is not None
    return table


def test_small_runs_share_a_record_large_ones_do_not() -> None:
    """One record per partition for all who have few spans; it holds no value of the others, and they none of its."""
    bodies = [of_tenant("ann", OWN_RECORD_SPANS), of_tenant("bob"), of_tenant("eve", 2), of_tenant("bob", 1, 2)]
    decoded = DECODER.decode(bodies)
    tenant_of = np.array([0, 1, 2, 1], np.int32)[decoded.request_of]
    large, small = split(decoded.spans, 1, tenant_of)
    assert large.runs == (Run(0, OWN_RECORD_SPANS),)
    assert small.runs == (Run(1, 2), Run(2, 2))
    assert (np.diff(large.rows) > 0).all()
    for part, others in ((large, ("bob", "eve")), (small, ("ann",))):
        part.spans.validate(full=True)
        value, _ = record.encode(part.spans)
        text = everything(pa.Table.from_batches([record.decode(value)]))
        assert not [other for other in others if f"-{other}" in text]
    (only,) = split(decoded.spans.slice(0, OWN_RECORD_SPANS), 1, tenant_of[:OWN_RECORD_SPANS])
    assert only.runs == (Run(0, OWN_RECORD_SPANS),)


def test_each_record_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """For all heads that are sealed together; without the cache's memory, again for each, with the same spans."""
    heads, _ = heads_of(*((tenant, of_tenant(tenant)) for tenant in TENANTS))
    calls: list[int] = []
    real = shared_records.decode_shared
    monkeypatch.setattr(shared_records, "decode_shared", lambda item: (calls.append(item.offset), real(item))[1])
    together = SharedRecords(heads.values())
    once = [spans_of(records, together)[0] for records in heads.values()]
    assert calls == [0, 1]
    monkeypatch.setattr(shared_records, "_KEPT_BYTES_MAX", 0)
    monkeypatch.setattr(shared_records, "_GROUP_BYTES", 1)
    together = SharedRecords(heads.values())
    again = [spans_of(records, together)[0] for records in heads.values()]
    assert calls == [0, 1] * 4
    for one, other in zip(once, again, strict=True):
        assert pa.Table.from_batches(one).to_pylist() == [row for batch in other for row in batch.to_pylist()]


def test_records_that_cannot_be_joined() -> None:
    """Other columns, or more names than the records' small indices can number: the spans are the same."""
    ids = iter(range(1, 1 << 20))
    many = [span(next(ids), name=f"op{n}") for n in range(20_000)]
    bodies = [request([*many[:9_999], span(next(ids), flags=1)]), request(many[10_000:])]
    values = [record.encode(DECODER.decode([body]).spans)[0] for body in (*bodies, *bodies, *bodies)]
    other = [record.encode(DECODER.decode([request([span(next(ids), name=f"x{n}") for n in range(30_000)])]).spans)[0]]
    records = []
    for offset, value in enumerate(values + other):
        count = len(record.decode(value))
        records.append(HeadRecord(offset, 2, value, count - 2, count))
    batches, bad = spans_of(records)
    assert not bad
    got = sorted(row["span_id"] for batch in batches for row in batch.to_pylist())
    want = sorted(
        row["span_id"] for item in records for row in record.decode(item.value).slice(item.first_row).to_pylist()
    )
    assert got == want


def test_a_bad_record_is_named_once() -> None:
    """By the first of its tenants; the other records come through."""
    heads, values = heads_of(*((tenant, of_tenant(tenant)) for tenant in TENANTS))
    together = [[HeadRecord(1, 1, values[1], n, 4), HeadRecord(2, 1, b"\x10\0\0\0junk", n, 3)] for n in range(3)]
    for number, bad_ones in enumerate(together):
        records = [heads[TENANTS[number]][0], *bad_ones]
        table, bad = seal_records(records, 300, SharedRecords([records]))
        assert table is not None
        assert len(table) == 1
        assert [item.offset for item in bad] == ([1, 2] if number == 0 else [])
        head = Head()
        for item in records:
            head.append(item)
        assert [source.rows for source in head.trace_sources(TRACE, 3)] == [1]


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="missing"),
        pytest.param(b"", id="empty"),
        pytest.param(b"a:1", id="other sum"),
        pytest.param(b"a:1,a:1", id="a tenant twice"),
        pytest.param(b"a:2,b:0", id="no spans"),
        pytest.param(b"a:-1,b:3", id="negative"),
        pytest.param(b"a/b:2", id="not a tenant"),
        pytest.param(b"a:2,", id="comma at the end"),
        pytest.param("a:²".encode(), id="not decimal"),
        pytest.param(b"\xff:2", id="not UTF-8"),
    ],
)
def test_bad_runs(header: bytes | None) -> None:
    """A shared record whose headers do not say whose its spans are is refused as a whole."""
    headers = [("v", b"2"), ("n", b"2"), ("t", b"1-2")] + ([] if header is None else [("m", header)])
    with pytest.raises(WireError, match="header `m`"):
        record.read_headers(headers)


def test_a_shared_record_that_is_too_large_is_halved() -> None:
    """Each half says whose its spans are; a single span that is too large is refused to its sender alone."""

    class Kafka:
        partitions = 1

        def __init__(self) -> None:
            self.records: list[Record] = []

        async def write(self, records: list[Record]) -> None:
            self.records += records

    noise = np.random.default_rng(7).integers(33, 0x2FF, 40_000)
    bodies = [of_tenant("ann", 3), request([span(9, attributes={"k": "".join(map(chr, noise))})]), of_tenant("eve", 2)]
    kafka: Any = Kafka()
    requests = [Request(tenant, body) for tenant, body in zip(TENANTS, bodies, strict=True)]
    outcomes = asyncio.run(SpanWriter(kafka, 20_000).write(requests))
    assert outcomes == [Outcome(received=3), Outcome(received=1, too_large=1), Outcome(received=2)]
    spans = {"ann": 0, "eve": 0}
    for one in kafka.records:
        info = record.read_headers(one.headers)
        runs = info.runs
        assert bool(runs) == (one.key == b"")
        batch = decode_record(one.value, info)
        row = 0
        for tenant, count in runs or ((one.key.decode(), len(batch)),):
            assert set(batch["status_message"].to_pylist()[row : row + count]) == {f"status-{tenant}"}
            spans[tenant] += count
            row += count
    assert spans == {"ann": 3, "eve": 2}
