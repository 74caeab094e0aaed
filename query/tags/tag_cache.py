"""What earlier calls found out about the tags of sources, which never change."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple
from weakref import ref

import numpy as np
import pyarrow.compute as pc

from query import memory
from query.engine.distinct import CHILD_COUNT, entry_keys, field_values
from query.language import ast
from query.language.fields import entry_column, field_columns
from query.scan.reader import Reader
from query.scan.source import KeyListing, Source
from tables.columns.whole_traces import FACT_COLUMNS
from tables.schema import parse_attribute_column
from tables.storage.byte_cache import ByteCache
from tables.turns import as_list

CACHE_BYTES_MAX: Final = 8 << 20
_VALUES_BYTES_MAX: Final = 64 << 10  # of one field: more values than these are found again each time
_NAMED_COLUMNS_MAX: Final = 2000  # the names of wider sources are found again each time
_KEY_BYTES: Final = 16  # an index, and the places of the lists around it
_NAME_BYTES: Final = 100  # a Python string, and its place in a set
_ENTRY_BYTES: Final = 500  # what keeping anything at all takes


class FieldValues(NamedTuple):
    """Distinct values of one type, as a pyarrow Array. size_bytes: its `nbytes`, which takes 5 µs to ask for"""

    type: str
    values: Any
    size_bytes: int


class TagCache:
    """Attribute names, keys and values of whole sources. One for a process; safe for threads."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        # Weak, so that no source lives longer for it; what is known of one that is gone is soon the oldest.
        # Names are kept by the columns, which many sources have in common.
        self._cache: ByteCache[tuple[ref[Source], str] | frozenset[str], Any] = ByteCache("tags", bytes_max)

    def names(self, columns: frozenset[str]) -> Mapping[str, frozenset[str]] | None:
        """The keys of the attribute columns by scope; None where there are too many columns to keep their names."""
        if len(columns) > _NAMED_COLUMNS_MAX:
            return None
        names: dict[str, frozenset[str]] | None = self._cache.get(columns)
        if names is None:
            keys: dict[str, set[str]] = {}
            for column in columns:
                attribute = parse_attribute_column(column)
                if attribute is not None:
                    keys.setdefault(attribute.scope, set()).add(attribute.key)
            names = {scope: frozenset(of_scope) for scope, of_scope in keys.items()}
            size_bytes = _ENTRY_BYTES + sum(map(len, columns)) + _NAME_BYTES * len(columns)
            self._cache.put(columns, names, size_bytes)
        return names

    def entry_keys(self, reader: Reader, column: str) -> frozenset[str]:
        """The attribute keys of events or links. In: the column `events` or `links`, which the source has"""
        key = (ref(reader.source), column)
        keys: frozenset[str] | None = self._cache.get(key)
        if keys is None:
            keys = _entry_keys(reader, column)
            self._cache.put(key, keys, _ENTRY_BYTES + sum(map(len, keys)))
        return keys

    def values(self, reader: Reader, field: ast.Field, name: str) -> list[FieldValues]:
        """The distinct values of all rows, as `field_values` gives them. name: the field as `expression` writes it,
        once for all sources
        """
        key = (ref(reader.source), name)
        values: list[FieldValues] | None = self._cache.get(key)
        if values is None:
            if not self._may_have(reader, field):
                return []
            values = self._found(reader, field)
            size_bytes = _ENTRY_BYTES + sum(each.size_bytes for each in values)
            if size_bytes <= _VALUES_BYTES_MAX:
                self._cache.put(key, values, size_bytes)
        return values

    @staticmethod
    def _found(reader: Reader, field: ast.Field) -> list[FieldValues]:
        """By rows in any order, but for what only whole traces tell."""
        unsorted = None
        if field != CHILD_COUNT and not any(column in FACT_COLUMNS for column, _ in field_columns(field)):
            unsorted = reader.before_sorting()
        found = field_values(reader if unsorted is None else unsorted, field, None)
        values = [FieldValues(type_, array, array.nbytes) for type_, array in found]
        if unsorted is not None:
            reader.done_before_sorting(unsorted)
        return values

    def _may_have(self, reader: Reader, field: ast.Field) -> bool:
        """The columns of events and links are large: they are not read for an attribute that they do not have."""
        column = entry_column(field)
        if column is None or not reader.has(column):
            return column is None
        return isinstance(field, ast.Intrinsic) or field.key in self.entry_keys(reader, column)


def _entry_keys(reader: Reader, column: str) -> frozenset[str]:
    source = reader.source
    if not isinstance(source, KeyListing):
        # By rows, so that the source does not push useful columns out of its cache for this large one.
        return entry_keys(reader.read_rows([column], np.arange(reader.rows))[column])
    count = source.entry_count(column)
    with memory.current().scratch(count * _KEY_BYTES, f"the keys of {column} of {reader.rows} spans"):
        keys = source.entry_keys(column)
        reader.bytes_read += keys.nbytes
        reader.read_columns[column] = None
        return frozenset(as_list(pc.unique(keys).drop_null()))
