"""The query API of a running Stretto: HTTP/1 and gRPC on its one port, at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import grpc
import pytest

from app.api.proto import tempo_pb2 as pb
from tests.harness.client import START_NS, Client, request

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

START_S = START_NS // 10**9


class Streaming:
    """Calls of tempopb.StreamingQuerier, as Grafana makes them: on the host and port of the HTTP API."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel

    def __call__(self, method: str, asked, response) -> list:
        ask = self._channel.unary_stream(
            f"/tempopb.StreamingQuerier/{method}",
            request_serializer=type(asked).SerializeToString,
            response_deserializer=response.FromString,
        )
        return list(ask(asked, timeout=60))


@pytest.fixture
def streaming(client: Client):
    with grpc.insecure_channel(urlsplit(client.cluster.http_url).netloc) as channel:
        yield Streaming(channel)


def test_streaming_agrees_with_http(client: Client, streaming: Streaming) -> None:
    """Each method answers what the HTTP API answers."""
    client.send(request("streamed", 30, 4))
    client.expect_spans("streamed", 120)
    query = '{ resource.service.name = "streamed" }'
    *early, answer = streaming(
        "Search",
        pb.SearchRequest(Query=query, Limit=100, start=START_S - 60, end=START_S + 60, SpansPerSpanSet=10),
        pb.SearchResponse,
    )
    want = client.search(query)
    assert [trace.traceID for trace in answer.traces] == [trace["traceID"] for trace in want]
    assert answer.metrics.completedJobs == answer.metrics.totalJobs
    # The traces are in four partitions: the message before the last says that some are not looked at yet.
    assert early
    assert all(part.metrics.completedJobs < part.metrics.totalJobs for part in early)
    assert all(len(trace.spanSets[0].spans) == 4 for trace in answer.traces)
    (tags,) = streaming("SearchTagsV2", pb.SearchTagsRequest(scope="resource", query=query), pb.SearchTagsV2Response)
    assert [list(scope.tags) for scope in tags.scopes] == [["service.name"]]
    (old_tags,) = streaming("SearchTags", pb.SearchTagsRequest(), pb.SearchTagsResponse)
    assert "service.name" in old_tags.tagNames
    asked = pb.SearchTagValuesRequest(tagName="resource.service.name", query=query)
    (values,) = streaming("SearchTagValuesV2", asked, pb.SearchTagValuesV2Response)
    assert [(value.type, value.value) for value in values.tagValues] == [("string", "streamed")]
    asked = pb.SearchTagValuesRequest(tagName="service.name")
    (old_values,) = streaming("SearchTagValues", asked, pb.SearchTagValuesResponse)
    assert "streamed" in old_values.tagValues
    times = {"start": (START_S - 60) * 10**9, "end": (START_S + 60) * 10**9}
    asked = pb.QueryRangeRequest(query=f"{query} | count_over_time()", step=10 * 10**9, **times)
    *_, series = streaming("MetricsQueryRange", asked, pb.QueryRangeResponse)
    assert sum(sample.value for one in series.series for sample in one.samples) == 120
    asked = pb.QueryInstantRequest(query=f"{query} | count_over_time()", **times)
    *_, instant = streaming("MetricsQueryInstant", asked, pb.QueryInstantResponse)
    assert [one.value for one in instant.series] == [120]


def test_large_trace_in_pages(client: Client) -> None:
    """A trace over several segments, read in pages while more of it becomes segments and blocks."""
    first, later = (b"paged___" + number.to_bytes(8, "big") for number in (1, 11))
    client.send(request("paged", 1, 5000))
    client.send(request("paged", 1, 5000, first_trace=11).replace(later, first))
    client.expect_spans("paged", 10_000)
    cursor, ids = "", []
    while cursor is not None:
        page = client.get(f"/api/v2/traces/{first.hex()}", cursor=cursor, limit=3000)
        spans = [
            span for group in page["trace"]["resourceSpans"] for scope in group["scopeSpans"] for span in scope["spans"]
        ]
        assert 0 < len(spans) <= 3000
        ids += [span["spanId"] for span in spans]
        cursor = page.get("nextCursor")
    assert len(ids) == len(set(ids)) == 10_000


def test_both_at_once(client: Client) -> None:
    """Many of each, over many connections, while spans come in."""
    sending = threading.Event()

    def send() -> None:
        n = 0
        while not sending.wait(0.05):
            n += 1
            client.send(request("busy", 50, 4, first_trace=50 * n))

    def http(_: int) -> str:
        assert client.get("/api/search", q="{ }", limit=5)["traces"]
        return "http"

    def streamed(_: int) -> str:
        with grpc.insecure_channel(urlsplit(client.cluster.http_url).netloc) as channel:
            *_, answer = Streaming(channel)("Search", pb.SearchRequest(Query="{ }", Limit=5), pb.SearchResponse)
        assert len(answer.traces) == 5
        return "grpc"

    client.send(request("busy", 10, 4, first_trace=100_000))
    client.expect_spans("busy", 40)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(what, n) for n in range(40) for what in (http, streamed)]
            assert [one.result() for one in asked] == ["http", "grpc"] * 40
    finally:
        sending.set()
        sender.join()


def test_errors_are_statuses(streaming: Streaming) -> None:
    """The text of the query's fault."""
    with pytest.raises(grpc.RpcError) as reply:
        streaming("Search", pb.SearchRequest(Query="{ nothing = }"), pb.SearchResponse)
    assert reply.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "1:" in reply.value.details()
