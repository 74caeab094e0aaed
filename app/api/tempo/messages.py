"""Answers as protobuf, in parts: no message is so large that a gRPC client refuses it, 4 MB by default.

Over gRPC the answer to an instant metrics query is one message (`Whole`), whatever its size: clients such as Grafana
keep the last one only.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, Final, TypeVar

from app.api.proto.tempo_pb2 import (
    InstantSeries,
    MetadataMetrics,
    QueryInstantResponse,
    QueryRangeResponse,
    SearchMetrics,
    SearchResponse,
    SearchTagsResponse,
    SearchTagsV2Response,
    SearchTagsV2Scope,
    SearchTagValuesResponse,
    SearchTagValuesV2Response,
    TagValue,
    TimeSeries,
    TraceSearchMetadata,
)
from app.api.proto.tempo_pb2 import SpanSet as SpanSetMessage
from app.api.tempo.jsonpb import NO_ROOT, UINT32_MAX
from query import memory
from query.results import (
    Attributes,
    AttributeValue,
    Exemplar,
    Inspected,
    MetricsResult,
    SearchResult,
    Series,
    SpanSet,
    TraceMatch,
)
from query.search.large_traces import LARGE_SPANS, LargeSpanSets
from query.tags.tag_text import INTRINSIC
from query.tags.tags import TagNames, TagValues
from tables.columns.varint import varint
from tables.turns import pieces
from tables.units import NS_PER_MS

# One trace or series may be larger than the rest of a part: it goes alone then.
PART_BYTES: Final = 1 << 20
# Nor does a part have more: no other thread can run while so many are copied into one message.
_PART_ITEMS_MAX: Final = 4096
# A trace with more matching spans is written by hand, and counted: its text is there several times.
SPAN_BYTES: Final = 1000
_SPANS_AT_ONCE: Final = 500
Item = TypeVar("Item")


def search_messages(result: SearchResult, *, span_sets: bool) -> Iterator[Any]:
    """What has SerializeToString each. span_sets: as for `search.search_json`."""
    metrics, some = search_metrics(result.inspected), False
    for large, traces in groupby(result.traces, key=is_large):
        some = True
        if large and span_sets:
            for trace in traces:
                yield Whole(_large_trace(trace), SearchResponse(metrics=metrics))
            continue
        for part in _parts((_trace(trace, span_sets=span_sets) for trace in traces), TraceSearchMetadata.ByteSize):
            yield SearchResponse(traces=part, metrics=metrics)
    if not some:
        yield SearchResponse(metrics=metrics)


def range_messages(result: MetricsResult) -> Iterator[QueryRangeResponse]:
    metrics = search_metrics(result.inspected)
    for part in _parts(map(_series, result.series), TimeSeries.ByteSize):
        yield QueryRangeResponse(series=part, metrics=metrics)


def instant_messages(result: MetricsResult) -> Iterator[QueryInstantResponse]:
    metrics = search_metrics(result.inspected)
    for part in _parts(map(_instant, result.series), InstantSeries.ByteSize):
        yield QueryInstantResponse(series=part, metrics=metrics)


class Whole:
    """Messages that are sent as one: their bytes one after the other, as protobuf allows. Made in parts nevertheless,
    for no other thread can run while a large one is serialized.
    """

    def __init__(self, parts: Iterable[bytes], *last: Any) -> None:
        """parts: serialized messages; last: messages that are serialized after them"""
        self._parts, self._last = parts, last

    def SerializeToString(self) -> bytes:  # noqa: N802 (as of messages)
        """All messages, one after the other. May be called once."""
        return b"".join([*self._parts, *(message.SerializeToString() for message in self._last)])


def names_messages(names: TagNames, *, intrinsic: bool) -> Iterator[SearchTagsResponse]:
    """Names of attributes without their scopes. intrinsic: whether those of intrinsics are among them"""
    tags = {tag for scope, tags in names.scopes.items() if intrinsic or scope != INTRINSIC for tag in tags}
    metrics = metadata_metrics(names.inspected)
    for part in _parts(sorted(tags), _text_bytes):
        yield SearchTagsResponse(tagNames=part, metrics=metrics)


def names_v2_messages(names: TagNames) -> Iterator[SearchTagsV2Response]:
    """Names that do not fit in one part lie in several, each with the scope's name."""
    metrics = metadata_metrics(names.inspected)
    scopes = (
        SearchTagsV2Scope(name=scope, tags=part)
        for scope, tags in names.scopes.items()
        for part in _parts(tags, _text_bytes)
    )
    for part in _parts(scopes, SearchTagsV2Scope.ByteSize):
        yield SearchTagsV2Response(scopes=part, metrics=metrics)


def values_messages(values: TagValues) -> Iterator[SearchTagValuesResponse]:
    metrics = metadata_metrics(values.inspected)
    for part in _parts(sorted({value.text for value in values.values}), _text_bytes):
        yield SearchTagValuesResponse(tagValues=part, metrics=metrics)


def values_v2_messages(values: TagValues) -> Iterator[SearchTagValuesV2Response]:
    metrics = metadata_metrics(values.inspected)
    found = (TagValue(type=value.type, value=value.text) for value in values.values)
    for part in _parts(found, TagValue.ByteSize):
        yield SearchTagValuesV2Response(tagValues=part, metrics=metrics)


def _parts(items: Iterable[Item], size_bytes: Callable[[Item], int]) -> Iterator[list[Item]]:
    """Lists of about PART_BYTES, at least one, which is empty where there are no items."""
    part: list[Item] = []
    left = PART_BYTES
    for item in items:
        size = size_bytes(item)
        if part and (size > left or len(part) >= _PART_ITEMS_MAX):
            yield part
            part, left = [], PART_BYTES
        part.append(item)
        left -= size
    yield part


