"""Rows of spans → one part per (tenant, partition)."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tables.lists import concat, dictionary, fixed_bytes, numbers, take_lists

_MULTIPLIER: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_MOSTLY_EMPTY: Final = ("events", "links")


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Spans that go into one record."""

    tenant: int  # the number that the caller gave the tenant
    partition: int
    spans: pa.RecordBatch
    rows: npt.NDArray[np.int64]  # for each span its row in the batch that was split


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


def split(spans: pa.RecordBatch, partitions: int, tenant_of: npt.NDArray[np.int32] | None = None) -> list[Part]:
    """Parts of `spans` by partition and, with `tenant_of` (a number per row), by tenant. Order within a part stays."""
    if not len(spans):
        return []
    target = partitions_of(spans.column("trace_id"), partitions)
    several = tenant_of is not None and bool((tenant_of != tenant_of[0]).any())
    first_tenant = int(tenant_of[0]) if tenant_of is not None else 0
    if several and tenant_of is not None:
        target += tenant_of.astype(np.int64) * partitions
    order = np.argsort(target, kind="stable")
    counts = np.bincount(target)
    rows = pa.array(order)
    columns = [
        take_lists(column, order) if name in _MOSTLY_EMPTY else column.take(rows)
        for name, column in zip(spans.schema.names, spans.columns, strict=True)
    ]
    ordered = pa.RecordBatch.from_arrays(columns, names=spans.schema.names)
    parts: list[Part] = []
    ends = np.cumsum(counts)
    for number in np.flatnonzero(counts):
        start, count = int(ends[number] - counts[number]), int(counts[number])
        part = ordered.slice(start, count)
        if several:
            # A record must not carry dictionary values of another tenant's spans.
            tenant, partition = divmod(int(number), partitions)
            parts.append(Part(tenant, partition, without_unused_values(part), order[start : start + count]))
        else:
            parts.append(Part(first_tenant, int(number), part, order[start : start + count]))
    return parts


def without_unused_values(spans: pa.RecordBatch) -> pa.RecordBatch:
    """The spans with dictionaries that hold only what they use."""
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
