"""Events and links of spans: lists flattened once, and compared entry by entry.

One entry that satisfies a condition is enough. Conditions that && joins are about one and the same entry: `evaluate.py`
asks for them entry by entry.
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
from query.language import ast
from query.language.ast import Literal, Type
from query.language.fields import entry_column
from query.scan.arrays import Mask, Rows, to_numpy
from query.scan.reader import Reader
from tables.columns.arrays import fixed_width
from tables.columns.trace_facts import elapsed_ns
from tables.turns import as_list

_CHILDREN: Final = {"string": "string_value", "int": "int_value", "double": "double_value", "bool": "bool_value"}
_ID_BYTES: Final = {"link:traceID": 16, "link:spanID": 8}


class EntryValues(NamedTuple):
    """A field of one type: values (null: of another type), and the row and the entry of each, ascending."""

    word: str
    values: Any
    rows: Rows
    entries: Rows


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """The entries of a list column of `tables.schema`, one after the other.

    rows: the row of each entry; starts: start_ns of each row; keys: code of each attribute's key
    pairs: the attributes of all entries; pair_entries: the entry of each
    """

    rows: Rows
    structs: Any
    starts: npt.NDArray[np.int64]
    keys: npt.NDArray[np.int32]
    key_code: dict[str, int]
    pairs: Any
    pair_entries: Rows

    @classmethod
    def from_lists(cls, lists: Any, starts: npt.NDArray[np.int64]) -> "Entries":
        rows = to_numpy(pc.list_parent_indices(lists)).astype(np.int64)
        structs = pc.list_flatten(lists)
        attributes = pc.struct_field(structs, "attributes")
        pairs = pc.list_flatten(attributes)
        encoded = pc.struct_field(pairs, "key").dictionary_encode()
        codes = {key: code for code, key in enumerate(as_list(encoded.dictionary))}
        owners = to_numpy(pc.list_parent_indices(attributes)).astype(np.int64)
        return cls(rows, structs, starts, to_numpy(encoded.indices.fill_null(-1)), codes, pairs, owners)

    @property
    def nbytes(self) -> int:
        """Besides the column that it is made of, most of which it shares."""
        return int(self.rows.nbytes + self.keys.nbytes + self.pair_entries.nbytes + 60 * len(self.key_code))

    def values(self, field: ast.Field) -> list[EntryValues]:
        """Everything that the field stands for, by type."""
        if isinstance(field, ast.Attribute):
            return self._attribute(field.key)
        every = np.arange(len(self.rows))
        if field.name == "event:timeSinceStart":
            starts = self.starts[self.rows]
            since = elapsed_ns(starts, to_numpy(pc.struct_field(self.structs, "time_ns")) - starts)
            return [EntryValues("int", pa.array(since), self.rows, every)]
        if field.name == "event:name":
            return [EntryValues("string", pc.struct_field(self.structs, "name"), self.rows, every)]
        child = "trace_id" if field.name == "link:traceID" else "span_id"
        ids, _ = fixed_width(pc.struct_field(self.structs, child), _ID_BYTES[field.name])
        return [EntryValues("string", hexadecimal(ids), self.rows, every)]

    def holding(self, field: ast.Field) -> Rows:
        """The entries that have the field, whatever its type; an entry may come several times."""
        if isinstance(field, ast.Intrinsic):
            return np.arange(len(self.rows))
        found: Rows = self.pair_entries[self.keys == self.key_code.get(field.key, -2)]
        return found

    def compare(self, field: ast.Field, op: str, literal: Literal) -> Mask:
        """Entries for which `field op literal` holds."""
        result = np.zeros(len(self.rows), bool)
        if literal.type is Type.NIL:
            result[self.holding(field)] = True
            return result if op == "!=" else ~result
        for found, hits in satisfying(self.values(field), field, op, literal):
            result[found.entries[hits]] = True
        return result

    def _attribute(self, key: str) -> list[EntryValues]:
        at = np.flatnonzero(self.keys == self.key_code.get(key, -2))
        if not len(at):
            return []
        pairs, entries = self.pairs.take(pa.array(at)), self.pair_entries[at]
        rows = self.rows[entries]
        found = [EntryValues(word, pc.struct_field(pairs, child), rows, entries) for word, child in _CHILDREN.items()]
        arrays = _arrays(pc.struct_field(pairs, "array_value"))
        found += [EntryValues(word, values, rows, entries) for word, values in arrays]
        return [part for part in found if part.values.null_count < len(part.values)]


def reader_entries(reader: Reader, column: str) -> Entries | None:
    """The entries of a whole source, flattened once; None where no row has any."""

    def make() -> Entries | None:
        lists = reader.column(column)
        return None if lists is None else Entries.from_lists(lists, reader.numbers("start_ns"))

    found: Entries | None = reader.derive(f"entries of {column}", make)
    return found


def compare_entries(reader: Reader, field: ast.Field, op: str, literal: Literal) -> Mask:
    """Rows with an entry for which `field op literal` holds. `= nil`: rows of which no entry has the field.

    The name of an event is never nil: spans without events have the name "", and no other comparison finds them.
    """
    result = np.zeros(reader.rows, bool)
    entries = reader_entries(reader, _column(field))
    if is_absence(field, op, literal):
        if entries is not None:
            result[entries.rows[entries.holding(field)]] = True
        result = ~result
        if entries is None or literal.type is Type.NIL:
            return result
    if entries is not None:
        result[entries.rows[entries.compare(field, op, literal)]] = True
    return result


def is_absence(field: ast.Field, op: str, literal: Literal) -> bool:
    """Whether the comparison holds for a span without events, or links."""
    if literal.type is Type.NIL:
        return op == "="
    return op == "=" and literal.value == "" and field == ast.Intrinsic("event:name")


def satisfying(
    values: Sequence[EntryValues], field: ast.Field, op: str, literal: Literal
) -> list[tuple[EntryValues, npt.NDArray[np.bool_]]]:
    """For each type that the constant compares with: the values, and which of them satisfy the comparison.

    Intrinsic numbers compare with ints and floats.
    """
    literal = normal_id(field, op, literal)
    words: Sequence[str] = TYPE_WORDS.get(literal.type, ())
    if isinstance(field, ast.Intrinsic) and literal.type in ast.NUMERIC:
        words = ("int",)
    return [(part, compare_array(part.values, op, literal)) for part in values if part.word in words]


def normal_id(field: ast.Field, op: str, literal: Literal) -> Literal:
    """A hexadecimal id as the links have it: lower-case, with zeros at the left."""
    if isinstance(field, ast.Intrinsic) and field.name in _ID_BYTES and op in {"=", "!="}:
        raw = id_bytes(str(literal.value), _ID_BYTES[field.name])
        return literal if raw is None else replace(literal, value=raw.hex())
    return literal


def _column(field: ast.Field) -> str:
    column = entry_column(field)
    assert column is not None
    return column


def _arrays(encoded: Any) -> list[tuple[str, Any]]:
    """Serialized ArrayValues as lists by type, each distinct one decoded once; of mixed types none."""
    if encoded.null_count == len(encoded):
        return []
    codes = encoded.dictionary_encode()
    decoded = [_decode(raw) for raw in as_list(codes.dictionary)]
    found = []
    for word, (type_, python) in _ARRAY_TYPES.items():
        fitting = [items if items and all(type(item) is python for item in items) else None for items in decoded]
        if any(fitting):
            found.append((word, pa.array(fitting, pa.list_(type_)).take(codes.indices)))
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
