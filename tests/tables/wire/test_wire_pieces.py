"""Large requests in pieces: the same spans come out, in bounded time and memory, whatever the bytes are."""

import asyncio
import contextlib
import random
import time
import tracemalloc
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.record_producer import Record
from agents.distributor.span_encoder import SpanEncoder, is_slow
from agents.distributor.span_writer import ON_THREAD, Outcome, Request, SpanWriter
from tables.errors import WireError
from tables.wire import record
from tables.wire.otlp.clean import tagged
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.pieces import FIELDS_MAX
from tables.wire.request_records import decode_record
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import request, span
from tests.strategies import REQUESTS

IDS = tagged(0x0A, b"\1" * 16) + tagged(0x12, b"\2" * 8)
MIB = 1 << 20


def in_scope(spans: bytes) -> bytes:
    return tagged(0x0A, tagged(0x12, spans))


def rows(bodies: list[bytes]) -> list[dict[str, Any]]:
    """Each span with its resource and scope, as plain values."""
    found = []
    for body in bodies:
        spans = OtlpDecoder().decode([body]).spans
        found += pa.Table.from_batches([spans]).to_pylist()
    return found


def same(value: Any) -> Any:
    """Columns that only some pieces have are empty in others."""
    empty = (None, [], 0, "", b"")
    if isinstance(value, dict):
        return {key: same(one) for key, one in value.items() if one not in empty}
    return [same(one) for one in value] if isinstance(value, list) else value


@settings(max_examples=examples(25), deadline=None)
@given(message=REQUESTS, size=st.integers(min_value=1, max_value=3000))
def test_pieces_hold_what_the_request_held(message: ExportTraceServiceRequest, size: int) -> None:
    """Decoded one after the other they are the request's rows, in order, however small they are."""
    body = message.SerializeToString()
    cutter = OtlpDecoder().cutter(MIB)
    pieces = list(cutter.pieces(body, size))
    assert same(rows(pieces)) == same(rows([body]))
    assert cutter.too_large == 0


def test_resource_behind_its_spans() -> None:
    """Fields may come in any order, and more than once: the last counts, in each piece."""
    spans = b"".join(tagged(0x12, tagged(0x12, tagged(0x12, IDS))) for _ in range(5))
    old, new = (tagged(0x0A, tagged(0x0A, tagged(0x0A, key))) for key in (b"old", b"new"))
    body = tagged(0x0A, old + spans + new + tagged(0x1A, b"url"))
    pieces = list(OtlpDecoder().cutter(MIB).pieces(body, 50))
    assert len(pieces) == 5
    assert same(rows(pieces)) == same(rows([body]))


@settings(max_examples=examples(65), deadline=None)
@given(body=st.binary(max_size=60) | st.binary(max_size=60).map(in_scope))
def test_any_bytes(body: bytes) -> None:
    """What is no request is a WireError, never another."""
    with contextlib.suppress(WireError):
        list(OtlpDecoder().cutter(MIB).pieces(body, 8))


class Kafka:
    """Keeps what a writer hands over."""

    partitions = 4

    def __init__(self) -> None:
        self.records: list[Record] = []

    async def write(self, records: list[Record]) -> None:
        self.records += records


def written(*requests_: Request, decode_s_max: float = 10.0) -> tuple[list[Outcome], int, float]:
    """What the clients are told, how many spans Kafka has, and how long the event loop stood still, in seconds."""
    kafka: Any = Kafka()
    writer = SpanWriter(kafka, 8 * MIB, decode_s_max=decode_s_max)
    stall_s = 0.0

    async def main() -> list[Outcome]:
        nonlocal stall_s
        writing = asyncio.ensure_future(writer.write(requests_))
        while not writing.done():
            before_s = time.perf_counter()
            await asyncio.sleep(0)
            stall_s = max(stall_s, time.perf_counter() - before_s)
            await asyncio.sleep(0.001)
        return await writing

    outcomes = asyncio.run(main())
    spans = sum(len(decode_record(one.value, record.read_headers(one.headers))) for one in kafka.records)
    return outcomes, spans, stall_s


