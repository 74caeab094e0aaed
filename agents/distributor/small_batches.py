"""Batches of few spans → records that hold the requests as they came, split by partition and tenant.

Columns of a batch cost some milliseconds, however few its spans are. Readers make them of many records at once, see
`tables.wire.request_records`.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from agents.distributor.record_producer import Record
from tables.wire import record
from tables.wire.otlp.small_requests import RequestPart, SmallRequests, split_small
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
    tenants: Sequence[str],
    bodies: Sequence[bytes],
    partitions: int,
    message_bytes_max: int,
    attribute_bytes_max: int,
) -> SmallBatch | None:
    """Encodes those requests that `split_small` takes. None if a record would be too large for Kafka.

    tenants: of each request
    """
    split = split_small(bodies, partitions, attribute_bytes_max)
    groups: dict[int, dict[str, list[RequestPart]]] = {}
    for part in split.parts:
        groups.setdefault(part.partition, {}).setdefault(tenants[part.request], []).append(part)
    records: list[Record] = []
    for partition, of_tenants in groups.items():
        counts = {tenant: sum(len(part.rows) for part in parts) for tenant, parts in of_tenants.items()}
        shared = [tenant for tenant, count in counts.items() if count < OWN_RECORD_SPANS]
        for names in [*([tenant] for tenant in counts if tenant not in shared), shared]:
            if names:
                runs = tuple((tenant, counts[tenant]) for tenant in names)
                parts = [part for tenant in names for part in of_tenants[tenant]]
                records.append(_record(partition, runs, parts, split))
    for one in records:
        if len(one.value) + sum(len(header) for _, header in one.headers) + _OVERHEAD_BYTES > message_bytes_max:
            return None
    return SmallBatch(split.received, records, len(split.starts_ns))


def _record(
    partition: int, runs: tuple[tuple[str, int], ...], parts: Sequence[RequestPart], split: SmallRequests
) -> Record:
    rows = [row for part in parts for row in part.rows]
    starts_ns = split.starts_ns[rows]
    is_shared = len(runs) > 1
    info = RecordInfo(len(rows), int(starts_ns.min()), int(starts_ns.max()), runs if is_shared else ())
    value, headers = record.encode_requests([part.body for part in parts], info)
    return Record(partition, b"" if is_shared else runs[0][0].encode(), value, headers)
