"""Facts of merged traces. A trace that one input had whole keeps its facts; others get them anew."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tables.columns.arrays import ranges
from tables.columns.trace_facts import trace_facts
from tables.columns.whole_traces import SERVICE_NAME
from tables.merge.codes import without_unused
from tables.merge.order import RowOrder

_TEXTS = {"root_name": "name", "root_service": SERVICE_NAME}


def set_facts(columns: dict[str, Any], order: RowOrder) -> None:
    """Makes the FACT_COLUMNS of joined traces anew. In: columns in the new order of rows, all facts among them"""
    if not order.joined.any():
        return
    lengths = np.diff(order.starts)[order.joined]
    first = np.cumsum(lengths) - lengths
    rows = ranges(order.starts[:-1][order.joined], lengths)  # of the joined traces
    trace = np.repeat(np.arange(len(lengths)), lengths)
    keys, old = order.keys, order.rows[rows]
    facts = trace_facts(
        trace, first, keys.span_id[old], keys.parent_id[old], keys.kind[old], keys.start_ns[old], keys.duration_ns[old]
    )
    made = {
        "nested_left": facts.nested.left,
        "nested_right": facts.nested.right,
        "nested_parent": facts.nested.parent,
        "trace_start_ns": facts.start_ns[trace],
        "trace_duration_ns": facts.duration_ns[trace],
    }
    for name, values in made.items():
        column = columns[name]
        changed = np.array(column.to_numpy(zero_copy_only=False))
        changed[rows] = values
        columns[name] = pa.array(changed, column.type)
    root = facts.root[trace]
    for name, of in _TEXTS.items():
        column = columns.get(name, pa.nulls(len(order.rows), pa.string()))
        columns[name] = _with_roots(column, columns.get(of), rows, np.where(root < 0, -1, rows[root]))


def _with_roots(column: Any, texts: Any | None, rows: Any, root: Any) -> Any:
    """The column, where `rows` have what `texts` has in the rows `root`; null where that is -1."""
    count = len(column)
    index = np.arange(count)
    if texts is None:
        index[rows] = -1
        both = column
    else:
        index[rows] = np.where(root < 0, -1, root + count)
        both = _concatenated(column, texts)
    changed = pc.take(both, pa.array(index, mask=index < 0), boundscheck=False)
    return without_unused(changed) if pa.types.is_dictionary(changed.type) else changed


def _concatenated(left: Any, right: Any) -> Any:
    if not pa.types.is_dictionary(left.type) and not pa.types.is_dictionary(right.type):
        return pa.concat_arrays([left, right])
    encoded = [one if pa.types.is_dictionary(one.type) else one.dictionary_encode() for one in (left, right)]
    values = pa.concat_arrays([one.dictionary for one in encoded]).dictionary_encode()
    first = len(encoded[0].dictionary)
    indices = [
        pc.take(places, one.indices, boundscheck=False)
        for places, one in zip((values.indices[:first], values.indices[first:]), encoded, strict=True)
    ]
    return pa.DictionaryArray.from_arrays(pa.concat_arrays(indices), values.dictionary, safe=False)
