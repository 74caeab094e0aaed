"""The door of a receiver: what clients hear of the limits of their tenant, over HTTP and gRPC; metrics; copies."""

import asyncio
import json
from base64 import b64decode
from types import SimpleNamespace

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from agents.distributor.forwarders.forwarder import Forwarding
from agents.distributor.limits import LimitExceeded, TenantLimits
from agents.distributor.rate_limits import RateLimits
from agents.distributor.requests import Discarded, Outcome
from agents.distributor.tenant_metrics import (
    ACCEPTED,
    DISCARDED,
    REFUSED,
    SPANS,
    TenantMetrics,
)
from app.receivers.ingress import Ingress, Tenancy
from app.receivers.input_budget import InputBudget
from tables.tenant_labels import OTHERS, TenantLabels
from tables.wire.otlp.raw_spans import RawSpans
from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.limits import FixedLimits
from tests.helpers.receiving.otlp_grpc import export, serving
from tests.helpers.receiving.otlp_http import JSON, PROTOBUF, post
from tests.helpers.receiving.receivers import FakeBatcher

BODY = request([span(1), span(2)])


class Copies:
    def __init__(self):
        self.got = []

    def offer(self, one):
        self.got.append(one)


def door(limits, answer=None, tenants_max=1000, forwarders=()):
    table = FixedLimits({"a": limits} if limits else {})
    batcher = FakeBatcher(answer or Outcome(2))
    copies = {name: Copies() for name in forwarders}
    tenancy = Tenancy(table, RateLimits(table), TenantMetrics(tenants_max), Forwarding(copies), RawSpans())
    return Ingress(batcher, tenancy, "otlp", "test"), batcher, copies


def value(metric, *labels):
    return metric.labels(*labels)._value.get()


def test_a_limited_request_is_counted_and_does_not_come_in():
    """Its spans count as refused and as discarded; its bytes in memory are given back."""
    ingress, batcher, _ = door(TenantLimits(rate_bytes=len(BODY)))
    budget = InputBudget(1 << 20)
    refused, discarded = value(REFUSED, "otlp", "test", "a"), value(DISCARDED, "rate_limited", "a")
    accepted = value(ACCEPTED, "otlp", "test", "a")

    async def send():
        held = budget.open("a")
        held.add("waiting", len(BODY))
        return await ingress.add("a", BODY, held)

    async def main():
        await send()
        with pytest.raises(LimitExceeded):
            await send()

    asyncio.run(main())
    assert len(batcher.came) == 1
    assert budget.used_bytes == 0
    assert value(REFUSED, "otlp", "test", "a") == refused + 2
    assert value(DISCARDED, "rate_limited", "a") == discarded + 2
    assert value(ACCEPTED, "otlp", "test", "a") == accepted + 2


@pytest.mark.parametrize(("most", "passes"), [(0, True), (2, True), (1, False)])
def test_spans_of_a_request(most, passes):
    """A request with more is refused whole, for good."""
    ingress, _, _ = door(TenantLimits(request_spans_max=most, forwarders=("x",)))
    if passes:
        asyncio.run(ingress.add("a", BODY))
        return
    with pytest.raises(LimitExceeded, match="tenant a may send 1 spans in a request, and this one has 2") as err:
        asyncio.run(ingress.add("a", BODY))
    assert err.value.final


def test_spans_that_are_left_out_are_refused():
    """Of a request that is taken."""
    discarded = (Discarded("trace_too_large", 1, "take their trace beyond …"),)
    ingress, _, _ = door(None, Outcome(5, 1, 1, discarded=discarded))
    refused, accepted = value(REFUSED, "otlp", "test", "q"), value(ACCEPTED, "otlp", "test", "q")
    asyncio.run(ingress.add("q", BODY))
    assert value(REFUSED, "otlp", "test", "q") == refused + 3
    assert value(ACCEPTED, "otlp", "test", "q") == accepted + 2


def test_copies_of_what_is_taken():
    """To the tenant's forwarders, and only when Kafka has the request."""
    ingress, batcher, copies = door(TenantLimits(forwarders=("x", "gone")), forwarders=("x", "y"))
    asyncio.run(ingress.add("a", BODY))
    asyncio.run(ingress.add("b", BODY))
    batcher.answer = Outcome(malformed="no")
    asyncio.run(ingress.add("a", b"?"))
    assert [(one.tenant, one.body) for one in copies["x"].got] == [("a", BODY)]
    assert copies["y"].got == []


def test_over_http():
    """429 with Retry-After, in the format of the request; 413 where a retry cannot help."""
    late = LimitExceeded("tenant a may send less", "rate_limited", retry_after_s=2.1)
    status, headers, body, _ = post(BODY, {"Content-Type": PROTOBUF}, late)
    assert (status, headers["Retry-After"]) == (429, "3")
    parsed = Status.FromString(body)
    assert (parsed.code, parsed.message) == (8, "tenant a may send less")
    untold = LimitExceeded("less", "rate_limited")
    status, headers, body, _ = post(b"{}", {"Content-Type": JSON}, untold)
    assert (status, json.loads(body)["code"], "Retry-After" in headers) == (429, 8, False)
    never = LimitExceeded("fewer", "too_many_spans", final=True)
    status, headers, _, _ = post(BODY, {"Content-Type": PROTOBUF}, never)
    assert (status, "Retry-After" in headers) == (413, False)


@pytest.mark.parametrize(
    ("err", "delay_s"),
    [
        (LimitExceeded("less", "rate_limited", retry_after_s=4.2), 5),
        (LimitExceeded("less", "rate_limited"), None),
        (LimitExceeded("fewer", "too_many_spans", final=True), None),
    ],
)
def test_over_grpc(err, delay_s):
    """RESOURCE_EXHAUSTED, with RetryInfo where a retry helps and may be told."""

    async def use(_, __, port):
        return await export(port, BODY)

    failed = serving(use, answer=err)
    assert failed.code().name == "RESOURCE_EXHAUSTED"
    details = dict(failed.trailing_metadata()).get("grpc-status-details-bin")
    if delay_s is None:
        assert details is None
        return
    raw = details if isinstance(details, bytes) else b64decode(details)
    (packed,) = Status.FromString(raw).details
    info = RetryInfo()
    packed.Unpack(info)
    assert info.retry_delay.seconds == delay_s


def test_a_bound_on_series():
    """The first tenants have their own, all others share one."""
    labels = TenantLabels(2)
    assert [labels.of(name) for name in ("a", "b", "c", "a", "d")] == ["a", "b", OTHERS, "a", OTHERS]
    metrics = TenantMetrics(1)
    before = value(SPANS, OTHERS)
    for name in ("s1", "s2", "s3"):
        metrics.received(name, 2, 10)
    assert value(SPANS, OTHERS) == before + 4


def test_kafka_away_counts_as_refused():
    """So that senders who are refused are seen."""
    ingress, batcher, _ = door(None)
    batcher.answer = RuntimeError("away")
    before = value(REFUSED, "otlp", "test", "z")
    with pytest.raises(RuntimeError):
        asyncio.run(ingress.add("z", BODY, SimpleNamespace(release=lambda: None)))
    assert value(REFUSED, "otlp", "test", "z") == before + 2
