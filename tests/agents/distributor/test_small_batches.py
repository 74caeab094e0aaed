"""Small batches travel as requests: what a reader finds is what columns would have held, however they are split."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor import span_encoder
from agents.distributor.limits import TenantLimits
from agents.distributor.requests import Encoded, Outcome, Request
from agents.distributor.span_encoder import SpanEncoder
from tables.columns.varint import varint
from tables.errors import NeedsSlowPath, WireError
from tables.live.shared_records import HeadRecord, SharedRecords, spans_of, trace_ids_of
from tables.wire import record, request_records
from tables.wire.otlp.small_requests import SmallSplitter
from tables.wire.request_records import decode_record
from tables.wire.split import partition_of
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.limits import inspector
from tests.strategies import REQUESTS

TENANTS = ("ann", "bob", "eve")


def encoder(bytes_max: int = 1 << 20, attribute_bytes_max: int = 65_536) -> SpanEncoder:
    return SpanEncoder(bytes_max, attribute_bytes_max, 10.0)


def small(bodies: list[tuple[str, bytes]], partitions: int = 1, **limits: int) -> Encoded:
    return encoder(**limits).encode([Request(*one) for one in bodies], partitions, fast_path_only=True)


def heads(encoded: Encoded) -> dict[tuple[int, str], list[HeadRecord]]:
    """By partition and tenant, as the live store has them."""
    found: dict[tuple[int, str], list[HeadRecord]] = {}
    for offset, one in enumerate(encoded.records):
        info = record.read_headers(one.headers)
        first = 0
        for tenant, count in info.runs or ((one.key.decode(), info.spans),):
            whole = info.spans if info.runs else 0
            item = HeadRecord(offset, count, one.value, first, whole, info.of_requests)
            found.setdefault((one.partition, tenant), []).append(item)
            first += count
    return found


def rows(encoded: Encoded) -> Counter[str]:
    """Every span with its tenant and partition, whatever form its record has."""
    of_place = heads(encoded)
    together = SharedRecords(of_place.values())
    found: Counter[str] = Counter()
    for place, items in of_place.items():
        batches, bad = spans_of(items, together)
        assert not bad
        for batch in batches:
            for row in batch.to_pylist():
                row["attributes"] = [{k: v for k, v in one.items() if v is not None} for one in row["attributes"]]
                kept = {name: value for name, value in row.items() if value not in (None, "", 0, [])}
                found[repr((place, sorted(kept.items())))] += 1
        ids = [each for item in items for each in trace_ids_of(item).to_pylist()]
        assert Counter(ids) == Counter(each for batch in batches for each in batch.column("trace_id").to_pylist())
        assert all(partition_of(each, 3) == place[0] for each in ids)
    return found


@settings(max_examples=examples(25), deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TENANTS), REQUESTS), min_size=1, max_size=5))
def test_readers_find_what_columns_would_hold(requests: list[tuple[str, ExportTraceServiceRequest]]) -> None:
    bodies = [Request(tenant, message.SerializeToString()) for tenant, message in requests]
    encoded = encoder().encode(bodies, 3, fast_path_only=True)
    columns = encoder().encode(bodies, 3)
    assert encoded.outcomes == columns.outcomes
    assert encoded.spans == columns.spans == rows(encoded).total()
    assert rows(encoded) == rows(columns)


def test_small_batches_are_requests() -> None:
    """And their headers say what is in them."""
    bodies = [(tenant, request([span(2 * n + 1), span(2 * n + 2)], service_name="s")) for n, tenant in enumerate("aab")]
    (one,) = small(bodies).records
    info = record.read_headers(one.headers)
    assert (one.key, info.of_requests, info.runs, info.spans) == (b"", True, (("a", 4), ("b", 2)), 6)
    (alone,) = small(bodies[:2]).records
    assert (alone.key, record.read_headers(alone.headers).runs) == (b"a", ())
    starts = decode_record(one.value, info).column("start_ns").to_pylist()
    assert (info.start_min_ns, info.start_max_ns) == (min(starts), max(starts))


def test_a_request_whose_spans_are_apart() -> None:
    """Spans of one request in several partitions keep their resource, scope and schemas."""
    message = ExportTraceServiceRequest()
    for number in range(3):
        group = message.resource_spans.add(schema_url=f"r{number}")
        group.resource.attributes.add(key="service.name").value.string_value = f"service {number}"
        for part in range(2):
            scoped = group.scope_spans.add(schema_url=f"s{part}")
            scoped.scope.name = f"scope {part}"
            for each in range(4):
                name = f"{number}.{part}.{each}"
                scoped.spans.append(span(each + 1, trace=bytes([number, part, each] * 5 + [1]), name=name))
    bodies = [Request("t", message.SerializeToString())]
    encoded = encoder().encode(bodies, 3, fast_path_only=True)
    assert len(encoded.records) == 3
    assert rows(encoded) == rows(encoder().encode(bodies, 3))


GOLDEN = (
    "5200000028b52ffd20520d020074030a500a180a160a0c736572766963652e6e616d6512060a0473686f70123412320a1001120800012a026f70"
    "39010041409a9389130bea18031000830f63dd13"
)
TAG = b"\xa2\x06\x01x"  # a field that OTLP does not have
WRONG = b"\x08\x01"  # resource_spans as a number: protobuf passes over it, ptars fails
GROUP = b"\x0b\x0c"  # a group, which is empty


@pytest.mark.parametrize("extra", [TAG, WRONG, GROUP], ids=["unknown", "wrong type", "group"])
@pytest.mark.parametrize("inside", ["request", "resource", "span"])
def test_what_ptars_would_refuse(extra: bytes, inside: str) -> None:
    """A record must never hold what its readers cannot decode; a neighbour would be lost with it."""
    good = request([span(1)], service_name="s")
    parts = {
        "request": good + extra,
        "resource": good + b"\x0a" + varint(len(extra) + 2) + b"\x0a" + varint(len(extra)) + extra,
        "span": _in_span(extra),
    }
    encoded = small([("t", parts[inside]), ("t", request([span(2, trace=b"\2" * 16)]))])
    for items in heads(encoded).values():
        batches, bad = spans_of(items)
        assert not bad
        assert sum(map(len, batches)) == 2


def _in_span(extra: bytes) -> bytes:
    body = span(1).SerializeToString() + extra
    scope = b"\x12" + varint(len(body)) + body
    resource = b"\x12" + varint(len(scope)) + scope
    return b"\x0a" + varint(len(resource)) + resource


@pytest.mark.parametrize(
    ("bad", "outcome"),
    [
        pytest.param(request([span(0)]), Outcome(1, 1), id="no span id"),
        pytest.param(request([span(1, trace=bytes(16))]), Outcome(1, 1), id="no trace id"),
        pytest.param(request([span(1, trace=b"\1" * 15)]), Outcome(1, 1), id="a short trace id"),
        pytest.param(request([span(1, attributes={"k": "x" * 3000})]), Outcome(1), id="a long value"),
        pytest.param(request([span(1)], **{f"k{n}": "v" for n in range(300)}), Outcome(1), id="a large resource"),
    ],
)
def test_unusual_requests_take_columns(bad: bytes, outcome: Outcome) -> None:
    """Alone: their neighbours do not."""
    good = request([span(7, trace=b"\7" * 16)])
    encoded = small([("t", good), ("t", bad), ("u", good)], attribute_bytes_max=2000)
    assert encoded.outcomes == [Outcome(1), outcome, Outcome(1)]
    forms = [record.read_headers(one.headers).of_requests for one in encoded.records]
    assert forms == [True] + [False] * (outcome.received - outcome.rejected)
    # And without neighbours.
    assert small([("t", bad)], attribute_bytes_max=2000).outcomes == [outcome]
    assert small([("t", bad), ("u", bad)], attribute_bytes_max=2000).outcomes == [outcome, outcome]


def _of_resources(count: int, note: str = "") -> bytes:
    message = ExportTraceServiceRequest()
    for number in range(count):
        group = message.resource_spans.add()
        group.resource.attributes.add(key="n").value.string_value = f"{number}{note}"
        group.scope_spans.add().spans.append(span(number + 1, trace=b"\7" * 16))
    return message.SerializeToString()


def test_a_request_of_very_many_resources_takes_columns() -> None:
    """Each is looked at here, which would delay others."""
    splitter = SmallSplitter(65_536)
    for count, received in ((256, [256]), (257, [None])):
        body = _of_resources(count)
        assert splitter.split(["t"], [body], 1).received == received
        assert rows(small([("t", body)], partitions=3)).total() == count


def test_a_large_resource_is_written_once_for_a_tenant() -> None:
    """Though it is not remembered any longer than its batch."""
    body = _of_resources(1, "x" * 5000)
    splitter = SmallSplitter(65_536)
    for _ in range(2):
        (part,) = splitter.split(["t"] * 3, [body] * 3, 1).parts
        assert len(part.body) < 2 * 5000
        assert len(part.rows) == 3
        assert splitter._sources == {}


@pytest.mark.parametrize("depth", range(20, 110, 3))
@pytest.mark.parametrize("inside", ["resource", "span"])
def test_whatever_is_nested_can_be_read(depth: int, inside: str) -> None:
    """As deep as protobuf reads it: readers find it in a request, some messages deeper."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.scope_spans.add().spans.append(span(1))
    owner = group.resource if inside == "resource" else group.scope_spans[0].spans[0]
    value = owner.attributes.add(key="k").value
    for _ in range(depth // 2):
        value = value.array_value.values.add()
    value.int_value = 1
    try:
        encoded = small([("t", message.SerializeToString())], partitions=3)
    except (WireError, NeedsSlowPath):
        return
    assert rows(encoded).total() == 1


def test_tenants_whose_rules_need_columns() -> None:
    one = SpanEncoder(1 << 20, 65_536, 10.0, inspector({"t": TenantLimits(trace_bytes_max=1 << 20)}))
    good = request([span(7, trace=b"\7" * 16)])
    encoded = one.encode([Request(tenant, good) for tenant in "tutu"], 1, fast_path_only=True)
    assert encoded.outcomes == [Outcome(1)] * 4
    assert [dict(each.headers)["v"] for each in encoded.records] == [b"3", b"1"]
    assert [each.key for each in encoded.records] == [b"u", b"t"]


def test_too_large_for_kafka(monkeypatch: Any) -> None:
    """Columns can be halved, requests cannot."""
    noise = "".join(map(chr, range(0x100, 0x2000)))
    encoded = small([("t", request([span(1, attributes={"k": noise})]))], bytes_max=6000)
    assert encoded.outcomes == [Outcome(1, 0, 1)]
    monkeypatch.setattr(span_encoder, "BATCH_BYTES_MAX", 10)
    (one,) = small([("t", request([span(1)]))]).records
    assert not record.read_headers(one.headers).of_requests


def test_records_of_all_versions_in_one_head() -> None:
    """As after an update, or with requests of all sizes: version 1, 2 and 3, alone and shared."""
    bodies = [Request(tenant, request([span(n, trace=bytes([n]) * 16)])) for n, tenant in enumerate(TENANTS, 1)]
    made = [encoder().encode(some, 1, fast_path_only=fast) for some in (bodies, bodies[:1]) for fast in (False, True)]
    records = [one for encoded in made for one in encoded.records]
    assert [dict(one.headers)["v"] for one in records] == [b"2", b"3", b"1", b"3"]
    of_ann = heads(Encoded([], records, 0))[0, "ann"]
    batches, bad = spans_of(of_ann)
    assert not bad
    assert [row["span_id"] for batch in batches for row in batch.to_pylist()] == [(1).to_bytes(8, "big")] * 4


def test_bytes_of_the_first_writer_are_read() -> None:
    """A record of version 3 as it was written in November 2026."""
    value = bytes.fromhex(GOLDEN)
    info = record.read_headers([("v", b"3"), ("n", b"1"), ("t", b"1-1")])
    assert info.of_requests
    (row,) = decode_record(value, info).to_pylist()
    assert (row["trace_id"], row["name"], row["start_ns"]) == (b"\1" * 16, "op", 1)


def test_rows_of_many_decodings_are_taken_out_of_few_batches(monkeypatch: Any) -> None:
    """Those with the same columns are one: here spans with links, and spans without."""
    monkeypatch.setattr(request_records, "_AT_ONCE_BYTES", 1)  # each record is decoded alone
    linked = span(9)
    linked.links.add(trace_id=b"\1" * 16, span_id=b"\1" * 8)
    records = []
    for number in range(1, 7):
        one = linked if number % 3 == 0 else span(number)
        bodies = [(tenant, request([one], service_name=f"{tenant}{number}")) for tenant in TENANTS]
        records += small(bodies, partitions=1).records
    encoded = Encoded([], records, 0)
    together = SharedRecords(heads(encoded).values())
    for (_, tenant), items in heads(encoded).items():
        batches, bad = spans_of(items, together)
        assert not bad
        assert sorted(map(len, batches)) == [2, 4]
        found = {(row["span_id"][-1], len(row.get("links") or ())) for batch in batches for row in batch.to_pylist()}
        assert found == {(1, 0), (2, 0), (4, 0), (5, 0), (9, 1)}
        assert all(tenant.encode() in row["resource"] for batch in batches for row in batch.to_pylist())


@pytest.mark.parametrize("spans", [0, 2])
def test_a_record_whose_headers_are_wrong(spans: int) -> None:
    """It is bad alone, and the others of the same decoding are not."""
    (one,) = small([("t", request([span(1)]))]).records
    items = [HeadRecord(n, count, one.value, of_requests=True) for n, count in enumerate((1, spans, 1))]
    items.append(HeadRecord(3, 1, b"\x10\0\0\0junk", of_requests=True))
    batches, bad = spans_of(items)
    assert [item.offset for item in bad] == [3, 1] or [item.offset for item in bad] == [1, 3]
    assert sum(map(len, batches)) == 2
    with pytest.raises(WireError):
        trace_ids_of(items[1])
    assert isinstance(batches[0], pa.RecordBatch)
