"""What one worker answers to a metrics query: a partial for each of its functions, mergeable in any order."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from query import memory
from query.functions.metrics import METRICS_FUNCTIONS
from query.language import ast
from query.language.plan import MetricsPlan
from query.metrics.intervals import Intervals
from query.metrics.partial_ipc import TABLES, from_tables, to_tables
from query.metrics.partials import Partial, merge
from query.results import Inspected
from query.scan.stitch import concat_rows

_HEADER: Final = b"stretto.metrics"
CHEAPER: Final = "fewer fields in by(), fields with fewer values, a longer step, or a shorter time range"


@dataclass(frozen=True, slots=True, eq=False)
class MetricsPartial:
    """What some sources say to a metrics query. It holds no reader.

    functions: one for each metrics function of the query, from left to right
    shared_rows: of traces that several workers have, where the query is about whole traces; as of `Scan.shared_rows`
    """

    functions: tuple[Partial, ...]
    inspected: Inspected = field(default_factory=Inspected)
    shared_rows: pa.Table | None = None

    def to_ipc(self) -> bytes:
        """As Arrow IPC streams, one after the other: a header, the shared rows, then four tables for each function."""
        header = {"functions": len(self.functions), "inspected": asdict(self.inspected)}
        tables = [pa.table({}).replace_schema_metadata({_HEADER: json.dumps(header)})]
        tables.append(pa.table({}) if self.shared_rows is None else self.shared_rows)
        tables += [table for function in self.functions for table in to_tables(function)]
        sink = pa.BufferOutputStream()
        for table in tables:
            with pa.ipc.new_stream(sink, table.schema) as stream:
                stream.write_table(table)
        return bytes(sink.getvalue())

    @classmethod
    def from_ipc(cls, data: bytes) -> "MetricsPartial":
        """What `to_ipc` wrote. Raises: pa.ArrowInvalid where it is damaged"""
        source = pa.BufferReader(data)
        head, rows = [pa.ipc.open_stream(source).read_all() for _ in range(2)]
        header = json.loads(head.schema.metadata[_HEADER])
        functions = tuple(
            from_tables([pa.ipc.open_stream(source).read_all() for _ in range(TABLES)])
            for _ in range(header["functions"])
        )
        return cls(functions, Inspected(**header["inspected"]), rows if rows.num_columns else None)


def merge_workers(
    partials: Sequence[MetricsPartial], plans: Sequence[MetricsPlan], intervals: Intervals, exemplars: int
) -> MetricsPartial:
    """What the sources of all the partials say. exemplars: at most so many of each function. Raises: TooManyCells"""
    return MetricsPartial(
        tuple(
            merge_function(plan, [partial.functions[number] for partial in partials], intervals, exemplars)
            for number, plan in enumerate(plans)
        ),
        sum((partial.inspected for partial in partials), Inspected()),
        concat_rows(partial.shared_rows for partial in partials),
    )


def merge_function(plan: MetricsPlan, parts: Sequence[Partial], intervals: Intervals, exemplars: int) -> Partial:
    """One partial of several of the same metrics function. Raises: TooManyCells, memory.MemoryExceeded"""
    function = plan.function
    kinds = ("count",) if isinstance(function, ast.Compare) else METRICS_FUNCTIONS[function.name].cells
    parts = list(parts)
    if isinstance(function, ast.MetricsFunction) and function.of is None and not function.by:
        # Nothing at all is 0, too.
        parts.append(Partial([()], {"count": np.zeros((1, intervals.count))}))
    merged = merge(parts, kinds, intervals.count, exemplars)
    memory.reserve(merged.nbytes, f"{len(merged.keys)} series", CHEAPER)
    memory.current().release(sum(part.nbytes for part in parts))
    return merged
