"""Any bytes: refused, or every span that was accepted is found by its id, before and after seal, flush and restart."""

import asyncio
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from prometheus_client import REGISTRY

from agents.distributor.span_encoder import Request, SpanEncoder
from query.trace.trace import find_trace
from tables.columns.varint import varint
from tables.seal import segment
from tables.wire import record
from tables.wire.otlp.clean import tagged
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.request_records import decode_record
from tests.helpers.examples import examples
from tests.helpers.live.live_store import TP0, World, world
from tests.helpers.live.whole_way import START_NS, request, span
from tests.helpers.receiving.hostile import HUGE, inside
from tests.strategies import REQUESTS

TENANTS = ("t", "u")
ENCODER = SpanEncoder(1_000_000, 300, 10.0)

# Protobuf's grammar, with what breaks it: unknown fields, groups, wrong lengths, number 0, numbers that do not end.
TAGS = st.sampled_from([0x0A, 0x12, 0x1A, 0x2A, 0x32, 0x3A, 0x10, 0x18, 0x21, 0x08, 0x0D]) | st.integers(0, 2**34)
ODD = st.sampled_from([b"", b"\x02\x00\x00", b"\x0b", b"\x0b\x0c", b"\x0c", b"\x0a" + HUGE, b"\x80" * 9, b"\xff" * 10])
LEAVES = st.binary(max_size=6) | ODD | st.text(max_size=3).map(str.encode)


def field(tag: int, body: bytes) -> bytes:
    kind = tag & 7
    if kind == 2:
        return tagged(tag, body)
    if kind == 0:
        return varint(tag) + varint(int.from_bytes(body[:8], "little"))
    return varint(tag) + body.ljust(8, b"\0")[: {1: 8, 5: 4}.get(kind, len(body))]


def messages(inner: Any) -> Any:
    return st.lists(st.builds(field, TAGS, inner), max_size=3).map(b"".join)


GARBAGE = st.recursive(LEAVES, messages, max_leaves=8)
DEEP = st.tuples(st.integers(1, 130), st.sampled_from([(0x0A, 0x2A), (0x0A, 0x12, 0x32), (0x1B,)])).map(
    lambda drawn: (
        b"\x1b" * drawn[0] + b"\x1c" * drawn[0] if drawn[1] == (0x1B,) else inside(*drawn[1] * drawn[0], body=b"")
    )
)
NESTED = GARBAGE | DEEP | st.just(b"\x0a\x02\x00\x00") | st.binary(min_size=290, max_size=310)


def span_with(number: int, attribute: bytes, where: str) -> bytes:
    """A span with the bytes in it: value of an attribute, of an event's or link's, or any field."""
    made = bytes(span(number).SerializeToString())
    pair = tagged(0x0A, b"k") + tagged(0x12, attribute)
    match where:
        case "span":
            return made + tagged(0x4A, pair)
        case "event":
            return made + tagged(0x5A, tagged(0x1A, pair))
        case "link":
            return made + tagged(0x6A, tagged(0x22, pair))
        case _:
            return made + attribute


@st.composite
def wild(draw: Any) -> bytes:
    """A request with garbage at one of the places that stay bytes until the seal, or anywhere."""
    value = draw(
        st.sampled_from([0x2A, 0x32]).flatmap(lambda tag: NESTED.map(lambda body: tagged(tag, body))) | GARBAGE
    )
    where = draw(st.sampled_from(["span", "event", "link", "fields", "resource", "scope", "times"]))
    if where == "times":
        fixed = b"".join(varint(tag) + draw(st.binary(min_size=8, max_size=8)) for tag in (0x39, 0x41))
        return inside(0x0A, 0x12, 0x12, body=bytes(span(1).SerializeToString()) + fixed + field(0x30, draw(LEAVES)))
    spans = tagged(0x12, span_with(1, value, where)) + tagged(0x12, bytes(span(2).SerializeToString()))
    owner = tagged(0x0A, draw(st.just(tagged(0x0A, tagged(0x0A, b"k") + tagged(0x12, value))) | NESTED))
    scope = tagged(0x12, (owner if where == "scope" else b"") + spans)
    return tagged(0x0A, (owner if where == "resource" else b"") + scope)


