"""Requests on their whole way through tables: decoded, split, as records, in a head, sealed, as a Parquet file, found
by search and by id, as OTLP again. Every question is asked of the head and of the file: both must say the same.
"""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span

from query.requests import SearchRequest
from query.search.search import search
from query.trace.trace import find_trace
from tables.live.head import Head, seal_records
from tables.live.shared_records import HeadRecord
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.split import split
from tests.helpers.files import file_of

DECODER = OtlpDecoder()
TRACE = bytes(range(1, 17))
START_NS = 1_795_259_580_000_000_000
MANY = 1_000_000


def span(number: int = 1, *, trace: bytes = TRACE, attributes: Any = (), **fields: Any) -> Span:
    """A span that lasts a millisecond. number: its id; attributes: a mapping to AnyValue or str, or pairs."""
    pairs = attributes.items() if isinstance(attributes, dict) else attributes
    keyed = [KeyValue(key=k, value=v if isinstance(v, AnyValue) else AnyValue(string_value=v)) for k, v in pairs]
    made = {"name": "op", "start_time_unix_nano": START_NS, "end_time_unix_nano": START_NS + 1_000_000} | fields
    return Span(trace_id=trace, span_id=number.to_bytes(8, "big"), attributes=keyed, **made)


def request(spans: Sequence[Span], **resource: str) -> bytes:
    """A request with one resource."""
    message = ExportTraceServiceRequest()
    group = message.resource_spans.add()
    for key, value in resource.items():
        group.resource.attributes.add(key=key.replace("_", ".")).value.string_value = value
    group.scope_spans.add().spans.extend(spans)
    return bytes(message.SerializeToString())


class Way:
    """Where the spans of some requests have come to, in one partition."""

    def __init__(self, *requests: bytes, columns_max: int = 1000, decoder: OtlpDecoder = DECODER) -> None:
        self.decoded = decoder.decode(requests)
        self.records = []
        head = Head(columns_max)
        for part in split(self.decoded.spans, 1):
            value, headers = record.encode(part.spans)
            self.records.append(HeadRecord(0, record.read_headers(headers).spans, value))
            head.append(self.records[-1])
        table, bad = seal_records(self.records, columns_max)
        assert table is not None
        assert not bad
        table.validate(full=True)
        self.table = table
        self.file = to_parquet(table)
        self.source = ParquetSource("file", lambda: file_of(self.file), ByteCache("test", 1 << 26), len(table))
        self.head = head.sources(len(self.records))

    def found(self, query: str, **window: int) -> list[int]:
        """The numbers of the spans that match, sorted."""
        answers = []
        for sources in ([self.source], self.head):
            result = search(sources, SearchRequest(query=query, limit=MANY, spans_per_span_set=MANY, **window))
            spans = [one for trace in result.traces for spanset in trace.span_sets for one in spanset.spans]
            answers.append(sorted(int.from_bytes(one.span_id, "big") for one in spans))
        assert answers[0] == answers[1]
        return answers[0]

    def groups(self, trace: bytes = TRACE) -> list[ResourceSpans]:
        """The trace by its id."""
        answers = []
        for sources in ([self.source], self.head):
            table = find_trace(sources, trace)
            assert table is not None
            answers.append(to_resource_spans(table))
        assert [_plain(g) for g in answers[0]] == [_plain(g) for g in answers[1]]
        for group in answers[0]:  # what is answered can be read by others
            ResourceSpans.FromString(group.SerializeToString())
        return answers[0]

    def spans(self, trace: bytes = TRACE) -> list[Span]:
        """The trace's spans; without a status where it says nothing, as clients send them."""
        spans = [one for group in self.groups(trace) for scoped in group.scope_spans for one in scoped.spans]
        for one in spans:
            if not one.status.ByteSize():
                one.ClearField("status")
        return spans

    def attributes(self, trace: bytes = TRACE) -> dict[str, AnyValue]:
        """The attributes of the trace's only span."""
        (only,) = self.spans(trace)
        return values(only.attributes)


def values(pairs: Any) -> dict[str, AnyValue]:
    """Attributes by key."""
    return {pair.key: pair.value for pair in pairs}


def _plain(group: ResourceSpans) -> Any:
    spans = [
        (one.span_id, sorted(pair.SerializeToString(deterministic=True) for pair in one.attributes), one.name)
        for scoped in group.scope_spans
        for one in scoped.spans
    ]
    return sorted(pair.SerializeToString(deterministic=True) for pair in group.resource.attributes), spans
