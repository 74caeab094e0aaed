"""Spanset expressions and pipelines over one source: rows, and which spanset each belongs to."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never

import numpy as np
import numpy.typing as npt

from query.engine import arithmetic
from query.engine.aggregates import compare_scalars
from query.engine.arithmetic import Part
from query.engine.expressions import matches
from query.engine.groups import NIL, Groups, display_value, group
from query.engine.structure import Side, related
from query.language import ast, text
from query.language.ast import Type
from query.language.walk import left_chain
from query.results import AttributeValue
from query.scan.arrays import Mask, Rows
from query.scan.reader import Reader
from query.scan.traces import both
from tables.columns.sorted_sets import intersection, is_among, union


@dataclass(frozen=True, slots=True, eq=False)
class GroupAttribute:
    """Of each spanset the value of its group. codes: per spanset, of `groups`"""

    label: str
    codes: npt.NDArray[np.int64]
    groups: Groups

    @property
    def nbytes(self) -> int:
        return int(
            self.codes.nbytes + self.groups.codes.nbytes + sum(values.nbytes for _, values in self.groups.chunks)
        )

    def value(self, number: int) -> AttributeValue:
        label = self.groups.label(int(self.codes[number]))
        return NIL if label is None else label

    def take_sets(self, sets: Rows) -> "GroupAttribute":
        return replace(self, codes=self.codes[sets])


@dataclass(frozen=True, slots=True, eq=False)
class NumberAttribute:
    """An aggregate of each spanset, as it appears among the spanset's attributes."""

    label: str
    parts: arithmetic.Value
    type: Type

    @property
    def nbytes(self) -> int:
        return sum(int(part.values.nbytes + part.valid.nbytes) for part in self.parts)

    def value(self, number: int) -> AttributeValue:
        found = [part.values[number].item() for part in self.parts if part.valid[number]]
        return display_value(found[0], self.type) if found else NIL

    def take_sets(self, sets: Rows) -> "NumberAttribute":
        return replace(self, parts=tuple(Part(p.type, p.values[sets], p.valid[sets]) for p in self.parts))


Attribute = GroupAttribute | NumberAttribute


@dataclass(frozen=True, slots=True, eq=False)
class Spansets:
    """A partition of rows, each spanset within one trace.

    rows: ascending; owner: the spanset of each row; traces: the trace of each spanset, ascending
    """

    rows: Rows
    owner: Rows
    traces: Rows
    attributes: tuple[Attribute, ...] = ()

    @property
    def nbytes(self) -> int:
        return int(self.rows.nbytes + self.owner.nbytes + self.traces.nbytes) + sum(a.nbytes for a in self.attributes)

    @classmethod
    def from_mask(cls, mask: Mask, reader: Reader) -> "Spansets":
        """One spanset for each trace that has a row in the mask."""
        return cls.from_rows(np.flatnonzero(mask), reader)

    @classmethod
    def from_rows(cls, rows: Rows, reader: Reader) -> "Spansets":
        """One spanset for each trace that has one of the rows. In: rows, ascending"""
        traces, owner = np.unique(_trace_of(rows, reader), return_inverse=True)
        return cls(rows, owner, traces)

    def owners_of(self, rows: Rows) -> Rows:
        """The spansets of some of the rows."""
        return self.owner[np.searchsorted(self.rows, rows)]

    def with_rows(self, keep: Mask) -> "Spansets":
        """These rows only, and the spansets that have any of them. In: a truth value for each of `self.rows`"""
        sets, owner = np.unique(self.owner[keep], return_inverse=True)
        attributes = tuple(attribute.take_sets(sets) for attribute in self.attributes)
        return Spansets(self.rows[keep], owner, self.traces[sets], attributes)

    def with_sets(self, keep: Mask) -> "Spansets":
        """These spansets only. In: a truth value for each spanset"""
        return self.with_rows(keep[self.owner])

    def split(self, groups: Groups, label: str) -> "Spansets":
        """Each spanset into one per group, in the order of their first rows."""
        codes = groups.codes[self.rows]
        _, first, inverse = np.unique(self.owner * groups.size + codes, return_index=True, return_inverse=True)
        order = np.argsort(first)
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        old = self.owner[first[order]]
        attributes = [attribute.take_sets(old) for attribute in self.attributes if attribute.label != label]
        new = GroupAttribute(label, codes[first[order]], groups)
        return Spansets(self.rows, place[inverse], self.traces[old], (*attributes, new))

    def with_attributes(self, new: Sequence[Attribute]) -> "Spansets":
        """New ones in the place of old ones of the same name."""
        labels = {attribute.label for attribute in new}
        kept = [attribute for attribute in self.attributes if attribute.label not in labels]
        return replace(self, attributes=(*kept, *new))