def _text_bytes(text: str) -> int:
    return 4 + 4 * len(text)  # at most


def search_metrics(inspected: Inspected) -> SearchMetrics:
    """How much work a search took, as `jsonpb.search_metrics` says it in JSON."""
    return SearchMetrics(
        inspectedTraces=min(inspected.traces, UINT32_MAX),
        inspectedBytes=inspected.bytes,
        inspectedSpans=inspected.spans,
        completedJobs=min(inspected.sources, UINT32_MAX),
        totalJobs=min(inspected.sources + inspected.left, UINT32_MAX),
    )


def metadata_metrics(inspected: Inspected) -> MetadataMetrics:
    """How much work a list of tags or values took."""
    jobs = min(inspected.sources, UINT32_MAX)
    return MetadataMetrics(inspectedBytes=inspected.bytes, completedJobs=jobs, totalJobs=jobs)


def _trace(trace: TraceMatch, *, span_sets: bool) -> TraceSearchMetadata:
    out = TraceSearchMetadata(
        traceID=trace.trace_id.hex().lstrip("0") or "0",
        rootServiceName=NO_ROOT if trace.root_service is None else trace.root_service,
        rootTraceName=trace.root_name or "",
        startTimeUnixNano=max(0, trace.start_ns),
        durationMs=max(0, min(trace.duration_ns // NS_PER_MS, UINT32_MAX)),
    )
    if span_sets:
        for span_set in trace.span_sets:
            _fill_span_set(out.spanSets.add(), span_set)
        if trace.span_sets:
            out.spanSet.CopyFrom(out.spanSets[0])
        for name, stats in trace.service_stats.items():
            entry = out.serviceStats[name]
            entry.spanCount, entry.errorCount = stats.span_count, stats.error_count
    return out


def spans_of(trace: TraceMatch) -> int:
    """How many spans of the trace the answer shows."""
    sets = trace.span_sets
    if isinstance(sets, LargeSpanSets):
        return sets.span_count
    return len(sets[0].spans) if len(sets) == 1 else sum(len(span_set.spans) for span_set in sets)


def is_large(trace: TraceMatch) -> bool:
    """Whether it is to be written in parts."""
    return spans_of(trace) > LARGE_SPANS


def _large_trace(trace: TraceMatch) -> Iterator[bytes]:
    """A SearchResponse of one trace, by hand: its spans are there twice, and as messages they would be copied and
    serialized in calls of 200 ms, in which no other thread can run.
    """
    with memory.current().scratch(spans_of(trace) * SPAN_BYTES, "the text of one trace"):
        sets = [b"".join(_span_set_parts(span_set)) for span_set in trace.span_sets]
        rest = _trace(trace._replace(span_sets=()), span_sets=True).SerializeToString()
        yield field_bytes(1, b"".join([rest, field_bytes(6, sets[0]), *(field_bytes(7, one) for one in sets)]))


def _span_set_parts(span_set: SpanSet) -> Iterator[bytes]:
    """Which one after the other are one message."""
    out = SpanSetMessage()
    _fill_span_set(out, span_set._replace(spans=()))
    yield out.SerializeToString()
    for spans in pieces(span_set.spans, _SPANS_AT_ONCE):
        out = SpanSetMessage()
        _fill_span_set(out, SpanSet(spans, 0))
        yield out.SerializeToString()


def field_bytes(number: int, value: bytes) -> bytes:
    """A protobuf field with a length: tag, length, bytes. number: at most 15."""
    return bytes([number << 3 | 2]) + varint(len(value)) + value


def _fill_span_set(out: Any, span_set: SpanSet) -> None:
    out.matched = min(span_set.matched, UINT32_MAX)
    _fill_attributes(out.attributes, span_set.attributes)
    for span in span_set.spans:
        one = out.spans.add(
            spanID=span.span_id.hex(),
            name=span.name,
            startTimeUnixNano=max(0, span.start_ns),
            # Unsigned: a client's clock may have gone back.
            durationNanos=max(0, span.duration_ns),
        )
        _fill_attributes(one.attributes, span.attributes)


def _series(series: Series) -> TimeSeries:
    out = TimeSeries()
    _fill_attributes(out.labels, series.labels)
    samples = out.samples
    for time_ns, value in series.samples:
        samples.add(timestamp_ms=time_ns // NS_PER_MS, value=value)
    for exemplar in series.exemplars:
        _fill_exemplar(out.exemplars.add(), exemplar)
    return out


def _fill_exemplar(out: Any, exemplar: Exemplar) -> None:
    out.value, out.timestamp_ms = exemplar.value, exemplar.timestamp_ns // NS_PER_MS
    _fill_attributes(out.labels, [("trace:id", exemplar.trace_id.hex().lstrip("0") or "0")])


def _instant(series: Series) -> InstantSeries:
    out = InstantSeries(value=series.samples[-1][1] if series.samples else 0)
    _fill_attributes(out.labels, series.labels)
    return out


def _fill_attributes(out: Any, attributes: Attributes) -> None:
    for key, value in attributes:
        _fill_value(out.add(key=key).value, value)


def _fill_value(out: Any, value: AttributeValue) -> None:
    """An OTLP AnyValue, as `jsonpb.value_json`."""
    if isinstance(value, str):
        out.string_value = value
    elif isinstance(value, bool):  # before int, which it is a kind of
        out.bool_value = value
    elif isinstance(value, int):
        out.int_value = value
    elif isinstance(value, float):
        out.double_value = value
    else:
        out.array_value.SetInParent()
        for item in value:
            _fill_value(out.array_value.values.add(), item)
