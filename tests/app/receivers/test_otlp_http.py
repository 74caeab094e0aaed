"""OTLP over HTTP: what each request is answered, without Kafka."""

import gzip
import json
import random
import threading
import zlib
from typing import Any

import pytest
from google.rpc.status_pb2 import Status
from multidict import CIMultiDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_writer import Outcome
from app.receivers.http_body import BodyLimits
from app.receivers.input_budget import InputBudget, Overloaded
from tables.wire.otlp.json import to_protobuf
from tests.helpers.receiving.compression import EMPTY, block, framed, lz4, zstd
from tests.helpers.receiving.otlp_http import JSON, PROTOBUF, SPAN, post, wrapped


def raw_deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-15)
    return deflate.compress(data) + deflate.flush()


@pytest.mark.parametrize(
    ("encode", "encoding"),
    [
        pytest.param(lambda b: b, None, id="plain"),
        pytest.param(gzip.compress, "gzip", id="gzip"),
        pytest.param(zlib.compress, "deflate", id="deflate"),
        pytest.param(raw_deflate, "deflate", id="deflate without a head"),
        pytest.param(lambda b: gzip.compress(b[:3]) + gzip.compress(b[3:]) + bytes(9), "GZIP", id="gzip twice"),
        pytest.param(lambda b: b, "identity", id="identity"),
        pytest.param(lambda b: b, "", id="an empty Content-Encoding"),
        pytest.param(lambda b: b, " , identity", id="nothing, twice"),
        pytest.param(zlib.compress, "zlib", id="zlib"),
        pytest.param(zstd, "zstd", id="zstd"),
        pytest.param(lz4, "lz4", id="lz4"),
        pytest.param(block, "snappy", id="a block of snappy"),
        pytest.param(framed, "snappy", id="framed snappy"),
        pytest.param(framed, "x-snappy-framed", id="x-snappy-framed"),
    ],
)
def test_bodies_arrive_decompressed(encode: Any, encoding: str | None) -> None:
    """The receiver hands on the request's own bytes."""
    headers = {"Content-Type": PROTOBUF, **({} if encoding is None else {"Content-Encoding": encoding})}
    status, sent, body, batcher = post(encode(b"request"), headers)
    assert (status, sent["Content-Type"], body) == (200, PROTOBUF, b"")
    assert batcher.came == [("single-tenant", b"request")]


@pytest.mark.parametrize(
    ("answer", "status", "code", "text"),
    [
        pytest.param(Outcome(malformed="not OTLP: why"), 400, 3, "not OTLP: why", id="malformed"),
        pytest.param(KafkaUnavailable("Kafka is away"), 503, 14, "Kafka is away", id="Kafka away"),
        pytest.param(Overloaded("too much"), 429, 8, "too much", id="overloaded"),
    ],
)
@pytest.mark.parametrize("content_type", [PROTOBUF, JSON])
def test_refusals(content_type: str, answer: Outcome | Exception, status: int, code: int, text: str) -> None:
    """A google.rpc.Status in the request's own format; what may be sent again says when."""
    body = b"{}" if content_type == JSON else b""
    got, headers, reply, _ = post(body, {"Content-Type": content_type}, answer)
    assert (got, headers["Content-Type"].partition(";")[0]) == (status, content_type)
    assert headers.get("Retry-After") == ("1" if status in (429, 503) else None)
    said = json.loads(reply) if content_type == JSON else Status.FromString(reply)
    found = (said["code"], said["message"]) if content_type == JSON else (said.code, said.message)
    assert found == (code, text)


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        pytest.param(b"x", {"Content-Type": "text/plain"}, 415, "text/plain", id="unknown type"),
        pytest.param(b"no", {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, 400, "gzip", id="not gzip"),
        pytest.param(bytes(10_001), {"Content-Type": PROTOBUF}, 413, "max_request_body_size", id="too large"),
        pytest.param(
            gzip.compress(bytes(10_001)),
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            413,
            "max_request_body_size",
            id="too large when decompressed",
        ),
        pytest.param(
            gzip.compress(bytes(300_000_000)),
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            413,
            "max_request_body_size",
            id="far too large when decompressed",
        ),
        pytest.param(
            gzip.compress(b"request")[:-4],
            {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"},
            400,
            "end is missing",
            id="half of gzip",
        ),
        pytest.param(b"x", {"Content-Type": PROTOBUF, "Content-Encoding": "br"}, 415, "'br'", id="unknown encoding"),
        pytest.param(
            b'{"a": "%s"}' % (b"x" * 5000), {"Content-Type": JSON}, 413, "max_json_body_size", id="large JSON"
        ),
        pytest.param(b"[" + b"{}," * 1600 + b"{}]", {"Content-Type": JSON}, 400, "very small", id="small objects"),
        pytest.param(b"[1]", {"Content-Type": JSON}, 400, "not an object", id="JSON of another shape"),
        pytest.param(b"{", {"Content-Type": JSON}, 400, "not JSON", id="no JSON"),
    ],
)
def test_bad_requests(body: bytes, headers: dict[str, str], status: int, text: str) -> None:
    """Refused with what is wrong; nothing is handed on."""
    got, _, reply, batcher = post(body, headers)
    assert (got, batcher.came) == (status, [])
    assert text in reply.decode(errors="replace")


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param({}, 401, id="none"),
        pytest.param({"X-Scope-OrgID": "a/b"}, 400, id="a slash"),
        pytest.param({"X-Scope-OrgID": "a,b"}, 400, id="two in one"),
        pytest.param([("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "b")], 400, id="two"),
        pytest.param([("X-Scope-OrgID", "a"), ("X-Scope-OrgID", "a")], 400, id="one twice"),
        pytest.param([("X-Scope-OrgID", "a"), *[("Authorization", "x")] * 2], 400, id="two tokens"),
        pytest.param({"X-Scope-OrgID": "team-a"}, 200, id="a name"),
    ],
)
def test_tenants(header: dict[str, str], status: int) -> None:
    """With multitenancy each request names its tenant."""
    pairs = header.items() if isinstance(header, dict) else header
    headers = CIMultiDict([("Content-Type", PROTOBUF), *pairs])
    got, _, _, batcher = post(b"r", headers, multitenancy=True)
    assert got == status
    assert batcher.came == ([("team-a", b"r")] if status == 200 else [])


def test_partial_success() -> None:
    """The reply counts what was left out, and says why."""
    _, _, body, _ = post(b"r", {"Content-Type": PROTOBUF}, Outcome(received=5, rejected=2, too_large=1))
    reply = ExportTraceServiceResponse.FromString(body).partial_success
    assert reply.rejected_spans == 3
    assert "2 of 5 spans" in reply.error_message
    assert "max_message_bytes" in reply.error_message
    _, _, body, _ = post(b"{}", {"Content-Type": JSON}, Outcome(received=5, rejected=2))
    assert json.loads(body)["partialSuccess"]["rejectedSpans"] == "2"


def test_large_bodies() -> None:
    """Those that take long are read on a thread, and arrive as they are."""
    data = random.Random(1).randbytes(3_000_000)
    limits = BodyLimits(4_000_000, 4_000_000)
    text = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{**SPAN, "name": "x" * 50_000}]}]}]}).encode()
    zipped = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
    _, _, _, batcher = post(gzip.compress(data, 1), zipped, limits=limits)
    assert batcher.came == [("single-tenant", data)]
    _, _, _, batcher = post(text, {"Content-Type": JSON}, limits=limits)
    assert batcher.came == [("single-tenant", to_protobuf(text).body)]


