"""Real clients send the spans of tests/clients, by every door; what comes back by trace id is the same in every field.

OpenTelemetry's SDK for Python is in test_main_job.py. jaeger-client for Node sends binary Thrift over UDP, the one for
Python compact Thrift. py-zipkin's last version has no Thrift any more.
"""

import subprocess
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import pytest

from tests.harness.client import Client, eventually
from tests.harness.span_clients import program

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]
SERVER, CLIENT, INTERNAL = "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT", "SPAN_KIND_INTERNAL"
ERROR: Final = {"code": "STATUS_CODE_ERROR"}
MIXED: Final = {"s": "Straße", "d": 0.5, "b": True}


class Sent(NamedTuple):
    """A span as it must come back. events, links: name or trace's own, and attributes"""

    name: str
    kind: str
    attributes: Mapping[str, Any] = {}
    status: Mapping[str, str] = {}
    events: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    links: tuple[Mapping[str, Any], ...] = ()
    scope: tuple[str, str] = ("", "")


class Door(NamedTuple):
    """address: as the client takes it, made of a receiver's or OTLP's. loose: attributes with values of their own"""

    program: str
    way: str
    address: str
    root: Sent
    child: Sent
    resource: Mapping[str, Any] = {}
    loose: frozenset[str] = frozenset()


OTLP_SCOPE: Final = ("shop", "1.2")
OTLP: Final = (
    Sent(
        "GET /",
        SERVER,
        {**MIXED, "i": 42, "l": ["a", "b"]},
        {**ERROR, "message": "broken"},
        (("happened", {"n": 1}),),
        scope=OTLP_SCOPE,
    ),
    Sent("child", CLIENT, links=({"why": "test"},), scope=OTLP_SCOPE),
)
PORTS: Final = {"service.ports": [80, 443]}
JAEGER: Final = (
    Sent("GET /", SERVER, MIXED, ERROR, (("happened", {"n": 1}),)),
    Sent("child", CLIENT),
)
JAEGER_PYTHON: Final = (JAEGER[0]._replace(attributes={**MIXED, "i": 42}), JAEGER[1])
# What each client adds of itself.
OF_JAEGER_NODE: Final = frozenset({"sampler.type", "sampler.param"})
OF_JAEGER_PROCESS: Final = frozenset({"opencensus.exporterversion", "host.name", "ip", "client-uuid"})
EXPORTED: Final = {"service.name": "SERVICE", "jaeger.debug": True}
EXPORTER: Final = (
    Sent(
        "GET /",
        SERVER,
        {**MIXED, **EXPORTED, "i": 42},
        {**ERROR, "message": "broken"},
        (("", {"n": 1, "message": "happened"}),),
        scope=OTLP_SCOPE,
    ),
    Sent("child", CLIENT, EXPORTED, links=({"opentracing.ref_type": "follows_from"},), scope=OTLP_SCOPE),
)
ZIPKIN_STATUS: Final = {**ERROR, "message": "broken"}
ZIPKIN_NODE: Final = (
    Sent("get /", SERVER, {"s": "Straße", "error": "broken"}, ZIPKIN_STATUS, (("happened", {}),)),
    Sent("child", CLIENT, {"peer.service": "stock"}),
)
AT: Final = {"net.host.ip": "10.0.0.1", "net.host.port": 8080}
PY_ZIPKIN: Final = (
    Sent("get /", SERVER, {"s": "Straße", "error": "broken", **AT}, ZIPKIN_STATUS, (("happened", {}),)),
    Sent("child", CLIENT, {**AT, "peer.service": "stock", "net.peer.ip": "10.0.0.2", "net.peer.port": 9000}),
)
# Version 2 says of a span that began with given ids that it may be its caller's, too.
PY_ZIPKIN_2: Final = (
    PY_ZIPKIN[0]._replace(attributes={**PY_ZIPKIN[0].attributes, "zipkin.shared": True}),
    PY_ZIPKIN[1],
)
DOORS: Final = (
    Door("otlp.js", "grpc", "http://{otlp_grpc}", *OTLP, PORTS),
    Door("otlp.js", "proto", "{otlp_http}/v1/traces", *OTLP, PORTS),
    Door("otlp.js", "json", "{otlp_http}/v1/traces", *OTLP, PORTS),
    Door("jaeger.js", "udp", "{jaeger_binary}", *JAEGER, {"zone": "a"}, OF_JAEGER_NODE | OF_JAEGER_PROCESS),
    Door(
        "jaeger.js",
        "http",
        "http://{jaeger_http}/api/traces",
        *JAEGER,
        {"zone": "a"},
        OF_JAEGER_NODE | OF_JAEGER_PROCESS,
    ),
    Door("jaeger_udp.py", "", "{jaeger_compact}", *JAEGER_PYTHON, {"zone": "a"}, OF_JAEGER_NODE | OF_JAEGER_PROCESS),
    Door("jaeger_exporter.py", "http", "http://{jaeger_http}/api/traces", *EXPORTER),
    Door("jaeger_exporter.py", "udp", "{jaeger_compact}", *EXPORTER),
    Door("zipkin.js", "v2", "http://{zipkin}/api/v2/spans", *ZIPKIN_NODE),
    Door("zipkin.js", "v1", "http://{zipkin}/api/v1/spans", *ZIPKIN_NODE),
    Door("zipkin_spans.py", "V2_JSON", "{zipkin}", *PY_ZIPKIN_2),
    Door("zipkin_spans.py", "V2_PROTO3", "{zipkin}", *PY_ZIPKIN_2),
    Door("zipkin_spans.py", "V1_JSON", "{zipkin}", *PY_ZIPKIN),
)


