"""What Grafana's Tempo data source and Traces Drilldown send, call by call, on spans of the last minutes."""

import json
import time
import urllib.error
import urllib.request
from base64 import b64encode
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from app.api.proto import tempo_pb2 as pb
from tests.harness.client import Client, eventually
from tests.helpers.tempo.frozen import strictly

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

NS = 10**9
TRACES = 12  # every third of them fails
SERVICES = ("grafana-web", "grafana-cart", "grafana-db")
MINE = 'resource.service.name =~ "grafana-.*"'
TYPE, SAMPLES = "__meta_type", "samples"


@dataclass(frozen=True)
class Workload:
    """start_s, end_s: the time range of a dashboard that shows it all"""

    client: Client
    start_s: int
    end_s: int

    def get(self, path: str, accept: str = "application/json", **params: Any) -> tuple[int, bytes]:
        """As Grafana's proxy sends it: with the path's parts escaped."""
        query = urlencode({name.rstrip("_"): value for name, value in params.items()})
        url = f"{self.client.cluster.http_url}{path}{'?' if query else ''}{query}"
        headers = {"Accept": accept, "User-Agent": "Grafana/12.1.0", "Accept-Encoding": "identity"}
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as reply:
                return reply.status, reply.read()
        except urllib.error.HTTPError as err:
            return err.code, err.read()

    @property
    def seconds(self) -> dict[str, int]:
        return {"start": self.start_s, "end": self.end_s}

    def range(self, query: str, step: str = "15s") -> Any:
        """A metrics query over the dashboard's range."""
        status, body = self.get("/api/metrics/query_range", q=query, step=step, **self.seconds)
        assert status == 200, body
        return strictly(body, "QueryRangeResponse")

    def search(self, query: str, **params: Any) -> Any:
        status, body = self.get("/api/search", q=query, **{"limit": 20, "spss": 3, **self.seconds, **params})
        assert status == 200, body
        return strictly(body, "SearchResponse")


def trace_id(n: int) -> bytes:
    return b"grafana_" + n.to_bytes(8, "big")


def workload(start_ns: int) -> bytes:
    """Traces web (server) → cart (client, then consumer) → db (client with db.system.name), some with an exception."""
    message = ExportTraceServiceRequest()
    spans = {}
    for service in SERVICES:
        group = message.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = service
        spans[service] = group.scope_spans.add().spans
    for n in range(TRACES):
        at = start_ns + n * NS
        add = partial(added, n, at)
        root = add(spans[SERVICES[0]], 1, 0, "GET /cart", Span.SPAN_KIND_SERVER)
        root.attributes.add(key="http.response.status_code").value.int_value = 500 if n % 3 == 0 else 200
        add(spans[SERVICES[1]], 2, 1, "take", Span.SPAN_KIND_CONSUMER)
        query = add(spans[SERVICES[2]], 3, 2, "SELECT", Span.SPAN_KIND_CLIENT)
        query.attributes.add(key="db.system.name").value.string_value = "postgresql"
        if n % 3 == 0:
            root.status.code = query.status.code = 2
            event = query.events.add(name="exception", time_unix_nano=at)
            event.attributes.add(key="exception.type").value.string_value = "Deadlock"
            event.attributes.add(key="exception.message").value.string_value = f"deadlock {n}"
    return message.SerializeToString()


def added(n: int, at_ns: int, spans: Any, number: int, parent: int, name: str, kind: int) -> Any:
    """A span that lies within its parent."""
    span = spans.add(trace_id=trace_id(n), span_id=(n * 10 + number).to_bytes(8, "big"), name=name, kind=kind)
    if parent:
        span.parent_span_id = (n * 10 + parent).to_bytes(8, "big")
    span.start_time_unix_nano = at_ns + number * 10**6
    span.end_time_unix_nano = at_ns + 500 * 10**6 - number * 10**6
    return span


@pytest.fixture(scope="module")
def grafana(cluster) -> Workload:
    client = Client(cluster)
    now_s = int(time.time())
    client.send(workload((now_s - 120) * NS))
    for service in SERVICES:
        client.expect_spans(service, TRACES)
    return Workload(client, now_s - 300, now_s + 60)


# ---- the data source


def test_save_and_test(grafana: Workload) -> None:
    """The health check: over HTTP, and where streaming is on over gRPC on the same address."""
    assert grafana.get("/api/echo") == (200, b"echo\n")
    status, body = grafana.get("/api/status/buildinfo")
    assert status == 200
    assert json.loads(body)["version"].split(".")[0].isdigit()
    now_s = int(time.time())
    asked = pb.SearchRequest(Query="{}", Limit=1, start=now_s - 900, end=now_s)
    assert len(streamed(grafana, "Search", asked, pb.SearchResponse)[-1].traces) == 1