@st.composite
def mutated(draw: Any) -> bytes:
    """A valid request with some bytes changed, left out or put in."""
    body = bytearray(draw(REQUESTS).SerializeToString() or request([span(3)]))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(body)))
        match draw(st.integers(0, 2)):
            case 0:
                body[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
            case 1:
                body[at:at] = draw(ODD)
            case _:
                del body[at : at + draw(st.integers(1, 4))]
    return bytes(body)


BODIES = st.lists(
    st.tuples(st.sampled_from(TENANTS), wild() | mutated() | st.binary(max_size=30)), min_size=1, max_size=4
)


def found(w: World, tenant: str, trace: bytes) -> set[bytes]:
    """The trace's span ids, as a reader of the answer sees them."""
    live = w.store.view(tenant)
    sources = [source for meta in live.blocks.blocks for source in w.store.blocks.sources(meta)]
    sources += [source for parts in live.parts.values() for part in parts for source in part(trace)]
    table = find_trace(sources, trace)
    groups = [] if table is None else to_resource_spans(table)
    answer = ExportTraceServiceRequest(resource_spans=groups).SerializeToString()
    read = ExportTraceServiceRequest.FromString(answer)
    return {one.span_id for group in read.resource_spans for scoped in group.scope_spans for one in scoped.spans}


Wanted = set[tuple[str, bytes, bytes]]


def encoded(bodies: list[tuple[str, bytes]]) -> tuple[list[Any], Wanted, int]:
    """Messages of the topic, the spans in them, and how many of the requests were refused."""
    requests = [Request(*one) for one in bodies]
    try:  # as the span writer does
        result = ENCODER.encode(requests, 1, fast_path_only=True)
    except Exception:  # noqa: BLE001  # as above
        result = ENCODER.encode_each(requests, 1)
    wanted: Wanted = set()
    messages_, spans = [], 0
    for offset, made in enumerate(result.records):
        assert made.value is not None
        info = record.read_headers(made.headers)
        batch = decode_record(made.value, info)
        spans += len(batch)
        runs = info.runs or ((made.key.decode(), info.spans),)
        owners = [tenant for tenant, count in runs for _ in range(count)]
        ids = zip(owners, batch["trace_id"].to_pylist(), batch["span_id"].to_pylist(), strict=True)
        wanted |= set(ids)
        place = {"partition": 0, "tp": TP0, "offset": offset, "timestamp": 100.0, "generation_id": 1}
        messages_.append(SimpleNamespace(key=made.key, value=made.value, headers=made.headers, **place))
    assert spans == sum(one.received - one.rejected - one.too_large for one in result.outcomes) == result.spans
    return messages_, wanted, sum(one.malformed is not None for one in result.outcomes)


async def way(folder: Path, messages_: list[Any], wanted: Wanted) -> None:
    """Asks for every span at each stage."""

    def ask(w: World, stage: str) -> None:
        for tenant, trace in {(tenant, trace) for tenant, trace, _ in wanted}:
            expected = {span_id for owner, of, span_id in wanted if (owner, of) == (tenant, trace)}
            assert found(w, tenant, trace) == expected, stage
            other = TENANTS[tenant == TENANTS[0]]
            assert not found(w, other, trace) - {s for owner, _, s in wanted if owner == other}

    with world(folder) as w:
        await w.manager.resume([TP0])
        for one in messages_:
            await w.manager.take(one)
        ask(w, "head")
        for tenant in TENANTS:
            w.store.view(tenant)
            w.spans(tenant)  # a query that shreds all of it
        await w.manager.seal_all()
        assert not w.manager.problems
        ask(w, "segments")
    with world(folder) as w:
        await w.manager.resume([TP0])
        ask(w, "segments after a restart")
        filler = encoded([("t", request([span(90, trace=b"\xfe" * 16)]))])[0][0]
        filler.offset, filler.timestamp = len(messages_), 1000.0
        await w.manager.take(filler)
        await w.flush_all()
        assert w.consumer.committed == [len(messages_)]
        ask(w, "blocks")
    with world(folder) as w:
        await w.manager.resume([TP0])
        ask(w, "blocks after a restart")


def check(bodies: list[tuple[str, bytes]]) -> int:
    """How many were refused."""
    neighbours = [(tenant, request([span(50 + n, trace=bytes([n + 9]) * 16)])) for n, tenant in enumerate(TENANTS)]
    messages_, wanted, refused = encoded([*bodies, *neighbours])
    assert {("t", b"\x09" * 16, (50).to_bytes(8, "big")), ("u", b"\x0a" * 16, (51).to_bytes(8, "big"))} <= wanted
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(way(Path(folder), messages_, wanted))
    return refused


@settings(
    max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(BODIES)
def test_any_bytes(bodies: list[tuple[str, bytes]]) -> None:
    """Refused, or found by id at every stage; the neighbours of both tenants always."""
    check(bodies)


BROKEN_LISTS = {
    "field number 0": b"\x0a\x02\x00\x00",
    "field number 0 in a list of pairs": b"\x0a\x04\x12\x02\x00\x00",
    "group": b"\x0a\x02\x0b\x0c",
    "group that does not end": b"\x0a\x01\x0b",
    "95 groups": b"\x0a\xbe\x01" + b"\x0b" * 95 + b"\x0c" * 95,
    "wrong wire type": b"\x0a\x02\x08\x01",
    "not UTF-8": b"\x0a\x03\x0a\x01\xff",
    "length beyond": b"\x0a\x05\x0a",
    "huge length": b"\x0a" + HUGE,
    "tag of 34 bits": b"\x0a\x06\x80\x80\x80\x80\x40\x00",
    "longer tags": b"\x8a\x80\x00\x04\x8a\x00\x01x",
}


@pytest.mark.parametrize("where", ["span", "event", "link", "resource", "scope"])
@pytest.mark.parametrize("tag", [0x2A, 0x32])
def test_lists_that_protobuf_refuses(where: str, tag: int) -> None:
    """Each is accepted as bytes, repaired, or refused; and what is accepted is found."""
    bodies = []
    for number, body in enumerate(BROKEN_LISTS.values(), 1):
        key_value = tagged(0x0A, b"k") + tagged(0x12, tagged(tag, body))
        if where in ("resource", "scope"):
            made = tagged(0x12, bytes(span(number, trace=bytes([number]) * 16).SerializeToString()))
            scope = inside(0x0A, 0x1A, body=key_value) if where == "scope" else b""
            resource = inside(0x0A, 0x0A, body=key_value) if where == "resource" else b""
            whole = resource + tagged(0x12, scope + made)
            bodies.append(("t", tagged(0x0A, whole)))
        else:
            bodies.append(("t", inside(0x0A, 0x12, 0x12, body=span_with(number, tagged(tag, body), where))))
    refused = check(bodies)
    assert refused == 0


@pytest.mark.parametrize("start", [0, 1, START_NS, 2**63 - 1, 2**63, 2**64 - 1])
@pytest.mark.parametrize("end", [0, START_NS, 2**63 - 1, 2**63, 2**64 - 1])
def test_times_beyond_64_bits(start: int, end: int) -> None:
    """Any start and end is kept."""
    one = span(1, start_time_unix_nano=start, end_time_unix_nano=end)
    other = span(2, start_time_unix_nano=end, end_time_unix_nano=start)
    assert check([("t", request([one, other])), ("u", request([other]))]) == 0


def test_a_span_that_a_seal_cannot_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a record that two tenants share: found in head, segments, blocks, after each restart; as is all else."""
    real, failures = segment.attribute_columns, []

    def step(rows: Any, *args: Any) -> Any:
        for batch in rows.batches:
            if "poison" in batch.column("attributes").flatten().field("key").to_pylist():
                failures.append(len(batch))
                raise IndexError("no")
        return real(rows, *args)

    monkeypatch.setattr(segment, "attribute_columns", step)
    spans = [span(n, trace=bytes([n]) * 16, attributes={"poison" if n == 3 else "a": "b"}) for n in range(1, 7)]
    before = REGISTRY.get_sample_value("stretto_live_store_spans_raw_total") or 0.0
    assert check([("t", request(spans)), ("u", request(spans[:2]))]) == 0
    assert failures
    assert REGISTRY.get_sample_value("stretto_live_store_spans_raw_total") == before + 1
