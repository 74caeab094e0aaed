"""How often every span is there: by the search API, by the blocks' files, by traces' ids."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from benchmarks.soak import ids
from benchmarks.soak.ledger import ACKNOWLEDGED, UNKNOWN, UNSENT, Ledger
from tables.blocks.meta import decode_meta
from tables.catalog.block_list import BlockList
from tables.catalog.snapshot import BlockSnapshot
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.harness.cluster import BenchError

NS: Final = 1_000_000_000
LIMIT: Final = 1_000_000  # traces in an answer; a pass has some thousands
TIMEOUT_S: Final = 120.0
TENANT: Final = "single-tenant"
EXAMPLES_MAX: Final = 5


class PartialAnswerError(BenchError):
    """The answer says itself that it is only a part."""


@dataclass(slots=True)
class Found:
    """Spans: what was found, and how that differs from the ledger."""

    spans: int = 0
    missing: int = 0  # acknowledged, and not there
    doubled: int = 0  # there more often than sent
    unacknowledged: int = 0  # there, though never acknowledged: allowed, once
    foreign: int = 0  # of ids that were never sent
    examples: list[str] = field(default_factory=list)

    @property
    def right(self) -> bool:
        return not (self.missing or self.doubled or self.foreign)

    def example(self, text: str) -> None:
        if len(self.examples) < EXAMPLES_MAX:
            self.examples.append(text)

    def add(self, other: "Found") -> None:
        self.spans += other.spans
        self.missing += other.missing
        self.doubled += other.doubled
        self.unacknowledged += other.unacknowledged
        self.foreign += other.foreign
        for text in other.examples:
            self.example(text)


def counted(http_url: str, start_s: int, end_s: int, once_within_s: float | None = None) -> Iterator[tuple[bytes, int]]:
    """(trace id, number of its spans) of all traces that overlap [start_s, end_s).

    The one place that knows how spans are counted. Raises BenchError where the answer is no 200, or is cut off.
    once_within_s: see `count_pass`
    """
    query = urllib.parse.urlencode({"q": "{ }", "start": start_s, "end": end_s, "limit": LIMIT, "spss": 1})
    url = f"{http_url}/api/search?{query}"
    answer = json.loads(ask(url) if once_within_s is None else asked_once(url, once_within_s))
    traces: list[dict[str, Any]] = answer["traces"]
    if len(traces) >= LIMIT:
        raise BenchError(f"{LIMIT} traces between {start_s} and {end_s}: more than one answer holds")
    for trace in traces:
        matched = sum(int(one.get("matched", 0)) for one in trace.get("spanSets", []))
        yield bytes.fromhex(trace["traceID"].zfill(32)), matched


def count_pass(http_url: str, ledger: Ledger, number: int, once_within_s: float | None = None) -> Found:
    """Count one pass by search. The ledger is read before and after: what is acknowledged meanwhile may be there.

    once_within_s: ask but once, and raise what `asked_once` raises; None: again for a while where the server says 503
    """
    template, start_ns = ledger.template, ledger.starts_ns[number]
    least = ledger.bounds(number)[0]
    first_s, last_s = (start_ns + template.first_ns) // NS, (start_ns + template.last_ns) // NS + 1
    rows = list(counted(http_url, first_s, last_s, once_within_s))
    most = ledger.bounds(number)[1]
    joined = np.frombuffer(b"".join(trace_id for trace_id, _ in rows), np.uint8).reshape(-1, 16)
    passes, traces = ids.places(ids.trace_words(joined))
    counts = np.array([matched for _, matched in rows], np.int64)
    known = (passes >= 0) & (passes < ledger.passes) & (traces < template.traces)
    here = known & (passes == number)
    got = np.bincount(traces[here], counts[here], template.traces).astype(np.int64)
    found = compared(got, least, most, f"pass {number}, trace")
    found.foreign = int(counts[~known].sum())
    return found


def count_by_metrics(
    http_url: str, ledger: Ledger, least: int | None = None, once_within_s: float | None = None
) -> Found:
    """Count the spans of all passes by one metrics query.

    least: so many must be there (None: all that are acknowledged now). once_within_s: see `count_pass`
    """
    template = ledger.template
    first_s = (ledger.starts_ns[0] + template.first_ns) // NS
    last_s = (ledger.starts_ns[-1] + template.last_ns) // NS + 1
    acknowledged = ledger.spans(ACKNOWLEDGED)
    least = acknowledged if least is None else least
    query = urllib.parse.urlencode({"q": "{ } | count_over_time()", "start": first_s, "end": last_s})
    url = f"{http_url}/api/metrics/query?{query}"
    series = json.loads(ask(url) if once_within_s is None else asked_once(url, once_within_s))["series"]
    got = int(sum(one.get("value", 0) for one in series))
    most = ledger.spans(ACKNOWLEDGED) + ledger.spans(UNKNOWN)
    found = Found(got, max(0, least - got), max(0, got - most), max(0, min(got, most) - acknowledged))
    if not found.right:
        found.example(f"metrics query: {got} spans, {least} to {most} expected")
    return found


def compared(got: npt.NDArray[np.int64], least: npt.NDArray[np.int64], most: npt.NDArray[np.int64], what: str) -> Found:
    """By trace or span: how often it is there, against how often it must and may be."""
    found = Found(
        spans=int(got.sum()),
        missing=int(np.maximum(least - got, 0).sum()),
        doubled=int(np.maximum(got - most, 0).sum()),
        unacknowledged=int(np.clip(got - least, 0, most - least).sum()),
    )
    for number in np.flatnonzero((got < least) | (got > most))[:EXAMPLES_MAX]:
        found.example(f"{what} {number}: {got[number]} found, {least[number]} to {most[number]} expected")
    return found


def visible_blocks(storage: StorageConfig) -> tuple[ObjectStore, BlockSnapshot]:
    """The blocks that readers see."""
    store = ObjectStore(storage)
    for path in store.paths("blocks"):
        if path.endswith("/meta.json") and (data := store.get(path)) is not None:
            meta = decode_meta(path, data)
            blocks = BlockList(store, meta.cluster_id, ByteCache("soak", 1 << 20))
            blocks.poll(range(meta.partition_count))
            return store, blocks.snapshot(TENANT)
    return store, BlockSnapshot()


def levels(storage: StorageConfig) -> dict[int, int]:
    """How many visible blocks have been merged how often; level 0: as flushed."""
    return dict(sorted(Counter(meta.level for meta in visible_blocks(storage)[1].blocks).items()))


def count_blocks(storage: StorageConfig, ledger: Ledger) -> Found:
    """Count span by span in the Parquet files. A byte a span of memory."""
    template = ledger.template
    store, snapshot = visible_blocks(storage)
    got = np.zeros((ledger.passes, template.spans), np.uint8)
    found = Found()
    for meta in snapshot.blocks:
        for file in meta.files:
            path = f"{meta.folder}/{file.name}"
            if (data := store.get(path)) is None:
                raise BenchError(f"{path} is not there, though the block is visible")
            table = pq.read_table(pa.BufferReader(data), columns=["trace_id", "span_id"]).combine_chunks()
            passes, spans = ids.places(ids.span_words(_bytes(table["span_id"], 8)))
            of_trace = ids.places(ids.trace_words(_bytes(table["trace_id"], 16)))
            known = (passes >= 0) & (passes < ledger.passes) & (spans < template.spans)
            spans_or_0 = np.where(known, spans, 0)
            known &= (of_trace[0] == passes) & (of_trace[1] == template.trace_of[spans_or_0])
            found.foreign += int((~known).sum())
            np.add.at(got, (passes[known], spans[known]), 1)
    for number in range(ledger.passes):
        states = ledger.states(number)[template.request_of]
        least, most = (states == ACKNOWLEDGED).astype(np.int64), (states != UNSENT).astype(np.int64)
        found.add(compared(got[number].astype(np.int64), least, most, f"pass {number}, span"))
    return found


def _bytes(column: Any, width: int) -> npt.NDArray[np.uint8]:
    """A column of fixed-size binary (or binary of equal lengths) as rows of bytes."""
    values = b"".join(column.to_pylist())
    return np.frombuffer(values, np.uint8).reshape(-1, width)


def check_traces(http_url: str, ledger: Ledger, wanted: int, seed: int) -> tuple[int, Found]:
    """Compare traces chosen at random span by span with what was sent; a span that differs counts as missing.

    Returns how many were compared, and what differs.
    """
    rng, found = Random(seed), Found()
    chosen = Counter(rng.choices(range(ledger.passes), k=wanted)) if ledger.passes else Counter()
    checked = 0
    for number, count in sorted(chosen.items()):
        least, most = ledger.bounds(number)
        there = [int(trace) for trace in np.flatnonzero(least)]
        for trace in rng.sample(there, min(count, len(there))):
            sent = sent_spans(ledger, number, trace)
            assert len(sent) == most[trace]
            found.add(check_trace(http_url, number, trace, sent))
            checked += 1
    return checked, found


def sent_spans(ledger: Ledger, number: int, trace: int) -> dict[bytes, tuple[Span, bool]]:
    """Span id → span as it was sent, and whether it was acknowledged."""
    template, states = ledger.template, ledger.states(number)
    wanted = ids.trace_ids(ids.words(number, [trace])).tobytes()
    spans: dict[bytes, tuple[Span, bool]] = {}
    for index in np.flatnonzero(template.parts[trace]):
        if states[index] == UNSENT:
            continue
        data = template.request(number, int(index), ledger.starts_ns[number])
        for group in ExportTraceServiceRequest.FromString(data).resource_spans:
            for span in group.scope_spans[0].spans:
                if span.trace_id == wanted:
                    spans[span.span_id] = (span, bool(states[index] == ACKNOWLEDGED))
    return spans


def check_trace(
    http_url: str,
    number: int,
    trace: int,
    sent: dict[bytes, tuple[Span, bool]],
    once_within_s: float | None = None,
) -> Found:
    """Compare a trace span by span. sent: see `sent_spans`. once_within_s: see `count_pass`"""
    trace_id = ids.trace_ids(ids.words(number, [trace])).tobytes().hex()
    answer = _trace(f"{http_url}/api/traces/{trace_id}", once_within_s)
    found = Found()
    seen: Counter[bytes] = Counter()
    for group in TracesData.FromString(answer).resource_spans:
        for scope in group.scope_spans:
            for span in scope.spans:
                seen[span.span_id] += 1
                if span.span_id not in sent:
                    found.foreign += 1
                    found.example(f"trace {trace_id}: span {span.span_id.hex()} was never sent")
                elif plain(span) != plain(sent[span.span_id][0]):
                    found.missing += 1
                    found.example(f"trace {trace_id}: span {span.span_id.hex()} is not as it was sent")
    found.spans = seen.total()
    for span_id, (_, acknowledged) in sent.items():
        found.missing += acknowledged and not seen[span_id]
        found.unacknowledged += not acknowledged and bool(seen[span_id])
        found.doubled += max(0, seen[span_id] - 1)
    if found.missing or found.doubled:
        found.example(f"trace {trace_id}: {found.spans} spans found, {len(sent)} sent")
    return found


def _trace(url: str, once_within_s: float | None) -> bytes:
    """The answer; b"" where the trace is not found: all of its spans are missing then."""
    headers = {"Accept": "application/protobuf"}
    try:
        return ask(url, headers) if once_within_s is None else asked_once(url, once_within_s, headers)
    except (urllib.error.HTTPError, BenchError) as error:
        cause = error if isinstance(error, urllib.error.HTTPError) else error.__cause__
        if isinstance(cause, urllib.error.HTTPError) and cause.code == HTTPStatus.NOT_FOUND:
            cause.close()
            return b""
        raise


def plain(span: Span) -> bytes:
    """A span's bytes with its attributes in order, since their order means nothing, and a status, be it empty."""
    copy = Span()
    copy.CopyFrom(span)
    copy.status.SetInParent()
    repeated: list[Any] = [copy.attributes]
    repeated += [event.attributes for event in copy.events]
    repeated += [link.attributes for link in copy.links]
    for attributes in repeated:
        attributes.sort(key=lambda attribute: attribute.key)
    return copy.SerializeToString(deterministic=True)


