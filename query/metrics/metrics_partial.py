"""What one worker answers to a metrics query: a partial for each of its functions, mergeable in any order."""

from collections.abc import Sequence
from dataclasses import dataclass, field
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
from query.scan.ipc import read_partial, write_partial
from query.scan.stitch import concat_rows

_KIND: Final = b"stretto.metrics"
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
        """As Arrow IPC: four tables for each function."""
        tables = [table for function in self.functions for table in to_tables(function)]
        return write_partial(_KIND, {}, self.inspected, tables, self.shared_rows)

    def drop(self) -> None:
        """Forgets the groups of its functions, some at a time."""
        for function in self.functions:
            function.drop()

    @classmethod
    def from_ipc(cls, data: bytes) -> "MetricsPartial":
        """What `to_ipc` wrote. Raises: as `read_partial`"""
        _, inspected, tables, shared_rows = read_partial(_KIND, data)
        functions = tuple(from_tables(tables[at : at + TABLES]) for at in range(0, len(tables), TABLES))
        return cls(functions, inspected, shared_rows)


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
