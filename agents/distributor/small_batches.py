"""Batches of few spans → records that hold the requests as they came, split by partition and tenant.

Columns of a batch cost some milliseconds, however few its spans are. Readers make them of many records at once, see
`tables.wire.request_records`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from agents.distributor.record_producer import Record
from tables.wire import record
from tables.wire.otlp.small_requests import RequestPart, SmallRequests, SmallSplitter
from tables.wire.record import RecordInfo
from tables.wire.split import OWN_RECORD_SPANS

# Of a batch: from here on columns cost less. Requests of one span have a kilobyte, most of it their resource.
BATCH_BYTES_MAX: Final = 256 << 10
# Key, headers and framing of a Kafka message.
_OVERHEAD_BYTES: Final = 4096


class SmallBatch(NamedTuple):
    """received: spans of each request; None: it is not in the records, and needs columns
    spans: number of spans in the records
    """

    received: list[int | None]
    records: list[Record]
    spans: int


def encode_small(
    splitter: SmallSplitter, tenants: Sequence[str], bodies: Sequence[bytes], partitions: int, message_bytes_max: int
) -> SmallBatch | None:
    """Encodes those requests that the splitter takes. None if a record would be too large for Kafka.

    tenants: of each request
    """
    split = splitter.split(tenants, bodies, partitions)
    groups: dict[int, list[RequestPart]] = {}
    for part in split.parts:
        groups.setdefault(part.partition, []).append(part)
    records: list[Record] = []
    for parts in groups.values():
        shared = [part for part in parts if len(part.rows) < OWN_RECORD_SPANS]
        records += [_record([part], split) for part in parts if len(part.rows) >= OWN_RECORD_SPANS]
        if shared:
            records.append(_record(shared, split))
    for one in records:
        if len(one.value) + sum(len(header) for _, header in one.headers) + _OVERHEAD_BYTES > message_bytes_max:
            return None
    return SmallBatch(split.received, records, len(split.starts_ns))


def _record(parts: Sequence[RequestPart], split: SmallRequests) -> Record:
    """The record of one partition's parts, each of another tenant."""
    starts_ns = [split.starts_ns[row] for part in parts for row in part.rows]
    is_shared = len(parts) > 1
    runs = tuple((part.tenant, len(part.rows)) for part in parts) if is_shared else ()
    info = RecordInfo(len(starts_ns), min(starts_ns), max(starts_ns), runs)
    value, headers = record.encode_requests([part.body for part in parts], info)
    return Record(parts[0].partition, b"" if is_shared else parts[0].tenant.encode(), value, headers)