def streamed(grafana: Workload, method: str, asked: Any, response: Any) -> list[Any]:
    with grpc.insecure_channel(urlsplit(grafana.client.cluster.http_url).netloc) as channel:
        ask = channel.unary_stream(
            f"/tempopb.StreamingQuerier/{method}",
            request_serializer=type(asked).SerializeToString,
            response_deserializer=response.FromString,
        )
        parts = list(ask(asked, timeout=60, metadata=(("user-agent", "Grafana/12.1.0"),)))
    assert all(part.HasField("metrics") for part in parts)
    return parts


def test_query_editor(grafana: Workload) -> None:
    """What the editor offers: tags, then values of a tag, with and without what is already written."""
    status, body = grafana.get("/api/v2/search/tags", limit=5000, **grafana.seconds)
    assert status == 200
    scopes = {scope.name: list(scope.tags) for scope in strictly(body, "SearchTagsV2Response").scopes}
    assert "service.name" in scopes["resource"]
    assert {"db.system.name", "http.response.status_code"} <= set(scopes["span"])
    assert "exception.type" in scopes["event"]
    assert {"duration", "name", "status", "kind", "rootServiceName"} <= set(scopes["intrinsic"])
    for tag, query, want in (
        ("resource.service.name", f"{{{MINE}}}", {("string", name) for name in SERVICES}),
        ("span.db.system.name", f"{{{MINE} && name=}}", {("string", "postgresql")}),
        ("span.http.response.status_code", f"{{{MINE}}}", {("int", "200"), ("int", "500")}),
        ("status", "{}", {("keyword", word) for word in ("ok", "error", "unset")}),
    ):
        path = f"/api/v2/search/tag/{quote(tag, safe='')}/values"
        status, body = grafana.get(path, q=query, limit=5000, **grafana.seconds)
        assert status == 200
        found = {(one.type, one.value) for one in strictly(body, "SearchTagValuesV2Response").tagValues}
        assert found == want, tag


def test_search_and_trace(grafana: Workload) -> None:
    """A search, and a click on its first trace: as protobuf, with `trace` always there."""
    answer = grafana.search(f"{{{MINE} && status=error}}")
    assert len(answer.traces) == TRACES // 3
    newest = answer.traces[0]
    assert (newest.rootServiceName, newest.rootTraceName) == (SERVICES[0], "GET /cart")
    assert sorted(newest.serviceStats) == sorted(SERVICES)
    found = newest.traceID
    status, body = grafana.get(f"/api/v2/traces/{found}", accept="application/protobuf", **grafana.seconds)
    assert status == 200
    trace = TracesData.FromString(first_field(body))
    assert sum(len(scope.spans) for group in trace.resource_spans for scope in group.scope_spans) == 3
    status, body = grafana.get(f"/api/v2/traces/{'7' * 32}", accept="application/protobuf")
    assert (status, first_field(body)) == (200, b"")
    assert grafana.get(f"/api/traces/{'7' * 32}", accept="application/protobuf")[0] == 404
    status, body = grafana.get(f"/api/traces/{found}")
    assert status == 200
    ids = [s["traceId"] for b in json.loads(body)["batches"] for scope in b["scopeSpans"] for s in scope["spans"]]
    assert ids == [b64encode(bytes.fromhex(found.rjust(32, "0"))).decode()] * 3


def first_field(body: bytes) -> bytes:
    """The message in field 1 of a TraceByIDResponse, which must be there."""
    assert body[0] == 1 << 3 | 2
    size = shift = 0
    for at in range(1, 10):
        size |= (body[at] & 0x7F) << shift
        shift += 7
        if body[at] < 0x80:
            return body[at + 1 : at + 1 + size]
    raise AssertionError("no length")


def test_metrics(grafana: Workload) -> None:
    """A range with exemplars, and an instant query, which Grafana reads as strictly."""
    answer = grafana.range(f"{{{MINE}}} | rate() by (resource.service.name)")
    assert [one.labels[0].value.stringValue for one in answer.series] == sorted(SERVICES)
    assert any(one.exemplars for one in answer.series)
    status, body = grafana.get("/api/metrics/query", q=f"{{{MINE}}} | count_over_time()", **grafana.seconds)
    assert status == 200
    (one,) = strictly(body, "QueryInstantResponse").series
    assert one.value == 3 * TRACES
    status, body = grafana.get("/api/metrics/query", q=f"{{{MINE}}} | rate(", **grafana.seconds)
    assert status == 400
    assert body


def test_streaming(grafana: Workload) -> None:
    """The same over gRPC, put together as Grafana does it; metrics with times in nanoseconds."""
    asked = pb.SearchRequest(Query=f"{{{MINE}}}", Limit=20, SpansPerSpanSet=3, start=grafana.start_s, end=grafana.end_s)
    parts = streamed(grafana, "Search", asked, pb.SearchResponse)
    first: dict[str, Any] = {}
    for trace in (trace for part in parts for trace in part.traces):
        first.setdefault(trace.traceID, trace)
    assert len(first) == TRACES
    assert list(first.values()) == list(parts[-1].traces)
    times = {"start": grafana.start_s * NS, "end": grafana.end_s * NS}
    query = pb.QueryRangeRequest(query=f"{{{MINE}}} | count_over_time()", step=15 * NS, exemplars=100, **times)
    parts = streamed(grafana, "MetricsQueryRange", query, pb.QueryRangeResponse)
    samples = {sample.timestamp_ms: sample.value for part in parts for one in part.series for sample in one.samples}
    assert sum(samples.values()) == 3 * TRACES
    instant = pb.QueryInstantRequest(query=f"{{{MINE}}} | count_over_time()", **times)
    part = streamed(grafana, "MetricsQueryInstant", instant, pb.QueryInstantResponse)[-1]
    assert [one.value for one in part.series] == [3 * TRACES]