@pytest.mark.parametrize(
    ("body", "outcome"),
    [
        pytest.param(in_scope(b"\x12\x00" * 200_000), Outcome(200_000, 200_000), id="empty spans"),
        pytest.param(in_scope(b"\x92\x00\x00" * 130_000), Outcome(130_000, 130_000), id="tags longer than needed"),
        pytest.param(b"\x0a\x00" * 200_000, Outcome(), id="empty resources"),
        pytest.param(tagged(0x0A, b"\x12\x00" * 200_000), Outcome(), id="empty scopes"),
        pytest.param(in_scope(tagged(0x12, IDS + b"\x4a\x00" * 200_000)), Outcome(1, 0, 1), id="empty attributes"),
        pytest.param(in_scope(tagged(0x12, IDS + b"\x5a\x00" * 200_000)), Outcome(1, 0, 1), id="empty events"),
        pytest.param(
            in_scope(tagged(0x12, IDS + tagged(0x6A, b"\x22\x00" * 200_000))),
            Outcome(1, 0, 1),
            id="attributes of a link",
        ),
        pytest.param(in_scope(tagged(0x12, IDS + b"\xf8\x01\x00" * 130_000)), Outcome(1, 0, 1), id="unknown fields"),
        pytest.param(in_scope(tagged(0x12, IDS + tagged(0x2A, bytes(9 * MIB)))), Outcome(1, 0, 1), id="a large span"),
    ],
)
def test_hostile_requests(body: bytes, outcome: Outcome) -> None:
    """What is expensive to decode is done in small steps, or left out and counted."""
    tracemalloc.start()
    outcomes, _, _ = written(Request("t", body))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert outcomes == [outcome]
    assert peak_bytes < len(body) + 13 * MIB


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(tagged(0x0A, tagged(0x0A, b"\x0a\x00" * FIELDS_MAX * 2) + tagged(0x12, b"")), id="resource"),
        pytest.param(in_scope(b"\x12\x00" * 600_000 + b"\x13"), id="at the end"),
        pytest.param(in_scope(b"")[:-1] + b"\x12\x7f" * 700_000, id="too long"),
        pytest.param(b"\x02\x00" + in_scope(b"\x12\x00" * 600_000), id="field number 0"),
    ],
)
def test_large_and_malformed(body: bytes) -> None:
    """Refused alone, and nothing of it is written; the others of the batch are."""
    good = request([span(1)])
    outcomes, spans, _ = written(Request("t", good), Request("t", good + body), Request("u", good))
    assert [outcome.received for outcome in outcomes] == [1, 0, 1]
    assert "ExportTraceServiceRequest" in str(outcomes[1].malformed)
    assert spans == 2


def test_limit_of_time() -> None:
    """A request that takes too long is refused, and the text names the setting."""
    (outcome,), spans, _ = written(Request("t", in_scope(tagged(0x12, IDS) * 200_000)), decode_s_max=0.001)
    assert "distributor.decode_s_max" in str(outcome.malformed)
    assert spans == 0


def test_ordinary_requests_stay_on_the_loop() -> None:
    """A thread costs more than it saves; large and odd ones are worth it."""
    noise = random.Random(1).randbytes
    ordinary = request(
        [span(number, attributes={f"key{n}": noise(20).hex() for n in range(8)}) for number in range(500)]
    )
    assert not is_slow([Request("t", ordinary)] * 5)
    assert is_slow([Request("t", ordinary * 10)])
    before = ON_THREAD._value.get()
    written(Request("t", ordinary))
    assert ON_THREAD._value.get() == before
    written(Request("t", ordinary), Request("t", b"\xff"))
    assert ON_THREAD._value.get() == before + 1


def test_the_loop_goes_on() -> None:
    """While 16 MB of small spans are decoded the event loop is never held up for long."""
    outcomes, spans, stall_s = written(Request("t", in_scope(tagged(0x12, IDS) * 500_000)))
    assert outcomes == [Outcome(500_000)]
    assert spans == 500_000
    assert stall_s < 0.3  # 0.02 on a machine that does nothing else


@pytest.mark.parametrize("dense", [b"\x0a\x00" * 30_000, in_scope(b"\x12\x00" * 30_000)[:60_000]])
def test_a_dense_request_beside_small_ones(dense: bytes) -> None:
    """A request of very small messages that fits into one group with others does not hurt them."""
    good = request([span(1)])
    encoded = SpanEncoder(MIB, 65_536, 10.0).encode_each([Request("t", dense), Request("u", good)], 1)
    assert len(encoded.outcomes) == 2
    assert encoded.outcomes[1] == Outcome(1)
