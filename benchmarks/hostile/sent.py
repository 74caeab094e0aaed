"""Mutated requests of every kind that the server listens for, made from a seed of random numbers."""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final
from urllib.parse import quote

from benchmarks.hostile.examples import START_NS, TRACE_IDS, otlp_json, otlp_requests
from benchmarks.hostile.mutate import mutate, mutate_message

PROTOBUF: Final = "protobuf"
TENANT: Final = "hostile"

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


class Maker:
    """Makes mutated requests; the same for the same seed."""

    def __init__(self, seed: int, good: Sequence[bytes]) -> None:
        """good: further OTLP requests to start from"""
        self._rng = Random(seed)
        self._protobuf = [*otlp_requests(), *good]
        self._json = otlp_json()
        window = f"start={START_NS // 10**9 - 60}&end={START_NS // 10**9 + 60}"
        asked = [(path, query) for query in _QUERIES for path in ("/api/search", "/api/metrics/query_range")]
        self._urls = [f"{path}?q={quote(query)}&{window}&limit=5".encode() for path, query in asked]
        self._urls += [f"/api/search/tags?scope=span&q={quote(_QUERIES[0])}&{window}".encode(), b"/api/traces/1"]
        self._urls += [b"/api/v2/search/tag/span.http.route/values?" + window.encode(), b"/api/v2/traces/2", b"/status"]

    def export(self) -> bytes:
        """A mutated ExportTraceServiceRequest as bytes."""
        rng = self._rng
        data = rng.choice(self._protobuf)
        # Traces of their own: thousands of copies of one span would be one trace, which nobody could read.
        for known in TRACE_IDS:
            data = data.replace(known, rng.randbytes(len(known)))
        change = mutate if rng.random() < 0.2 else mutate_message
        for _ in range(rng.choice((1, 1, 2, 4))):
            data = change(data, rng, _SPAN_WORDS, self._protobuf)
        return data

    def http(self) -> Sent:
        """A request for an HTTP port."""
        rng = self._rng
        kind = rng.random()
        if kind < 0.55:
            body = self.export()
            if rng.random() < 0.15:
                return Sent(_post(gzip.compress(body, 1), "application/x-protobuf", "Content-Encoding: gzip"), body)
            return Sent(_post(body, "application/x-protobuf"), body)
        if kind < 0.67:
            data = mutate(rng.choice(self._json), rng, (b"null", b'"\\ud83d"', b"1e400", b"{}", b"[]"), self._json)
            return Sent(_post(data, "application/json"))
        if kind < 0.7:
            body = mutate(gzip.compress(rng.choice(self._protobuf), 1), rng)
            return Sent(_post(body, "application/x-protobuf", "Content-Encoding: gzip"))
        if kind < 0.92:
            url = mutate(rng.choice(self._urls), rng, _WORDS, self._urls)
            return Sent(_get(bytes(byte for byte in url if 32 < byte < 127) or b"/"), query=True)
        query = rng.random() < 0.5
        good = _get(rng.choice(self._urls)) if query else _post(self.export(), "application/x-protobuf")
        head, _, rest = good.partition(b"\r\n")
        lines = head + b"\r\n" + rng.choice(_HEADERS).encode() + b"\r\n" + rest
        return Sent(mutate(lines, rng, (b"\r\n", b": ", b"HTTP/1.1", b"\0")), query=query, broken=True)


def _get(url: bytes) -> bytes:
    return b"GET " + url + b" HTTP/1.1\r\nHost: a\r\nX-Scope-OrgID: " + TENANT.encode() + b"\r\n\r\n"


def _post(body: bytes, content_type: str, *headers: str) -> bytes:
    lines = ["POST /v1/traces HTTP/1.1", "Host: a", f"X-Scope-OrgID: {TENANT}", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, *headers, f"Content-Length: {len(body)}", "", ""]).encode() + body