def value(found: Mapping[str, Any]) -> Any:
    """A value of OTLP's JSON."""
    ((kind, inner),) = found.items()
    if kind == "arrayValue":
        return [value(item) for item in inner["values"]]
    return int(inner) if kind == "intValue" else inner


def attributes(found: Any) -> dict[str, Any]:
    pairs = [(one["key"], value(one["value"])) for one in found.get("attributes", [])]
    assert len(dict(pairs)) == len(pairs), "an attribute is there twice"
    return dict(pairs)


def as_sent(span: Mapping[str, Any], scope: Mapping[str, Any], loose: frozenset[str]) -> Sent:
    """A span of an answer in the form that is compared."""
    return Sent(
        name=span["name"],
        kind=span["kind"],
        attributes={key: one for key, one in attributes(span).items() if key not in loose},
        status={key: text for key, text in span.get("status", {}).items() if text},
        events=tuple((event.get("name", ""), attributes(event)) for event in span.get("events", [])),
        links=tuple(attributes(link) for link in span.get("links", [])),
        scope=(scope.get("name", ""), scope.get("version", "")),
    )


@pytest.mark.parametrize("door", DOORS, ids=lambda door: f"{door.program} {door.way}".strip())
def test_real_client(client: Client, door: Door) -> None:
    """Both spans: names, kinds, values with their types, status, events, links, scope, parent, times, resource."""
    service = f"svc-{door.program}-{door.way}".replace(".", "-").lower()
    cluster = client.cluster
    address = door.address.format(otlp_grpc=cluster.otlp_address, otlp_http=cluster.otlp_http_url, **cluster.receivers)
    arguments = [one for one in (door.way, address, service) if one]
    ran = subprocess.run([*program(door.program), *arguments], capture_output=True, text=True, timeout=90)
    assert ran.returncode == 0, ran.stderr
    trace_id = ran.stdout.split()[-1].rjust(32, "0")

    def groups() -> Any:
        return client.get(f"/api/v2/traces/{trace_id}")["trace"].get("resourceSpans", [])

    def spans(found: Any) -> list[tuple[Any, Any, Any]]:
        return [
            (group, scope["scope"], span) for group in found for scope in group["scopeSpans"] for span in scope["spans"]
        ]

    found = spans(eventually(groups, lambda found: len(spans(found)) == 2, what=service))
    by_name = {span["name"]: span for _, _, span in found}
    for group, scope, span in found:
        wanted = door.root if span["name"] == door.root.name else door.child
        own = {key: service if one == "SERVICE" else one for key, one in wanted.attributes.items()}
        assert as_sent(span, scope, door.loose) == wanted._replace(attributes=own)
        resource = {key: one for key, one in attributes(group["resource"]).items() if key not in door.loose}
        assert resource == {"service.name": service, **door.resource}
        assert int(span["endTimeUnixNano"]) >= int(span["startTimeUnixNano"]) > 1_700_000_000 * 10**9
        for link in span.get("links", []):
            assert (link["traceId"], link["spanId"]) == (span["traceId"], by_name[door.root.name]["spanId"])
    root, child = by_name[door.root.name], by_name[door.child.name]
    assert not root.get("parentSpanId")
    assert child["parentSpanId"] == root["spanId"]