# ---- Traces Drilldown


def test_drilldown_probe(grafana: Workload) -> None:
    """The first thing that it asks: are there metrics at all."""
    assert grafana.range("{} | rate()").series


@pytest.mark.parametrize(
    ("signal", "spans"),
    [
        pytest.param("nestedSetParent<0", TRACES, id="root spans"),
        pytest.param("true", 3 * TRACES, id="all spans"),
        pytest.param("kind=server", TRACES, id="server"),
        pytest.param("kind=consumer", TRACES, id="consumer"),
        pytest.param('span.db.system.name!=""', TRACES, id="database"),
    ],
)
def test_drilldown_signals(grafana: Workload, signal: str, spans: int) -> None:
    """Rate, errors and duration of each kind of span that it offers."""
    where = f"{MINE} && {signal}"
    answer = eventually(lambda: grafana.range(f"{{{where}}} | rate()"), lambda found: bool(found.series), 10)
    assert round(15 * sum(sample.value for sample in answer.series[0].samples)) == spans
    failed = grafana.range(f"{{{where} && status=error}} | rate()")
    expected = {"kind=consumer": 0}.get(signal, (2 if signal == "true" else 1) * TRACES // 3)
    assert round(15 * sum(sample.value for one in failed.series for sample in one.samples)) == expected
    quantiles = grafana.range(f"{{{where}}} | quantile_over_time(duration, 0.9)")
    assert [label.key for label in quantiles.series[0].labels] == ["p"]
    assert max(sample.value for sample in quantiles.series[0].samples) == pytest.approx(0.497, rel=0.1)
    heat = grafana.range(f"{{{where}}} | histogram_over_time(duration) with(sample=true)")
    assert all(any(label.key == "__bucket" for label in one.labels) for one in heat.series)
    assert round(sum(sample.value for one in heat.series for sample in one.samples)) == spans


def test_drilldown_breakdown(grafana: Workload) -> None:
    """By an attribute that spans must have."""
    where = f"{{{MINE} && nestedSetParent<0 && span.http.response.status_code != nil}}"
    answer = grafana.range(f"{where} | rate() by(span.http.response.status_code)")
    assert sorted(one.labels[0].value.intValue for one in answer.series) == [200, 500]


def test_drilldown_comparison(grafana: Workload) -> None:
    """The step is the whole range; every series says what it is of."""
    span_s = grafana.end_s - grafana.start_s
    answer = grafana.range(f"{{{MINE} && nestedSetParent<0}} | compare({{status = error}})", step=f"{span_s}s")
    kinds = {label.value.stringValue for one in answer.series for label in one.labels if label.key == TYPE}
    assert kinds == {"baseline", "selection", "baseline_total", "selection_total"}


def test_drilldown_structure(grafana: Workload) -> None:
    """Trees are put together from the numbers of the nested set: a root's parent is -1."""
    query = (
        f"({{{MINE} && nestedSetParent<0}} &>> {{ kind = client }}) || ({{{MINE} && nestedSetParent<0}})"
        " | select(status, resource.service.name, name, nestedSetParent, nestedSetLeft, nestedSetRight)"
    )
    answer = grafana.search(query, limit=200, spss=20)
    assert len(answer.traces) == TRACES
    for trace in answer.traces:
        spans = [span for group in trace.spanSets for span in group.spans]
        numbers = [{one.key: one.value.intValue for one in span.attributes} for span in spans]
        assert min(one["nestedSetParent"] for one in numbers) == -1
        assert all(one["nestedSetLeft"] < one["nestedSetRight"] for one in numbers)
        assert len(spans) == 2


def test_drilldown_exceptions(grafana: Workload) -> None:
    """Messages and types of the exceptions."""
    query = (
        f"{{{MINE} && status = error && event.exception.message != nil}}"
        " | select(resource.service.name, event.exception.message, event.exception.type) with(most_recent=true)"
    )
    answer = grafana.search(query, limit=400, spss=10)
    spans = [span for trace in answer.traces for group in trace.spanSets for span in group.spans]
    attributes = [{one.key: one.value.stringValue for one in span.attributes} for span in spans]
    assert len(attributes) == TRACES // 3
    assert all(one["exception.type"] == "Deadlock" for one in attributes)
    assert {one["exception.message"] for one in attributes} == {f"deadlock {n}" for n in range(0, TRACES, 3)}
