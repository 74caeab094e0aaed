"""Events and links of spans: lists flattened once, compared entry by entry, and told per row.

What Tempo does with several entries in one span holds here, too: one entry that satisfies a comparison is enough, and
two conditions on events may be satisfied by two different events.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from opentelemetry.proto.common.v1.common_pb2 import ArrayValue

from query.engine.compare import TYPE_WORDS, compare_array, hexadecimal, id_bytes
from query.engine.reader import Mask, Reader, Rows, entry_column, to_numpy
from query.language import ast
from query.language.ast import Literal, Type
from tables.lists import fixed_width

_CHILDREN: Final = {"string": "string_value", "int": "int_value", "double": "double_value", "bool": "bool_value"}
_ID_BYTES: Final = {"link:traceID": 16, "link:spanID": 8}


class EntryValues(NamedTuple):
    """A field of one type: for each entry the value (null: of another type) and its row, ascending."""

    word: str
    values: Any
    rows: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The entries of a list column of `tables.schema`, one after the other.

    rows: the row of each entry; starts: start_ns of each row; keys: code of each attribute's key
    """

    rows: Rows
    structs: Any
    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int32]
    key_code: dict[str, int]
    pairs: Any
    pair_rows: Rows

    @classmethod
    def of(cls, lists: Any, starts: npt.NDArray[np.int64]) -> "Entries":
        rows = to_numpy(pc.list_parent_indices(lists)).astype(np.int64)
        structs = pc.list_flatten(lists)
        attributes = pc.struct_field(structs, "attributes")
        pairs = pc.list_flatten(attributes)
        encoded = pc.struct_field(pairs, "key").dictionary_encode()
        codes = {key: code for code, key in enumerate(encoded.dictionary.to_pylist())}
        owners = to_numpy(pc.list_parent_indices(attributes))
        return cls(rows, structs, starts, to_numpy(encoded.indices.fill_null(-1)), codes, pairs, rows[owners])

    @property
    def nbytes(self) -> int:
        """Besides the column that it is made of, most of which it shares."""
        return int(self.rows.nbytes + self.keys.nbytes + self.pair_rows.nbytes + 60 * len(self.key_code))

    def values(self, field: ast.Field) -> list[EntryValues]:
        """Everything that the field stands for, by type."""
        if isinstance(field, ast.Attribute):
            return self._attribute(field.key)
        if field.name == "event:timeSinceStart":
            since = to_numpy(pc.struct_field(self.structs, "time_ns")) - self.starts[self.rows]
            return [EntryValues("int", pa.array(since), self.rows)]
        if field.name == "event:name":
            return [EntryValues("string", pc.struct_field(self.structs, "name"), self.rows)]
        child = "trace_id" if field.name == "link:traceID" else "span_id"
        ids, _ = fixed_width(pc.struct_field(self.structs, child), _ID_BYTES[field.name])
        return [EntryValues("string", hexadecimal(ids), self.rows)]

    def holding(self, field: ast.Field) -> Rows:
        """Rows in which an entry has the field, whatever its type; a row may come several times."""
        if isinstance(field, ast.Intrinsic):
            return self.rows
        found: Rows = self.pair_rows[self.keys == self.key_code.get(field.key, -2)]
        return found

    def _attribute(self, key: str) -> list[EntryValues]:
        at = np.flatnonzero(self.keys == self.key_code.get(key, -2))
        if not len(at):
            return []
        pairs, rows = self.pairs.take(pa.array(at)), self.pair_rows[at]
        found = [EntryValues(word, pc.struct_field(pairs, child), rows) for word, child in _CHILDREN.items()]
        found += _arrays(pc.struct_field(pairs, "array_value"), rows)
        return [part for part in found if part.values.null_count < len(part.values)]


def reader_entries(reader: Reader, column: str) -> Entries | None:
    """The entries of a whole source, flattened once; None where no row has any."""

    def make() -> Entries | None:
        lists = reader.column(column)
        return None if lists is None else Entries.of(lists, reader.numbers("start_ns"))

    found: Entries | None = reader.once(f"entries of {column}", make)
    return found


def compare_entries(reader: Reader, field: ast.Field, op: str, literal: Literal) -> Mask:
    """Rows with an entry for which `field op literal` holds."""
    result = np.zeros(reader.rows, bool)
    entries = reader_entries(reader, _column(field))
    if entries is None:
        return ~result if literal.type is Type.NIL and op == "=" else result
    if literal.type is Type.NIL:
        result[entries.holding(field)] = True
        return result if op == "!=" else ~result
    for rows, hits in satisfying(entries.values(field), field, op, literal):
        result[rows[hits]] = True
    return result


def satisfying(
    values: Sequence[EntryValues], field: ast.Field, op: str, literal: Literal
) -> list[tuple[Rows, npt.NDArray[np.bool_]]]:
    """For each type that the constant compares with: rows of the entries, and which entries satisfy the comparison.

    Intrinsic numbers compare with ints and floats.
    """
    literal = normal_id(field, op, literal)
    words: Sequence[str] = TYPE_WORDS.get(literal.type, ())
    if isinstance(field, ast.Intrinsic) and literal.type in ast.NUMERIC:
        words = ("int",)
    return [(part.rows, compare_array(part.values, op, literal)) for part in values if part.word in words]


def normal_id(field: ast.Field, op: str, literal: Literal) -> Literal:
    """A hexadecimal id as the links have it: lower-case, with noughts at the left."""
    if isinstance(field, ast.Intrinsic) and field.name in _ID_BYTES and op in {"=", "!="}:
        raw = id_bytes(str(literal.value), _ID_BYTES[field.name])
        return literal if raw is None else replace(literal, value=raw.hex())
    return literal


def _column(field: ast.Field) -> str:
    column = entry_column(field)
    assert column is not None
    return column


def _arrays(encoded: Any, rows: Rows) -> list[EntryValues]:
    """Serialized ArrayValues as lists, each distinct one decoded once; of mixed types none."""
    if encoded.null_count == len(encoded):
        return []
    codes = encoded.dictionary_encode()
    decoded = [_decode(raw) for raw in codes.dictionary.to_pylist()]
    found = []
    for word, (type_, python) in _ARRAY_TYPES.items():
        fitting = [items if items and all(type(item) is python for item in items) else None for items in decoded]
        if any(fitting):
            found.append(EntryValues(word, pa.array(fitting, pa.list_(type_)).take(codes.indices), rows))
    return found


_ARRAY_TYPES: Final = {
    "string[]": (pa.string(), str),
    "int[]": (pa.int64(), int),
    "double[]": (pa.float64(), float),
    "bool[]": (pa.bool_(), bool),
}


def _decode(raw: bytes) -> list[Any]:
    """The array's elements; None for one that is no string, number or truth value."""
    values = ArrayValue.FromString(raw).values
    return [getattr(value, field) if (field := value.WhichOneof("value")) else None for value in values]