def test_the_budget_over_http() -> None:
    """Refused before the body is read where its length is known; all comes back."""
    budget = InputBudget(5000)
    limits = BodyLimits(10_000, 5_000)
    headers = {"Content-Type": PROTOBUF, "Content-Length": "6000"}
    status, answered, body, batcher = post(bytes(6000), headers, limits=limits, budget=budget)
    assert (status, answered["Retry-After"], batcher.came) == (429, "1", [])
    assert b"distributor.input.bytes_max" in body
    assert answered["Connection"] == "close"
    zipped = {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}
    assert post(gzip.compress(bytes(6000)), zipped, limits=limits, budget=budget)[0] == 429
    assert post(gzip.compress(bytes(4000)), zipped, limits=limits, budget=budget)[0] == 200
    assert post(wrapped(SPAN), {"Content-Type": JSON}, limits=limits, budget=budget)[0] == 200
    assert budget.used_bytes == 0


def test_empty_members() -> None:
    """12 MB of them took 99 s, for which all other bodies waited."""
    body = EMPTY * (12_000_000 // len(EMPTY))
    limits = BodyLimits(64 << 20, 4 << 20)
    status, _, answered, _ = post(body, {"Content-Type": PROTOBUF, "Content-Encoding": "gzip"}, limits=limits)
    assert (status, b"members_max" in answered) == (400, True)


@pytest.mark.parametrize(
    ("name_length", "more", "where"),
    [(40_000, {}, "loop"), (40_000, {"kind": "SPAN_KIND_SERVER"}, "loop, json"), (200_000, {}, "json")],
    ids=["usual", "unusual", "large"],
)
def test_where_json_is_read(monkeypatch: pytest.MonkeyPatch, name_length: int, more: Any, where: str) -> None:
    """What takes little stays on the loop, so that it comes to the batcher with others; the rest does not stop it."""
    names: list[str] = []

    def read(*args: Any, **options: Any) -> Any:
        thread = threading.current_thread()
        names.append("loop" if thread is threading.main_thread() else thread.name.partition("_")[0])
        return to_protobuf(*args, **options)

    monkeypatch.setattr("app.receivers.otlp.http.to_protobuf", read)
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [{**SPAN, "name": "x" * name_length, **more}]}]}]})
    status, _, _, batcher = post(body.encode(), {"Content-Type": JSON}, limits=BodyLimits(1 << 20, 1 << 20))
    assert (status, ", ".join(names)) == (200, where)
    assert batcher.came == [("single-tenant", to_protobuf(body.encode()).body)]
