"""Records of topic `spans` on their way to rest: head, segment, block file; by tenant."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from agents.distributor.record_producer import Record
from agents.stream.span_record import parts_of
from query.requests import SearchRequest
from query.search.search import search
from query.trace.trace import find_trace
from tables.live.head import Head, seal_records
from tables.live.shared_records import HeadRecord
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.wire import record
from tables.wire.otlp.writer import to_resource_spans
from tables.wire.request_records import decode_record
from tests.helpers.files import file_of

_TRACES_MAX = 3


class Rest:
    """The heads of all tenants that some records make."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.heads: dict[tuple[int, str], list[HeadRecord]] = {}
        for offset, one in enumerate(records):
            message = SimpleNamespace(key=one.key, value=one.value, headers=one.headers)
            info, parts = parts_of(message)
            whole = info.spans if info.runs else 0
            for part in parts:
                item = HeadRecord(offset, part.spans, one.value, part.first_row, whole, info.of_requests)
                self.heads.setdefault((one.partition, part.tenant), []).append(item)

    def check(self, accepted: Mapping[str, int]) -> None:
        """Every accepted span of each tenant is in its segments, once if it was sent twice, and is found
        by its trace's id there and in the head.
        """
        found = dict.fromkeys(accepted, 0)
        for (_, tenant), items in self.heads.items():
            table, bad = seal_records(items)
            assert not bad, bad
            assert table is not None
            table.validate(full=True)
            rows = [repr(row) for item in items for row in rows_of(item)]
            assert len(table) == len(set(rows)), (len(table), len(set(rows)))
            found[tenant] += len(rows)
            file = to_parquet(table)
            source = ParquetSource("file", lambda file=file: file_of(file), ByteCache("fuzz", 1 << 24), len(table))
            head = Head()
            for item in items:
                head.append(item)
            self._by_id(table, source, head, len(items))
            counts = [
                sum(
                    one.matched
                    for trace in search([any_], SearchRequest(query="{ }", limit=10**6)).traces
                    for one in trace.span_sets
                )
                for any_ in (source, *head.sources(len(items)))
            ]
            assert counts == [len(table)] * len(counts), (counts, len(table))
        assert found == dict(accepted), (found, accepted)

    def _by_id(self, table, source, head: Head, count: int) -> None:
        spans_of: dict[bytes, set[bytes]] = {}
        for trace_id, span_id in zip(table["trace_id"].to_pylist(), table["span_id"].to_pylist(), strict=True):
            spans_of.setdefault(trace_id, set()).add(span_id)
        for trace_id, span_ids in list(spans_of.items())[:_TRACES_MAX]:
            for sources in ([source], head.trace_sources(trace_id, count)):
                trace = find_trace(sources, trace_id)
                assert trace is not None
                assert set(trace["span_id"].to_pylist()) == span_ids  # those that were sent twice come once
                for group in to_resource_spans(trace):
                    group.SerializeToString()


def rows_of(item: HeadRecord) -> list[dict[str, Any]]:
    """What a client sent, span by span."""
    info = record.RecordInfo(item.whole.spans, 0, 0, of_requests=item.of_requests)
    spans = decode_record(item.value, info)
    return spans.slice(item.first_row, item.spans).to_pylist()


def head_record(value: bytes) -> HeadRecord:
    """A record whose headers say what its value says, as far as it can be read."""
    try:
        spans = len(record.decode(value))
    except ValueError:
        spans = 1
    return HeadRecord(0, spans, value)
