"""Part of a trace: the spans that a condition matches, and those above and below them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from query.errors import UnsupportedError
from query.language import ast
from query.language.ast import FieldExpr
from query.language.check import check
from query.language.parse import parse
from query.language.plan import plan
from query.scan.arrays import Mask
from tables.columns.nested_set import KIND_SERVER

ALL_LEVELS: Final = -1
_NO_ID: Final = bytes(8)


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which spans to keep. condition: None: all match.

    below: so many levels of descendants of each match; above: of its ancestors. ALL_LEVELS: however many there are
    columns: what the condition reads
    """

    condition: FieldExpr | None
    below: int = 0
    above: int = 0
    columns: frozenset[str] = frozenset()

    @property
    def has_family(self) -> bool:
        """Whether it keeps spans around those that match."""
        return bool(self.below or self.above)


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
    return TraceFilter(stage.condition, below, above, frozenset(planned.columns))


def _unsupported(query: str) -> UnsupportedError:
    hint = "Write one { … } about single spans, without what belongs to the whole trace"
    return UnsupportedError("Only a filter of single spans can filter a trace", query, 0, len(query), hint)


def kept_rows(table: pa.Table, kept: Mask, wanted: TraceFilter) -> Mask:
    """Those that match, with those around them. table: span_id, parent_span_id and kind of all rows of a trace, by
    start; kept: which match; it is changed
    """
    if not wanted.has_family or kept.all() or not kept.any():
        return kept
    parents = _parents(table)
    seeds = np.flatnonzero(kept).tolist()
    near: set[int] = set()
    if wanted.above:
        near |= _within({row: [parent] for row, parent in parents.items()}, seeds, wanted.above)
    if wanted.below:
        children: dict[int, list[int]] = {}
        for row, parent in parents.items():
            children.setdefault(parent, []).append(row)
        near |= _within(children, seeds, wanted.below)
    if near:
        kept[list(near)] = True
    return kept


def _parents(table: pa.Table) -> dict[int, int]:
    """Row → row of its parent. Where several spans share an id it is the first server, or else the first of them, as
    in structural queries. Spans without an id are nobody's family.
    """
    owners: dict[bytes, int] = {}
    kinds = table["kind"].to_pylist()
    for row, span_id in enumerate(table["span_id"].to_pylist()):
        known = owners.setdefault(span_id, row)
        if kinds[row] == KIND_SERVER and kinds[known] != KIND_SERVER:
            owners[span_id] = row
    found = ((row, owners.get(span_id)) for row, span_id in enumerate(table["parent_span_id"].to_pylist()) if span_id)
    no_id = owners.get(_NO_ID)
    return {row: parent for row, parent in found if parent is not None and parent != no_id}


def _within(neighbours: Mapping[int, list[int]], seeds: Sequence[int], levels: int) -> set[int]:
    """What is at most so many steps away, nearest first: each is met once, so that circles end."""
    found: set[int] = set()
    edge = set(seeds)
    while edge and levels:
        edge = {other for row in edge for other in neighbours.get(row, ())} - found
        found |= edge
        levels -= 1
    return found
