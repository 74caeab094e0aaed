"""Targets: what receivers read. A request is refused, or its spans are found; its neighbour is never hurt."""

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial

from agents.distributor.span_encoder import Request, SpanEncoder
from app.errors import StrettoError
from app.net.access import Access, Forbidden, Unauthorized
from app.net.tenant import InvalidTenant, NoTenant
from app.receivers.codecs import ENCODINGS, UnknownEncoding
from app.receivers.decompress import BodyCosts, BodyTooLarge, decompressed
from app.receivers.input_budget import InputBudget, Overloaded
from benchmarks.hostile.examples import NEIGHBOUR, otlp_json, otlp_requests
from tables.errors import WireError
from tables.wire.jaeger.json import span_json_to_otlp
from tables.wire.jaeger.protobuf import post_spans_to_otlp, span_to_otlp
from tables.wire.jaeger.thrift import batch_to_otlp, datagram_to_otlp
from tables.wire.otlp.json import to_protobuf
from tables.wire.zipkin.json import version1_to_otlp, version2_to_otlp
from tables.wire.zipkin.protobuf import protobuf_to_otlp
from tables.wire.zipkin.thrift import thrift_to_otlp
from tests.fuzz.rest import Rest
from tests.fuzz.target import Target
from tests.helpers.receiving import jaeger, zipkin
from tests.helpers.receiving.kafka_messages import MESSAGES

_MESSAGE_BYTES_MAX = 1 << 20
_BODY_BYTES_MAX = 1 << 20


@cache
def _encoder() -> SpanEncoder:
    return SpanEncoder(_MESSAGE_BYTES_MAX, 65_536, 10.0)


def _otlp(data: bytes) -> None:
    """Two tenants send together; what comes of it is sealed, stored and found by its ids."""
    encoded = _encoder().encode_each([Request("neighbour", NEIGHBOUR), Request("fuzzer", data)], 2)
    near, far = encoded.outcomes
    assert near.malformed is None, near
    assert (near.received, near.rejected, near.too_large) == (2, 0, 0), near
    accepted = {"neighbour": 2, "fuzzer": far.received - far.rejected - far.too_large}
    Rest(encoded.records).check(accepted)


def _json(data: bytes) -> None:
    try:
        body = to_protobuf(data)
    except WireError:
        return
    outcome = _encoder().encode_each([Request("fuzzer", body.body)], 2).outcomes[0]
    assert outcome.malformed is None, outcome


def _translated(translate: Callable[[bytes], bytes]) -> Callable[[bytes], None]:
    """A target of another protocol: it is refused, or becomes an OTLP request that decodes."""

    def run(data: bytes) -> None:
        try:
            body = translate(data)
        except WireError:
            return
        outcome = _encoder().encode_each([Request("fuzzer", body)], 2).outcomes[0]
        assert outcome.malformed is None, outcome

    return run


def _compressed(data: bytes) -> None:
    encoding = ENCODINGS[data[0] % len(ENCODINGS)] if data else ENCODINGS[0]

    async def body() -> None:
        held = InputBudget(4 * _BODY_BYTES_MAX).open("fuzzer")
        with ThreadPoolExecutor(1) as pool:
            made = await decompressed(data[1:], encoding, _BODY_BYTES_MAX, BodyCosts(), held, pool)
            assert len(made) <= _BODY_BYTES_MAX

    with contextlib.suppress(WireError, BodyTooLarge, UnknownEncoding, Overloaded):
        asyncio.run(body())


def _headers(data: bytes) -> None:
    authorization, _, org = data.decode("latin-1").partition("\n")
    for multitenancy in (False, True):
        for credentials in (None, {"a": [bytes(32)], "*": [b"\x01" * 32]}):
            access = Access(multitenancy=multitenancy, credentials=credentials)
            with contextlib.suppress(NoTenant, InvalidTenant, Unauthorized, Forbidden, StrettoError):
                access.tenant(authorization or None, org or None)


def _compressed_seeds() -> list[bytes]:
    bodies = [gzip.compress(NEIGHBOUR), zlib.compress(NEIGHBOUR), gzip.compress(b"") * 20 + gzip.compress(NEIGHBOUR)]
    return [bytes([number]) + body for body in bodies for number in range(len(ENCODINGS))]


def _zipkin(translate: Callable[[bytes, int], bytes]) -> Callable[[bytes], None]:
    return _translated(lambda data: translate(data, _NOW_US))


_NOW_US = 1_800_000_000_000_000
_THRIFT_WORDS = (b"\x7f\xff\xff\xff", b"\x0c\x00\x63", b"\x0f\x00\x02\x0c", b"\xfc\xff\xff\xff\xff\x07")
_JSON_WORDS = (b"null", b'"timestamp":', b"1e400", b"-1", b"[]", b"{}", b'"' + b"0" * 32 + b'"')


TARGETS = [
    *(
        Target(
            f"jaeger_{name}_{encoding}",
            _translated(partial(read, encoding=encoding)),
            partial(seeds, encoding),
            _THRIFT_WORDS,
        )
        for encoding in ("binary", "compact")
        for name, read, seeds in (
            ("thrift", batch_to_otlp, jaeger.batches),
            ("datagram", datagram_to_otlp, jaeger.datagrams),
        )
    ),
    Target("jaeger_post_spans", _translated(post_spans_to_otlp), jaeger.posted, protobuf=True),
    Target("jaeger_span", _translated(span_to_otlp), jaeger.single_spans, protobuf=True),
    Target("jaeger_span_json", _translated(span_json_to_otlp), lambda: [MESSAGES["jaeger_json"]], _JSON_WORDS),
    Target("zipkin_json", _zipkin(version2_to_otlp), zipkin.version2, _JSON_WORDS),
    Target("zipkin_json_v1", _zipkin(version1_to_otlp), zipkin.version1, _JSON_WORDS),
    Target("zipkin_protobuf", _zipkin(protobuf_to_otlp), zipkin.protobuf, protobuf=True),
    Target("zipkin_thrift", _zipkin(thrift_to_otlp), zipkin.thrift, _THRIFT_WORDS),
    Target("otlp_protobuf", _otlp, otlp_requests, (b"service.name", b"\x0a\x02\x00\x00"), protobuf=True),
    Target("otlp_json", _json, otlp_json, (b"null", b'"\\ud83d"', b"1e400", b"NaN", b"[]", b"{}", b'"' + b"0" * 32)),
    Target(
        "compression",
        _compressed,
        _compressed_seeds,
        (b"\x1f\x8b\x08\x00", b"\x28\xb5\x2f\xfd", b"\xff\x06\x00\x00sNaPpY"),
    ),
    Target("tenant_headers", _headers, lambda: [b"Bearer abc\nteam-a", b"Basic YTpi\n", b"\na,b", b"\n" + b"x" * 151]),
]
