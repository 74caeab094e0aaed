"""Limits, copies, usage and own overrides of tenants in a process as users start it, with a real Kafka."""

import json
import time
import urllib.error
import urllib.request
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from tests.harness.cluster import Cluster
from tests.helpers.live.whole_way import request, span

pytestmark = pytest.mark.cluster

SETTINGS = """
multitenancy_enabled: true
distributor:
  usage: {{cost_attribution: {{enabled: true}}}}
  forwarders: [{{name: copy, otlpgrpc: {{endpoints: ["{sink}"], tls: {{insecure: true}}}}}}]
overrides:
  per_tenant_override_config: {tenants}
  user_configurable_overrides: {{enabled: true, poll_interval: 1s}}
"""
TENANTS = """
overrides:
  slow: {ingestion: {rate_limit_bytes: 1000, burst_size_bytes: 2000}}
  counted: {forwarders: [copy], cost_attribution: {dimensions: {service.name: service}}}
"""


class Sink(TraceServiceServicer):
    def __init__(self) -> None:
        self.spans = 0

    def Export(self, asked: Any, _: Any) -> ExportTraceServiceResponse:  # noqa: N802  (its name in the protocol)
        self.spans += sum(len(scope.spans) for group in asked.resource_spans for scope in group.scope_spans)
        return ExportTraceServiceResponse()


def ask(url: str, tenant: str, method: str = "GET", body: bytes | None = None, **headers: str) -> tuple[int, Any, str]:
    named = {"X-Scope-OrgID": tenant, **{name.replace("_", "-"): value for name, value in headers.items()}}
    asked = urllib.request.Request(url, body, named, method=method)
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as err:
        return err.code, err.headers, err.read().decode(errors="replace")


def metric(cluster: Cluster, line: str) -> float:
    _, _, text = ask(f"{cluster.http_url}/metrics", "x")
    return sum(float(one.rsplit(" ", 1)[1]) for one in text.splitlines() if one.startswith(line))


def test_tenants(tmp_path: Path) -> None:
    """One start for all of it."""
    sink, server = Sink(), grpc.server(futures.ThreadPoolExecutor(1))
    add_TraceServiceServicer_to_server(sink, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    (tmp_path / "tenants.yaml").write_text(TENANTS)
    text = SETTINGS.format(sink=f"127.0.0.1:{port}", tenants=tmp_path / "tenants.yaml")
    (tmp_path / "settings.yaml").write_text(text)
    with Cluster(tmp_path, {"STRETTO_CONFIG": str(tmp_path / "settings.yaml")}) as cluster:
        traces, protobuf = f"{cluster.otlp_http_url}/v1/traces", {"Content_Type": "application/x-protobuf"}
        body = request([span(1, name="x" * 900)], service_name="shop")
        statuses = [ask(traces, "slow", "POST", body, **protobuf)[0] for _ in range(4)]
        assert statuses[:1] == [200]
        refused = ask(traces, "slow", "POST", body, **protobuf)
        assert (refused[0], int(refused[1]["Retry-After"]) >= 1) == (429, True)
        assert "tenant slow may send 1000 bytes a second" in refused[2]
        assert [ask(traces, "counted", "POST", body, **protobuf)[0] for _ in range(5)] == [200] * 5
        assert metric(cluster, 'tempo_discarded_spans_total{reason="rate_limited",tenant="slow"}') >= 1
        accepted = 'tempo_receiver_accepted_spans{receiver="otlp",tenant="counted",transport="http"}'
        assert (
            metric(cluster, accepted)
            == metric(cluster, 'tempo_distributor_spans_received_total{tenant="counted"}')
            == 5
        )
        _, _, usage = ask(f"{cluster.http_url}/usage_metrics", "x")
        assert f'service="shop",tenant="counted",tracker="cost_attribution"}} {5 * len(body)}' in usage
        end = time.monotonic() + 20
        while sink.spans < 5 and time.monotonic() < end:
            time.sleep(0.05)
        assert sink.spans == 5
        own = f"{cluster.http_url}/api/overrides"
        assert ask(own, "free", "PATCH", json.dumps({"forwarders": ["copy"]}).encode())[0] == 200
        assert ask(traces, "free", "POST", body, **protobuf)[0] == 200
        while sink.spans < 6 and time.monotonic() < end + 20:
            time.sleep(0.05)
        assert sink.spans == 6
        assert "forwarders:\n- copy" in ask(f"{cluster.http_url}/status/overrides/free", "x")[2]
    server.stop(0).wait()
