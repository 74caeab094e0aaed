"""The benchmark of receivers sends the same spans in every protocol, each as its clients do."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import workload
from benchmarks.protocols import PROTOCOLS, encoded
from tables.wire.jaeger.protobuf import post_spans_to_otlp
from tables.wire.jaeger.thrift import batch_to_otlp
from tables.wire.otlp.json import to_protobuf
from tables.wire.zipkin.json import version2_to_otlp

READ: dict[str, Callable[[bytes], bytes]] = {
    "grpc": bytes,
    "http": bytes,
    "json": lambda body: to_protobuf(body).body,
    "jaeger-grpc": post_spans_to_otlp,
    "jaeger-thrift": partial(batch_to_otlp, encoding="binary"),
    "zipkin-json": partial(version2_to_otlp, received_us=0),
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("workload") / "some.otlp"
    workload.write(workload.Options(300, spans_per_request=20), path)
    return path


def spans(requests: list[ExportTraceServiceRequest]) -> list[tuple[bytes, bytes, bytes, str]]:
    found = (one for each in requests for one in workload.spans_of(each))
    return sorted((one.trace_id, one.span_id, one.parent_span_id, one.name) for one in found)


def test_each_protocol_is_read() -> None:
    assert PROTOCOLS.keys() == READ.keys()


@pytest.mark.parametrize("name", READ)
def test_the_same_spans(name: str, kept: Path, tmp_path: Path) -> None:
    sent = [ExportTraceServiceRequest.FromString(body) for body in workload.Requests(kept)]
    file = encoded(kept, tmp_path / "encoded", PROTOCOLS[name], 20)
    came = [ExportTraceServiceRequest.FromString(READ[name](body)) for body in workload.Requests(file)]
    assert spans(came) == spans(sent)
    if PROTOCOLS[name].one_process:
        sizes = [len(list(workload.spans_of(each))) for each in came]
        assert max(sizes) == 20
        assert all(len(each.resource_spans) == 1 for each in came)
