"""Partials of metrics functions as Arrow tables: the form in which processes exchange them."""

import json
from collections.abc import Sequence
from typing import Any, Final

import pyarrow as pa

from query.metrics.partials import Candidate, Key, Partial
from query.metrics.quantile_sketch import QuantileSketch
from query.scan.arrays import to_numpy
from tables.columns.arrays import one_array
from tables.turns import pieces

TABLES: Final = 4  # of each function
_HEADER: Final = b"stretto.metrics"
_KEYS_BEGIN: Final = '{"keys": ['
_DECODE: Final = json.JSONDecoder().raw_decode


def to_tables(partial: Partial) -> list[pa.Table]:
    """Cells (a row per group and interval, a column per kind), candidates, buckets and single values of sketches."""
    intervals = next(iter(partial.cells.values())).shape[1]
    header = _header_text(partial.keys, {"intervals": intervals, "sketch": partial.sketch is not None})
    cells = pa.table({kind: pa.array(array.reshape(-1)) for kind, array in partial.cells.items()})
    rows = [
        (json.dumps(key), interval, one.trace_id, one.timestamp_ns, one.value)
        for (key, interval), one in partial.candidates.items()
    ]
    keys, numbers, ids, times, values = zip(*rows, strict=True) if rows else ((), (), (), (), ())
    candidates = {
        "key": pa.array(keys, pa.string()),
        "interval": pa.array(numbers, pa.int64()),
        "trace_id": pa.array(ids, pa.binary()),
        "timestamp_ns": pa.array(times, pa.int64()),
        "value": pa.array(values, pa.float64()),
    }
    sketch = partial.sketch
    buckets = {} if sketch is None else {"code": pa.array(sketch.codes), "count": pa.array(sketch.counts)}
    singles = {} if sketch is None else {"cell": pa.array(sketch.exact_cells), "value": pa.array(sketch.exact_values)}
    head = cells.replace_schema_metadata({_HEADER: header})
    return [head, pa.table(candidates), pa.table(buckets), pa.table(singles)]


def from_tables(tables: Sequence[pa.Table]) -> Partial:
    """The inverse of `to_tables`: partials from Arrow tables."""
    cells, candidates, buckets, singles = tables
    keys, header = _read_header(cells.schema.metadata[_HEADER].decode())
    shape = (len(keys), header["intervals"])
    partial = Partial(keys, {kind: _numbers(cells, kind).reshape(shape) for kind in cells.column_names})
    for row in candidates.to_pylist():
        cell = (_key(json.loads(row["key"])), row["interval"])
        partial.candidates[cell] = Candidate(row["trace_id"], row["timestamp_ns"], row["value"])
    if header["sketch"]:
        values = (_numbers(buckets, "code"), _numbers(buckets, "count"))
        partial.sketch = QuantileSketch(*values, _numbers(singles, "cell"), _numbers(singles, "value"))
    return partial


def _header_text(keys: Sequence[Key], rest: dict[str, Any]) -> str:
    """As JSON. The keys some at a time: a hundred thousand in one call hold up all threads."""
    some = (json.dumps(part)[1:-1] for part in pieces(keys))
    return f"{_KEYS_BEGIN}{', '.join(some)}], {json.dumps(rest)[1:]}"


def _read_header(text: str) -> tuple[list[Key], dict[str, Any]]:
    """What `_header_text` wrote, key by key, for the same reason."""
    keys: list[Key] = []
    at = len(_KEYS_BEGIN)
    while text[at] != "]":
        parts, at = _DECODE(text, at)
        keys.append(_key(parts))
        if text[at] == ",":
            at += len(", ")
    rest: dict[str, Any] = json.loads("{" + text[at + len("], ") :])
    return keys, rest


def _key(parts: Sequence[Any]) -> Key:
    return tuple(None if part is None else (part[0], part[1]) for part in parts)


def _numbers(table: pa.Table, name: str) -> Any:
    return to_numpy(one_array(table[name]))
