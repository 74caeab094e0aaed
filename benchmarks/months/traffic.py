"""Small segments of the bookshop's traces, as many as one likes, each with its own ids and times."""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from benchmarks.workload import Options, requests
from tables.blocks.write import SegmentFile
from tables.columns.arrays import big_endian
from tables.live.head import seal_records
from tables.live.shared_records import HeadRecord
from tables.parquet.write import to_parquet
from tables.schema import NO_PARENT
from tables.units import NS_PER_MS, NS_PER_S
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import partitions_of, split

# Segments that are made from OTLP, as a live store does it; all others are copies with other ids, times and durations.
_TEMPLATES: Final = 16
_NO_PARENT: Final = int.from_bytes(NO_PARENT, "big")


@dataclass(frozen=True, slots=True)
class Template:
    """A sealed segment. traces: the number of each row's trace; span_ids, parent_ids: as numbers"""

    table: pa.Table
    traces: Any
    span_ids: Any
    parent_ids: Any
    start_ns: int


class Traffic:
    """Segments of about `spans` spans each. The same seed makes the same ones."""

    def __init__(self, spans: int, partitions: int, attribute_columns_max: int, seed: int = 1) -> None:
        self._partitions = partitions
        self._random = np.random.default_rng(seed)
        made = requests(Options(spans=spans * _TEMPLATES, seed=seed, spans_per_request=spans))
        self._templates = [_template(body, attribute_columns_max) for body, _ in made][:_TEMPLATES]
        self._next = 0

    def segment(self, partition: int, start_s: float) -> SegmentFile:
        """A segment whose spans begin within the next seconds, and whose traces are of the partition."""
        template = self._templates[self._next % len(self._templates)]
        self._next += 1
        random, rows = self._random, len(template.table)
        ids = self._trace_ids(int(template.traces[-1]) + 1, partition)
        # Ids of a trace are changed together, so that parents stay parents.
        masks = random.integers(1, 2**63, len(ids), np.uint64)[template.traces]
        parents = template.parent_ids ^ masks
        parents[template.parent_ids == _NO_PARENT] = _NO_PARENT
        shift_ns = round(start_s * NS_PER_S) - template.start_ns
        table = template.table
        starts = table["start_ns"].to_numpy() + shift_ns
        durations = (table["duration_ns"].to_numpy() * random.uniform(0.5, 1.5, rows)).astype(np.int64)
        changed = {
            "trace_id": ids.take(pa.array(template.traces)),
            "span_id": _binary(template.span_ids ^ masks),
            "parent_span_id": _binary(parents),
            "start_ns": pa.array(starts),
            "duration_ns": pa.array(durations),
            "trace_start_ns": pa.array(table["trace_start_ns"].to_numpy() + shift_ns),
        }
        for name, column in changed.items():
            table = table.set_column(table.schema.get_field_index(name), name, column)
        received_ms = round(start_s * 1000)
        first_ns, end_ns = int(starts.min()), int((starts + durations).max())
        last_ms = max(received_ms, end_ns // NS_PER_MS)
        return SegmentFile(to_parquet(table), rows, first_ns, end_ns, received_ms, last_ms)

    def _trace_ids(self, count: int, partition: int) -> Any:
        """Random trace ids of the partition, ascending."""
        found: list[Any] = []
        while sum(map(len, found)) < count:
            ids = pa.array(
                [bytes(row) for row in self._random.integers(0, 256, (count * self._partitions, 16), np.uint8)],
                pa.binary(16),
            )
            found.append(ids.filter(pa.array(partitions_of(ids, self._partitions) == partition)))
        chosen = pa.concat_arrays(found)[:count]
        return chosen.take(pa.compute.sort_indices(chosen.cast(pa.binary())))


def _template(body: bytes, attribute_columns_max: int) -> Template:
    (part,) = split(OtlpDecoder().decode([body]).spans, 1)
    value, headers = record.encode(part.spans)
    one = HeadRecord(0, record.read_headers(headers).spans, value)
    table, _ = seal_records([one], attribute_columns_max)
    assert table is not None
    table = table.combine_chunks()
    traces = big_endian(table["trace_id"].chunk(0))
    changes = np.r_[False, (traces[1:] != traces[:-1]).any(axis=1)]
    return Template(
        table,
        np.cumsum(changes),
        _number(table["span_id"]),
        _number(table["parent_span_id"]),
        int(pa.compute.min(table["start_ns"]).as_py()),
    )


def _number(column: Any) -> Any:
    return big_endian(column.chunk(0))[:, 0].astype(np.uint64)


def _binary(numbers: Any) -> Any:
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(8), len(numbers), [None, pa.py_buffer(numbers.astype(">u8").tobytes())]
    )
