"""A message of each encoding, as the OpenTelemetry Collector's Kafka exporter writes them."""

import base64
import json

from tests.helpers.live.whole_way import request, span
from tests.helpers.receiving.jaeger import single_spans
from tests.helpers.receiving.zipkin import FULL, full_protobuf, version1_thrift


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


OTLP_JSON = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "01" * 16, "spanId": "02" * 8, "name": "a"}]}]}]}
JAEGER_JSON = {
    "traceId": b64(b"\1" * 16),
    "spanId": b64(b"\2" * 8),
    "operationName": "op",
    "references": [{"refType": "CHILD_OF", "traceId": b64(b"\1" * 16), "spanId": b64(b"\3" * 8)}],
    "startTime": "1970-01-01T00:00:05.000000007Z",
    "duration": "0.000000009s",
    "tags": [{"key": "s", "vType": "STRING", "vStr": "t"}, {"key": "i", "vType": "INT64", "vInt64": "-1"}],
    "logs": [
        {
            "timestamp": "1970-01-01T00:00:06Z",
            "fields": [{"key": "s", "vStr": "t"}, {"key": "i", "vType": 2, "vInt64": -1}],
        }
    ],
    "process": {"serviceName": "own", "tags": []},
}
MESSAGES = {
    "otlp_proto": request([span(1)]),
    "otlp_json": json.dumps(OTLP_JSON).encode(),
    "jaeger_proto": single_spans()[0],
    "jaeger_json": json.dumps(JAEGER_JSON).encode(),
    "zipkin_proto": full_protobuf(),
    "zipkin_json": json.dumps([FULL]).encode(),
    "zipkin_thrift": version1_thrift(),
}
