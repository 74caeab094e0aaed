"""Mutated requests of every kind that the server listens for, made from a seed of random numbers."""

import gzip
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import quote

from benchmarks.hostile.examples import START_NS, TRACE_IDS, otlp_json, otlp_requests
from benchmarks.hostile.mutate import mutate, mutate_message
from tables.wire.otlp.decoder import OtlpDecoder

TENANT: Final = "hostile"
# Requests have another minute each thousand, and queries ask for that.
_WINDOW_NS: Final = 1 << 36
_WINDOW_REQUESTS: Final = 1000

_QUERIES: Final = (
    '{ resource.service.name = "service-1" && span.n < 0 } >> { status = error }',
    "{ .http.route =~ `/.*` } | count() > 1 | by(name) | select(span.d)",
    "{ } | rate() by (resource.service.name)",
    "{ } | quantile_over_time(duration, .5, .99) by (name)",
    "{ } | compare({ status = error }, 5)",
)
_WORDS: Final = (
    b" && ",
    b" || ",
    b" >> ",
    b"nil",
    b"span.",
    b"by(",
    b"1e400",
    b"{ }",
    b"&limit=",
    b"&start=0",
    b"%00",
    b"%ff",
    b"rootName",
)
_SPAN_WORDS: Final = (b"service.name", b"\x0a\x02\x00\x00", b"\x0a" + b"\xff" * 9 + b"\x01", b"\xed\xa0\x80")
_HEADERS: Final = (
    "X-Scope-OrgID: other",
    "X-Scope-OrgID: a,b",
    "Authorization: Basic YTpi",
    "Accept: application/protobuf",
    "Content-Length: 3",
    "Transfer-Encoding: chunked",
    "Expect: 100-continue",
    "Connection: close",
    "Content-Encoding: zstd",
    "Content-Encoding:",
)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. data: its bytes on an HTTP connection; body: of an export, as it is decoded; else None.

    query: whether it goes to the query API. broken: whether its frame is damaged, so that the connection is not to be
    used again.
    """

    data: bytes
    body: bytes | None = None
    query: bool = False
    broken: bool = False


class _Template:
    """A request whose traces' ids and times are replaced in place: thousands of copies of one span would be one trace,
    which nobody could read, and every query would read all that was sent.
    """

    def __init__(self, data: bytes, trace_ids: Iterable[bytes]) -> None:
        self.data = data
        self._ids = [places for trace_id in trace_ids if (places := _places(data, trace_id))]
        self._times = _places(data, _high_bytes(0))

    def fresh(self, rng: Random, window: int) -> bytes:
        """With new traces, at the time of the window."""
        out = bytearray(self.data)
        for places in self._ids:
            new = rng.randbytes(16)
            for at in places:
                out[at : at + 16] = new
        high = _high_bytes(window)
        for at in self._times:
            out[at : at + len(high)] = high
        return bytes(out)


def _places(data: bytes, wanted: bytes) -> list[int]:
    return [found.start() for found in re.finditer(re.escape(wanted), data)]


def _high_bytes(window: int) -> bytes:
    """Of the times in `examples` as fixed64, what they share, moved on by so many windows."""
    return ((START_NS + window * _WINDOW_NS) >> 24).to_bytes(5, "little")


def _trace_ids(decoder: OtlpDecoder, request: bytes) -> list[bytes]:
    return list(set(decoder.decode([request]).spans["trace_id"].to_pylist()))


class Maker:
    """Makes mutated requests; the same for the same seed."""

    def __init__(self, seed: int, good: Sequence[bytes]) -> None:
        """good: further OTLP requests to start from"""
        self._rng = Random(seed)
        self._protobuf = [*otlp_requests(), *good]
        decoder = OtlpDecoder()
        self._templates = [_Template(data, TRACE_IDS) for data in otlp_requests()]
        self._templates += [_Template(data, _trace_ids(decoder, data)) for data in good]
        self._json = otlp_json()
        self._made = 0
        self._urls = _urls(0)

    def export(self) -> bytes:
        """The bytes of an OTLP export request, with some of them changed at random."""
        rng = self._rng
        data = rng.choice(self._templates).fresh(rng, self._made // _WINDOW_REQUESTS)
        change = mutate if rng.random() < 0.2 else mutate_message
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = change(data, rng, _SPAN_WORDS, self._protobuf)
        return data

    def http(self) -> Sent:
        """A request for an HTTP port."""
        rng = self._rng
        self._made += 1
        if self._made % _WINDOW_REQUESTS == 0:
            self._urls = _urls(self._made // _WINDOW_REQUESTS)
        kind = rng.random()
        if kind < 0.71:
            body = self.export()
            if rng.random() < 0.15:
                return Sent(_post(gzip.compress(body, 1), "application/x-protobuf", "Content-Encoding: gzip"), body)
            return Sent(_post(body, "application/x-protobuf"), body)
        if kind < 0.83:
            data = mutate(rng.choice(self._json), rng, (b"null", b'"\\ud83d"', b"1e400", b"{}", b"[]"), self._json)
            return Sent(_post(data, "application/json"))
        if kind < 0.86:
            body = mutate(gzip.compress(rng.choice(self._protobuf), 1), rng)
            return Sent(_post(body, "application/x-protobuf", "Content-Encoding: gzip"))
        if kind < 0.94:
            url = mutate(rng.choice(self._urls), rng, _WORDS, self._urls)
            return Sent(_get(bytes(byte for byte in url if 32 < byte < 127) or b"/"), query=True)
        query = rng.random() < 0.5
        good = _get(rng.choice(self._urls)) if query else _post(self.export(), "application/x-protobuf")
        head, _, rest = good.partition(b"\r\n")
        lines = head + b"\r\n" + rng.choice(_HEADERS).encode() + b"\r\n" + rest
        return Sent(mutate(lines, rng, (b"\r\n", b": ", b"HTTP/1.1", b"\0")), query=query, broken=True)


def _urls(number: int) -> list[bytes]:
    """What is asked of the number-th window of time."""
    middle_s = (START_NS + number * _WINDOW_NS) // 10**9
    window = f"start={middle_s - 30}&end={middle_s + 30}"
    asked = [(path, query) for query in _QUERIES for path in ("/api/search", "/api/metrics/query_range")]
    urls = [f"{path}?q={quote(query)}&{window}&limit=5".encode() for path, query in asked]
    urls += [f"/api/search/tags?scope=span&q={quote(_QUERIES[0])}&{window}".encode(), b"/api/traces/1"]
    return [*urls, b"/api/v2/search/tag/span.http.route/values?" + window.encode(), b"/api/v2/traces/2", b"/status"]


def _get(url: bytes) -> bytes:
    return b"GET " + url + b" HTTP/1.1\r\nHost: a\r\nX-Scope-OrgID: " + TENANT.encode() + b"\r\n\r\n"


def _post(body: bytes, content_type: str, *headers: str) -> bytes:
    lines = ["POST /v1/traces HTTP/1.1", "Host: a", f"X-Scope-OrgID: {TENANT}", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body