def asked_once(url: str, within_s: float, headers: dict[str, str] | None = None) -> bytes:
    """Raises what urllib raises, and PartialAnswerError."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {}), timeout=within_s) as answer:
        if answer.status != HTTPStatus.OK:
            raise PartialAnswerError(f"{url} answers {answer.status}: a part of the spans could not be read")
        body: bytes = answer.read()
        return body


def ask(url: str, headers: dict[str, str] | None = None) -> bytes:
    """Raises BenchError where the answer is no 200; asked again for a while where the server says 503 or 504."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while True:
        try:
            with urllib.request.urlopen(
                urllib.request.Request(url, headers=headers or {}), timeout=TIMEOUT_S
            ) as answer:
                if answer.status != HTTPStatus.OK:
                    raise BenchError(f"{url} answers {answer.status}: a part of the spans could not be read")
                body: bytes = answer.read()
                return body
        except urllib.error.HTTPError as error:
            text = error.read().decode(errors="replace").strip()
            # A machine with much to do may need longer for an answer than a query may take.
            again = error.code in (HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)
            if not again or time.monotonic() > deadline_s:
                raise BenchError(f"{url} answers {error.code}: {text}") from error
            time.sleep(0.5)
        except OSError as error:
            raise BenchError(f"{url} does not answer: {error}") from error
