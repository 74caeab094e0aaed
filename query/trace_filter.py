"""Part of a trace: the spans that a condition matches, and those above and below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from query.engine.evaluate import matches
from query.engine.plan import plan
from query.engine.reader import Mask, Reader
from query.errors import UnsupportedError
from query.language import ast
from query.language.ast import FieldExpr
from query.language.check import check
from query.language.parse import parse
from tables.in_memory import TableSource

ALL_LEVELS: Final = -1
_NO_ID: Final = bytes(8)


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which spans to keep. condition: None: all match.

    below: so many levels of descendants of each match; above: of its ancestors. ALL_LEVELS: however many there are
    """

    condition: FieldExpr | None
    below: int = 0
    above: int = 0


def compile_filter(query: str, below: int, above: int) -> TraceFilter:
    """In: one `{ … }`. Raises: TraceQLError; for anything else that TraceQL has UnsupportedError"""
    checked = check(parse(query))
    if not isinstance(checked.root, ast.Pipeline) or len(checked.root.stages) != 1:
        raise _unsupported(query)
    planned = plan(checked)
    (stage,) = planned.root.stages
    if not isinstance(stage, ast.Filter):
        raise _unsupported(query)
    if planned.whole_traces or planned.columns & {"trace_start_ns", "trace_duration_ns", "root_name", "root_service"}:
        raise _unsupported(query)
    return TraceFilter(stage.condition, below, above)


def _unsupported(query: str) -> UnsupportedError:
    hint = "Write one { … } about single spans, without what belongs to the whole trace"
    return UnsupportedError("Only a filter of single spans can filter a trace", query, 0, len(query), hint)


def filter_trace(table: pa.Table, wanted: TraceFilter) -> pa.Table:
    """In: a trace as `query.trace.find_trace` gives it. Out: its rows that are kept, in the same order"""
    reader = Reader(TableSource(table))
    kept: Mask = np.ones(table.num_rows, bool) if wanted.condition is None else matches(wanted.condition, reader)
    if kept.all() or not kept.any():
        return table.filter(pa.array(kept))
    ids, parents = table["span_id"].to_pylist(), table["parent_span_id"].to_pylist()
    seeds = [span_id for span_id, keep in zip(ids, kept, strict=True) if keep]
    near: set[bytes] = set()
    if wanted.above:
        near |= _within(_neighbours(ids, parents), seeds, wanted.above)
    if wanted.below:
        near |= _within(_neighbours(parents, ids), seeds, wanted.below)
    if near:
        kept = kept | np.fromiter((span_id in near for span_id in ids), bool, len(ids))
    return table.filter(pa.array(kept))


def _neighbours(of: Sequence[bytes | None], others: Sequence[bytes | None]) -> Mapping[bytes, list[bytes]]:
    """By id: several where spans share one. Spans without an id are nobody's family."""
    found: dict[bytes, list[bytes]] = {}
    for span_id, other in zip(of, others, strict=True):
        if span_id and other and _NO_ID not in (span_id, other):
            found.setdefault(span_id, []).append(other)
    return found


def _within(neighbours: Mapping[bytes, list[bytes]], seeds: Sequence[bytes | None], levels: int) -> set[bytes]:
    """What is at most so many steps away, nearest first: each is met once, so that circles end."""
    found: set[bytes] = set()
    edge = {seed for seed in seeds if seed}
    while edge and levels:
        edge = {other for span_id in edge for other in neighbours.get(span_id, ())} - found
        found |= edge
        levels -= 1
    return found
