"""Spans that nobody should send: answers hold nothing that Tempo's messages cannot, and what was sent comes back."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, TracesData

from app.api.proto import tempo_pb2 as pb
from tests.helpers.live.whole_way import START_NS, TRACE, Way, request, span
from tests.helpers.querying.api import api_over, serving
from tests.helpers.querying.engine import Engine
from tests.helpers.receiving.otlp_fields import leaves, sent
from tests.helpers.tempo.frozen import strictly

TIMES = [0, 1, START_NS, 2**63 - 1, 2**63, 2**64 - 1]
SENT = ExportTraceServiceRequest.FromString(
    request(
        [
            span(1 + i * len(TIMES) + j, start_time_unix_nano=start, end_time_unix_nano=end)
            for i, start in enumerate(TIMES)
            for j, end in enumerate(TIMES)
        ]
        + [span(99, trace=bytes([7]) * 16, start_time_unix_nano=2**64 - 1, end_time_unix_nano=2**64 - 1)]
    )
)
REF = SENT.resource_spans[0].resource.entity_refs.add(type="service", schema_url="http://x", id_keys=["service.name"])


@pytest.fixture
def backend() -> Engine:
    """One source."""
    return Engine([Way(SENT.SerializeToString()).source])


@pytest.mark.parametrize("query", ["{ }", "{ duration >= 0s } | count() > 0", "{ } | select(duration, traceDuration)"])
def test_a_search(ask: Any, query: str) -> None:
    """JSON that strict clients read, with the times that were sent; the same as protobuf."""
    params = {"q": query, "spss": "100"}
    answer = ask("/api/search", params=params)
    strictly(answer.body, "SearchResponse")
    read = json_format.Parse(answer.body, pb.SearchResponse())
    as_protobuf = pb.SearchResponse.FromString(
        ask("/api/search", params=params, headers={"Accept": "application/protobuf"}).body
    )
    for found in (read, as_protobuf):
        assert len(found.traces) == 2
        starts = {one.startTimeUnixNano for trace in found.traces for spans in trace.spanSets for one in spans.spans}
        assert starts == set(TIMES)
        assert {trace.startTimeUnixNano for trace in found.traces} == {0, 1}
    assert b'"-' not in answer.body


def test_a_trace(ask: Any) -> None:
    """By its id: every time as it was sent, and what the resource refers to."""
    body = json.loads(ask(f"/api/v2/traces/{TRACE.hex()}").body)
    (group,) = body["trace"]["resourceSpans"]
    times = {
        (int(one.get("startTimeUnixNano", 0)), int(one.get("endTimeUnixNano", 0)))
        for scoped in group["scopeSpans"]
        for one in scoped["spans"]
    }
    assert times == {(start, end) for start in TIMES for end in TIMES}
    assert group["resource"]["entityRefs"] == [{"schemaUrl": "http://x", "type": "service", "idKeys": ["service.name"]}]
    raw = ask(f"/api/traces/{TRACE.hex()}", headers={"Accept": "application/protobuf"}).body
    assert list(TracesData.FromString(raw).resource_spans[0].resource.entity_refs) == [REF]


@pytest.mark.parametrize("function", ["rate()", "max_over_time(duration)", "histogram_over_time(duration)"])
def test_a_range_that_ends_with_time_itself(ask: Any, function: str) -> None:
    """Its last sample would be later than a time can be: it stands at the latest."""
    params = {"q": f"{{ }} | {function}", "start": str(2**63 - 5 * 10**9), "end": str(2**63 - 1), "step": "2s"}
    answer = ask("/api/metrics/query_range", params=params)
    strictly(answer.body, "QueryRangeResponse")
    series = json_format.Parse(answer.body, pb.QueryRangeResponse()).series
    assert {one.samples[-1].timestamp_ms for one in series} == {(2**63 - 1) // 10**6}


@pytest.mark.parametrize("version", ["", "v2/"])
def test_every_field_in_json(version: str) -> None:
    """What the walk over OTLP's descriptors finds comes back, but for `flags`, which Tempo's JSON does not have."""
    group = sent()
    engine = Engine([Way(ExportTraceServiceRequest(resource_spans=[group]).SerializeToString()).source])
    path = f"/api/{version}traces/{group.scope_spans[0].spans[0].trace_id.hex()}"

    async def use(base: str) -> Any:
        async with aiohttp.ClientSession() as session, session.get(base + path) as response:
            return await response.json()

    body: Any = asyncio.run(serving(api_over(engine), use))
    (found,) = body["trace"]["resourceSpans"] if version else body["batches"]
    wanted = {name: value for name, value in leaves(group) if "flags" not in str(name)}
    assert wanted
    assert dict(leaves(json_format.ParseDict(found, ResourceSpans()))) == wanted
