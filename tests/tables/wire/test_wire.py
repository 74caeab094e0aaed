"""Requests and records that are not what they should be, and how rows find their partition."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.errors import WireError
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import partition_of, partitions_of, split
from tests.strategies import REQUESTS

DECODER = OtlpDecoder()


def request(*ids: tuple[bytes, bytes]) -> bytes:
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    for trace_id, span_id in ids:
        scope.spans.add(trace_id=trace_id, span_id=span_id, name="x")
    return message.SerializeToString()


GOOD = (b"\1" * 16, b"\2" * 8)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(b"hello", "end-group", id="text"),
        pytest.param(request(GOOD)[:-3], "EOF", id="cut off"),
        pytest.param(b"\x0a\x03\x0a\x01\x0f", "resource: wire type 7", id="not a resource"),
        pytest.param(request(GOOD).replace(b"x", b"\xff")[:-3], "EOF", id="cut off and invalid UTF-8"),
    ],
)
def test_malformed_requests_are_named(body: bytes, fault: str) -> None:
    """The error says what is wrong; good requests in the same batch are found by `fault`."""
    with pytest.raises(WireError, match=fault):
        DECODER.decode([request(GOOD), body])
    assert fault in str(DECODER.fault(body))
    assert DECODER.fault(request(GOOD)) is None


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        pytest.param([GOOD], 1, id="valid"),
        pytest.param([(b"", b"\2" * 8), GOOD], 1, id="no trace id"),
        pytest.param([(b"\1" * 15, b"\2" * 8), GOOD], 1, id="short trace id"),
        pytest.param([(b"\1" * 17, b"\2" * 8), GOOD], 1, id="long trace id"),
        pytest.param([(bytes(16), b"\2" * 8), GOOD], 1, id="zero trace id"),
        pytest.param([(b"\1" * 16, b"\2" * 7), GOOD, (b"\1" * 16, bytes(8))], 1, id="wrong span ids"),
        pytest.param([(b"\1" * 15 + b"\0", b"\0" * 7 + b"\1")], 1, id="zeros inside are fine"),
        pytest.param([], 0, id="no spans"),
    ],
)
def test_invalid_ids_are_counted_per_request(ids: list[tuple[bytes, bytes]], kept: int) -> None:
    """Spans with invalid ids go, the others stay, and each request knows its numbers."""
    decoded = DECODER.decode([request(GOOD), request(*ids)])
    assert len(decoded.spans) == 1 + kept
    assert decoded.received.tolist() == [1, len(ids)]
    assert decoded.rejected.tolist() == [0, len(ids) - kept]
    assert decoded.request_of.tolist() == [0] + [1] * kept


@given(st.lists(REQUESTS, max_size=3), st.integers(1, 7), st.integers(1, 3))
def test_split_keeps_every_row_once(requests: list[ExportTraceServiceRequest], partitions: int, tenants: int) -> None:
    """Each row is in one part, in that of its trace's partition and its tenant; order stays."""
    decoded = DECODER.decode([r.SerializeToString() for r in requests])
    tenant_of = (decoded.request_of % tenants).astype(np.int32)
    parts = split(decoded.spans, partitions, tenant_of)
    rows = np.concatenate([part.rows for part in parts]) if parts else np.zeros(0)
    assert sorted(rows.tolist()) == list(range(len(decoded.spans)))
    for part in parts:
        part.spans.validate(full=True)
        assert tenant_of[part.rows].tolist() == [run.tenant for run in part.runs for _ in range(run.spans)]
        assert {partition_of(i, partitions) for i in part.spans["trace_id"].to_pylist()} == {part.partition}
        assert part.spans.select(["span_id", "start_ns"]).equals(
            decoded.spans.select(["span_id", "start_ns"]).take(pa.array(part.rows))
        )


def test_the_partition_of_an_id_never_changes() -> None:
    """It is part of the data format: blocks record it."""
    ids = [bytes(range(16)), b"\xff" * 16, b"\0" * 15 + b"\1", b"\0" * 8 + b"\1" * 8]
    assert partitions_of(pa.array(ids, pa.binary(16)), 64).tolist() == [7, 0, 5, 24]


@given(st.binary(min_size=16, max_size=16), st.integers(1, 1000))
def test_partitions_are_in_range(trace_id: bytes, partitions: int) -> None:
    """Never out of range, whatever the id."""
    assert 0 <= partition_of(trace_id, partitions) < partitions


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        pytest.param(None, "format version None", id="no headers"),
        pytest.param([("v", b"4"), ("n", b"1"), ("t", b"1-2")], "format version b'4'", id="unknown version"),
        pytest.param([("v", b"1"), ("t", b"1-2")], "'n'", id="no count"),
        pytest.param([("v", b"1"), ("n", b"x"), ("t", b"1-2")], "invalid literal", id="count is no number"),
        pytest.param([("v", b"1"), ("n", b"0"), ("t", b"1-2")], "is 0", id="no spans"),
    ],
)
def test_bad_headers(headers: list[tuple[str, bytes]] | None, problem: str) -> None:
    """The error says which header."""
    with pytest.raises(WireError, match=problem):
        record.read_headers(headers)


@given(st.integers(-(2**62), 2**62), st.integers(-(2**62), 2**62))
def test_times_in_headers(a: int, b: int) -> None:
    """Times before 1970 have a sign."""
    info = record.read_headers([("v", b"1"), ("n", b"1"), ("t", f"{a}-{b}".encode())])
    assert (info.start_min_ns, info.start_max_ns) == (a, b)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"abc", id="short"),
        pytest.param(b"\xff\xff\xff\x7fabc", id="claims a gigabyte"),
        pytest.param(b"\x10\0\0\0not zstd", id="not zstd"),
        pytest.param((5).to_bytes(4, "little") + pa.Codec("zstd").compress(b"hello", asbytes=True), id="not Arrow"),
    ],
)
def test_bad_values(value: bytes) -> None:
    """Whatever the bytes, it is a WireError."""
    with pytest.raises(WireError):
        record.decode(value)


@given(st.binary(max_size=200))
def test_any_bytes(value: bytes) -> None:
    """Random bytes are refused, not crashed on."""
    with pytest.raises(WireError):
        record.decode(value)