State = Mask | Spansets  # a mask: one spanset per trace


def evaluate(pipeline: ast.Pipeline, reader: Reader) -> State:
    """The spansets of a source. A mask where there is no more than one per trace, and nothing said about it."""
    return _pipeline(pipeline, reader, None)


def matching_rows(pipeline: ast.Pipeline, reader: Reader, among: Mask | None) -> Mask:
    """Which rows of a source match. In: among: the rows that count; None: all"""
    state = evaluate(pipeline, reader)
    rows = _mask(state, reader)
    return rows if among is None else rows & among


def _pipeline(pipeline: ast.Pipeline, reader: Reader, scope: State | None) -> State:
    state = scope
    for stage in pipeline.stages:
        if _is_empty(state):
            break
        state = _stage(stage, reader, state)
    return np.ones(reader.rows, bool) if state is None else state


def _stage(stage: ast.Stage, reader: Reader, state: State | None) -> State | None:
    match stage:
        case ast.Select():
            return state
        case ast.Pipeline():
            return _pipeline(stage, reader, state)
        case ast.GroupBy():
            sets = _sets(state, reader)
            return sets.split(group(stage.by, reader), f"by({text.expression(stage.by)})")
        case ast.Coalesce():
            return _mask(state, reader)
        case ast.ScalarFilter():
            return _scalar_filter(stage, reader, _sets(state, reader))
        case ast.Filter() | ast.SpansetOp():
            found = spanset(stage, reader, state)
            return state.with_rows(found[state.rows]) if isinstance(state, Spansets) else found
    assert_never(stage)


def spanset(node: ast.SpansetExpr, reader: Reader, scope: State | None) -> Mask:
    """Rows of a spanset expression; only rows of the scope, each set of which is looked at by itself."""
    match node:
        case ast.Filter():
            found = np.ones(reader.rows, bool) if node.condition is None else matches(node.condition, reader)
            return found if scope is None else found & _mask(scope, reader)
        case ast.Pipeline():
            return _mask(_pipeline(node, reader, scope), reader)
        case ast.SpansetOp():
            first, chain = left_chain(node, ast.SpansetOp)
            found = spanset(first, reader, scope)
            for one in chain:
                found = _joined(one, found, reader, scope)
            return found
    assert_never(node)


def _joined(node: ast.SpansetOp, left: Mask, reader: Reader, scope: State | None) -> Mask:
    """Rows of `left op right`. In: left: what the left side has found"""
    if node.op == "||":
        return left | spanset(node.right, reader, scope)
    if not left.any() and not node.op.startswith("!"):
        return left
    right = spanset(node.right, reader, scope)
    if node.op == "&&" and not isinstance(scope, Spansets):
        return both(left, right, reader.traces().offsets)
    sides = [Side(rows, _owners(rows, reader, scope)) for rows in map(np.flatnonzero, (left, right))]
    result = np.zeros(reader.rows, bool)
    result[_together(*sides) if node.op == "&&" else related(node.op, sides[0], sides[1], reader)] = True
    return result


def _together(left: Side, right: Side) -> Rows:
    """Rows of either side in the spansets that have both."""
    sets = intersection(left.owner, right.owner)
    return union(left.rows[is_among(left.owner, sets)], right.rows[is_among(right.owner, sets)])


def _owners(rows: Rows, reader: Reader, scope: State | None) -> Rows:
    return scope.owners_of(rows) if isinstance(scope, Spansets) else _trace_of(rows, reader)


def _trace_of(rows: Rows, reader: Reader) -> Rows:
    found: Rows = np.searchsorted(reader.traces().offsets, rows, side="right") - 1
    return found


def _sets(state: State | None, reader: Reader) -> Spansets:
    if isinstance(state, Spansets):
        return state
    return Spansets.from_mask(np.ones(reader.rows, bool) if state is None else state, reader)


def _mask(state: State | None, reader: Reader) -> Mask:
    if state is None:
        return np.ones(reader.rows, bool)
    if not isinstance(state, Spansets):
        return state
    mask = np.zeros(reader.rows, bool)
    mask[state.rows] = True
    return mask


def _is_empty(state: State | None) -> bool:
    if state is None:
        return False
    return not len(state.rows) if isinstance(state, Spansets) else not state.any()


def _scalar_filter(stage: ast.ScalarFilter, reader: Reader, sets: Spansets) -> Spansets:
    keep, aggregates = compare_scalars(stage, reader, sets.rows, sets.owner, len(sets.traces))
    kept = sets.with_attributes([NumberAttribute(*found) for found in aggregates])
    return kept.with_sets(keep)
