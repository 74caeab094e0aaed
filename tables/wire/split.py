"""Rows of spans → parts, one per record: of one tenant in a partition, or shared by tenants with few spans each."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.columns.arrays import concat, dictionary, fixed_bytes, numbers, take_lists

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_MOSTLY_EMPTY: Final = ("events", "links")
# A record costs some 0.3 ms on its way through Kafka: as much as this many spans. Fewer share one with other tenants.
OWN_RECORD_SPANS: Final = 512


# As the partition count of a block: its records were written while the number changed.
SEVERAL: Final = 0


class Run(NamedTuple):
    """Consecutive rows of one tenant."""

    tenant: int  # the number that the caller gave the tenant
    spans: int


@dataclass(frozen=True, slots=True, eq=False)
class RowBatch:
    """Spans that form one record. runs: the tenants in the order of the rows, each once"""

    runs: tuple[Run, ...]
    partition: int
    spans: pa.RecordBatch
    rows: npt.NDArray[np.int64]  # for each span its row in the batch that was split


class _RowGroup(NamedTuple):
    """The rows of one part."""

    runs: tuple[Run, ...]
    partition: int


def partitions_of(trace_ids: Any, partitions: int) -> npt.NDArray[np.int64]:
    """The partition of each trace id (fixed-size binary of 16): part of the data format, it never changes.

    The two halves of the id are mixed first: neither half alone need be random (zero-padded 64-bit ids).
    """
    halves = fixed_bytes(trace_ids).view("<u8").astype(np.uint64, copy=False)
    mixed = (halves[:, 0] ^ halves[:, 1]) * _MULTIPLIER
    scaled = (mixed >> np.uint64(32)) * np.uint64(partitions) >> np.uint64(32)
    return scaled.astype(np.int64)


def partition_of(trace_id: bytes, partitions: int) -> int:
    """The partition of one trace id (16 bytes)."""
    return int(partitions_of(pa.array([trace_id], pa.binary(16)), partitions)[0])


def places_of(trace_id: bytes, counts: Iterable[int], partitions: int) -> set[int]:
    """Where a trace may be, if it was written while there were as many partitions as one of `counts` says.

    SEVERAL among them: it may be in any. partitions: how many there are now
    """
    known = set(counts)
    if SEVERAL in known:
        return set(range(partitions))
    return {partition_of(trace_id, count) for count in known}


def split(spans: pa.RecordBatch, partitions: int, tenant_of: npt.NDArray[np.int32] | None = None) -> list[RowBatch]:
    """Parts of `spans` by partition and, with `tenant_of` (a number per row), by tenant. Tenants with few spans in a
    partition share a part. The order within a run stays.
    """
    if not len(spans):
        return []
    target = partitions_of(spans.column("trace_id"), partitions)
    if tenant_of is None or bool((tenant_of == tenant_of[0]).all()):
        tenant = 0 if tenant_of is None else int(tenant_of[0])
        order, counts = np.argsort(target, kind="stable"), np.bincount(target)
        groups = [_RowGroup((Run(tenant, count),), number) for number, count in enumerate(counts.tolist()) if count]
        several = False
    else:
        order, groups = _groups(target, tenant_of, partitions)
        several = True
    # A tenant's record must not contain dictionary values of another tenant, nor a small record those of a large one.
    prune_all = any(len(runs) == 1 for runs, _ in groups)
    ordered = take_rows(spans, order)
    parts: list[RowBatch] = []
    start = 0
    for runs, partition in groups:
        count = sum(run.spans for run in runs)
        part = ordered.slice(start, count)
        kept = without_unused_values(part) if several and prune_all else part
        parts.append(RowBatch(runs, partition, kept, order[start : start + count]))
        start += count
    return parts


def _groups(
    target: npt.NDArray[np.int64], tenant_of: npt.NDArray[np.int32], partitions: int
) -> tuple[npt.NDArray[np.int64], list[_RowGroup]]:
    """The order of rows: by partition, then tenants with their own record, then the others; and the resulting
    groups.
    """
    tenants = int(tenant_of.max()) + 1
    place = target * tenants + tenant_of
    counts = np.bincount(place, minlength=partitions * tenants).reshape(partitions, tenants)
    few = counts < OWN_RECORD_SPANS
    # The position of each (partition, tenant); tenants with few spans come last.
    number = (np.arange(partitions)[:, None] * 2 + few) * tenants + np.arange(tenants)
    order = np.argsort(number.reshape(-1)[place], kind="stable")
    groups: list[_RowGroup] = []
    for partition in np.flatnonzero(counts.any(axis=1)).tolist():
        of_partition = [Run(t, int(counts[partition, t])) for t in np.flatnonzero(counts[partition]).tolist()]
        groups += [_RowGroup((run,), partition) for run in of_partition if run.spans >= OWN_RECORD_SPANS]
        shared = tuple(run for run in of_partition if run.spans < OWN_RECORD_SPANS)
        if shared:
            groups.append(_RowGroup(shared, partition))
    return order, groups


def take_rows(spans: pa.RecordBatch, rows: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """As `spans.take(rows)`, but faster. Lists contain only items of these rows; dictionaries stay whole."""
    indices = pa.array(rows)
    columns = [
        take_lists(column, rows) if name in _MOSTLY_EMPTY else column.take(indices)
        for name, column in zip(spans.schema.names, spans.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=spans.schema.names)


def without_unused_values(spans: pa.RecordBatch) -> pa.RecordBatch:
    """The spans with dictionaries that contain only values in use."""
    columns = []
    for column in spans.columns:
        if pa.types.is_dictionary(column.type):
            columns.append(_prune(column))
        elif column.type == spans.schema.field("attributes").type:
            columns.append(_prune_keys(column))
        else:
            columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=spans.schema.names)


def _prune(column: pa.DictionaryArray) -> pa.DictionaryArray:
    codes = numbers(column.indices)
    used, dense = np.unique(codes, return_inverse=True)
    return dictionary(dense, column.dictionary.take(pa.array(used)))


def _prune_keys(lists: pa.ListArray) -> pa.ListArray:
    pairs = lists.flatten()
    fields = [_prune(pairs.field("key"))]
    fields += [concat([pairs.field(i)]) for i in range(1, pairs.type.num_fields)]
    struct = pa.StructArray.from_arrays(fields, [f.name for f in pairs.type])
    offsets = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
    return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), struct)
