"""Limits of single spans: what is discarded, what its client hears, what others notice of it."""

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.distributor.limits import TenantLimits
from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_rules import FUTURE, PAST, TRACE_TOO_LARGE
from agents.distributor.span_writer import NotAcknowledged, SpanWriter
from agents.distributor.tenant_metrics import DISCARDED, TenantMetrics
from app.receivers.otlp.replies import partial_success
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.span_attributes import SpanAttributes
from tables.wire.span_bytes import span_bytes
from tests.helpers.examples import examples
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.hostile import Producer
from tests.helpers.receiving.limits import NOW_NS, discards, encoder, inspector, of

S = 1_000_000_000
SLACK = TenantLimits(past_slack_ns=60 * S, future_slack_ns=10 * S)


def at(seconds: float, number: int = 1, **fields):
    start = NOW_NS + round(seconds * S)
    return span(number, start_time_unix_nano=start, end_time_unix_nano=start + S, **fields)


def sizes(body: bytes) -> list[int]:
    spans = OtlpDecoder().decode([body]).spans
    return span_bytes(spans, SpanAttributes(spans.column("attributes"))).tolist()


def names(encoded) -> list[str]:
    return [name for one in encoded.records for name in record.decode(one.value).column("name").to_pylist()]


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [
        pytest.param(0, None, id="now"),
        pytest.param(-60.9, None, id="ended in time"),
        pytest.param(-61.1, PAST, id="ended too early"),
        pytest.param(9.9, None, id="soon"),
        pytest.param(10.1, FUTURE, id="too far ahead"),
    ],
)
def test_time(seconds, reason):
    """The end counts for the past, the start for the future; the other spans of the request stay."""
    body = request([at(seconds, 1, name="it"), at(0, 2, name="now")])
    encoded = encoder(inspector({"a": SLACK})).encode([of("a", body), of("b", body)], 1)
    first, second = encoded.outcomes
    assert discards(first) == ({reason: 1} if reason else {})
    assert second.discarded == ()
    assert sorted(names(encoded)) == ["it"] * (2 if reason is None else 1) + ["now", "now"]
    assert encoded.spans == (4 if reason is None else 3)


def test_time_of_a_message_from_kafka():
    """A message that waited is as old as when it was sent."""
    body = request([at(-3600)])
    look = encoder(inspector({"a": SLACK}))
    assert discards(look.encode([of("a", body)], 1).outcomes[0]) == {PAST: 1}
    waited = of("a", body, NOW_NS - 3600 * S)
    assert not look.encode([waited], 1).outcomes[0].discarded


def test_what_the_client_hears():
    """The limit, the tenant and the value; the number of spans."""
    (outcome,) = encoder(inspector({"a": SLACK})).encode([of("a", request([at(-99), at(0, 2)]))], 1).outcomes
    reply = partial_success(outcome).partial_success
    assert reply.rejected_spans == 1
    assert reply.error_message == (
        "1 of 2 spans ended longer ago than 60 s, the limit of tenant a (overrides: ingestion.past_slack)"
    )


@settings(max_examples=examples(10), deadline=None)
@given(
    batches=st.lists(
        st.lists(st.tuples(st.integers(0, 4), st.integers(0, 60)), min_size=1, max_size=12), min_size=1, max_size=4
    ),
    limit=st.integers(100, 600),
)
def test_sizes_of_traces_as_span_by_span(batches, limit):
    """The spans that are discarded are those that a loop over spans discards."""
    look = encoder(inspector({"a": TenantLimits(trace_bytes_max=limit)}))
    known: dict[int, int] = defaultdict(int)
    number = 0
    for batch in batches:
        spans = []
        for trace, padding in batch:
            number += 1
            spans.append(span(number, trace=bytes([trace + 1]) * 16, name=f"{number}", attributes={"k": "x" * padding}))
        body = request(spans)
        encoded = look.encode([of("a", body)], 1)
        kept, running = [], dict(known)
        for (trace, _), one, size in zip(batch, spans, sizes(body), strict=True):
            running[trace] = running.get(trace, 0) + size
            if running[trace] <= limit:
                kept.append(one.name)
                known[trace] += size
        assert sorted(names(encoded)) == sorted(kept)
        assert discards(encoded.outcomes[0]) == (
            {TRACE_TOO_LARGE: len(batch) - len(kept)} if len(kept) < len(batch) else {}
        )


def test_traces_of_two_tenants_with_one_id():
    """Each has its own size."""
    body = request([span(1)])
    limits = TenantLimits(trace_bytes_max=sizes(body)[0])
    look = encoder(inspector({"a": limits, "b": limits}))
    assert [discards(one) for one in look.encode([of("a", body), of("b", body)], 1).outcomes] == [{}, {}]
    assert [discards(one) for one in look.encode([of("a", body), of("c", body)], 1).outcomes] == [
        {TRACE_TOO_LARGE: 1},
        {},
    ]


def test_a_large_request_in_pieces():
    """Is limited as a whole."""
    spans = [span(number, attributes={"k": "x" * 2000}) for number in range(1, 1001)]
    body = request(spans)
    each = sizes(request(spans[:1]))[0]
    look = encoder(inspector({"a": TenantLimits(trace_bytes_max=each * 100)}))
    (outcome,) = look.encode_each([of("a", body)], 1).outcomes
    assert (outcome.received, discards(outcome)) == (1000, {TRACE_TOO_LARGE: 900})
    assert outcome.left_out == 900


def test_attributes_of_one_tenant_are_cut():
    """Those of others in the same batch are not; outcomes stay in order."""
    body = request([span(1, attributes={"k": "x" * 1000})])
    look = encoder(inspector({"a": TenantLimits(attribute_bytes_max=256)}))
    encoded = look.encode([of("b", body), of("a", body), of("b", body + body)], 1)
    lengths = sorted(
        len(value)
        for one in encoded.records
        for pairs in record.decode(one.value).column("attributes").to_pylist()
        for pair in pairs
        for value in [pair["string_value"]]
    )
    assert lengths == [256, 1000, 1000, 1000]
    assert [outcome.received for outcome in encoded.outcomes] == [1, 1, 2]


class Away(Producer):
    """Kafka that takes nothing, until it does."""

    away = True

    async def write(self, records):
        if self.away:
            raise KafkaUnavailable("away")
        await super().write(records)


def test_what_kafka_did_not_take_does_not_count():
    """The client sends it again: its trace has not grown."""
    body = request([span(1)])
    limits = {"a": TenantLimits(trace_bytes_max=sizes(body)[0])}
    producer = Away()
    writer = SpanWriter(producer, 1_000_000, inspector=inspector(limits), metrics=TenantMetrics())  # type: ignore[arg-type]
    with pytest.raises(NotAcknowledged):
        asyncio.run(writer.write([of("a", body)]))
    producer.away = False
    assert not asyncio.run(writer.write([of("a", body)]))[0].discarded
    counted = DISCARDED.labels(TRACE_TOO_LARGE, "a")
    before = counted._value.get()
    assert discards(asyncio.run(writer.write([of("a", body)]))[0]) == {TRACE_TOO_LARGE: 1}
    assert counted._value.get() == before + 1
