"""Batches in which most requests cannot be decoded: what a hostile client costs, and its neighbours."""

from collections.abc import Callable
from unittest.mock import patch

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.distributor.span_encoder import Request, SpanEncoder
from tables.columns.varint import varint
from tables.wire.otlp.descriptor import RequestHandler

_NOT_A_MESSAGE = b"\x0f"  # a wire type that there is not


def _good(number: int) -> bytes:
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "shop"
    scope = group.scope_spans.add()
    scope.scope.name = "lib"
    scope.spans.add(trace_id=number.to_bytes(16, "big"), span_id=number.to_bytes(8, "big"), name="x")
    return message.SerializeToString()


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(body)) + body


def _cut_off(number: int) -> bytes:
    return _good(number)[:-3]


def _faulty_resource(number: int) -> bytes:
    return _good(number) + _field(1, _field(1, _NOT_A_MESSAGE))


def _faulty_scope(number: int) -> bytes:
    return _good(number) + _field(1, _field(2, _field(1, _NOT_A_MESSAGE)))


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        pytest.param([_cut_off], "EOF", id="cut off"),
        pytest.param([_faulty_resource], "resource: wire type 7", id="resource"),
        pytest.param([_faulty_scope], "scope: wire type 7", id="scope"),
        pytest.param([_cut_off, _faulty_resource, _faulty_scope], "", id="all of these"),
    ],
)
def test_bad_requests_do_not_scatter_the_others(bad: list[Callable[[int], bytes]], text: str) -> None:
    """However many are bad: each is refused alone and told why, the good ones share one record, as without the bad."""
    bodies = [_good(number) if number % 4 == 0 else bad[number % len(bad)](number) for number in range(1, 41)]
    encoded = SpanEncoder(1_000_000, 300, 10.0).encode_each([Request("t", body) for body in bodies], 1)
    good = [outcome for outcome in encoded.outcomes if outcome.malformed is None]
    assert [outcome.malformed is None for outcome in encoded.outcomes] == [n % 4 == 0 for n in range(1, 41)]
    assert [outcome.received for outcome in good] == [1] * 10
    assert (encoded.spans, len(encoded.records)) == (10, 1)
    assert text in str(encoded.outcomes[0].malformed)


def test_who_sends_many_bad_requests_costs_few_calls_of_the_decoder() -> None:
    """A call takes a quarter of a millisecond, whatever is in it."""
    bodies = [_good(number) if number % 4 == 0 else _cut_off(number) for number in range(1, 201)]
    encoder, calls = SpanEncoder(1_000_000, 300, 10.0), 0
    decode = RequestHandler.decode

    def counted(self: RequestHandler, requests: list[bytes]) -> object:
        nonlocal calls
        calls += 1
        return decode(self, requests)

    with patch.object(RequestHandler, "decode", counted):
        encoded = encoder.encode_each([Request("t", body) for body in bodies], 1)
    assert encoded.spans == 50
    assert calls <= 10


def test_a_batch_without_any_good_request() -> None:
    encoded = SpanEncoder(1_000_000, 300, 10.0).encode_each(
        [Request("t", _faulty_scope(1)), Request("u", _cut_off(2))], 1
    )
    assert all(outcome.malformed for outcome in encoded.outcomes)
    assert (encoded.records, encoded.spans) == ([], 0)
