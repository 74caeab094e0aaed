"""What earlier calls found out about the tags of sources, which never change."""

from typing import Any, Final
from weakref import ref

import numpy as np
import pyarrow.compute as pc

from query import memory
from query.engine.distinct import entry_keys, field_values
from query.language import ast
from query.language.fields import entry_column
from query.language.text import expression
from query.scan.reader import Reader
from query.scan.source import KeyListing, Source
from tables.storage.byte_cache import ByteCache
from tables.turns import as_list

CACHE_BYTES_MAX: Final = 8 << 20
_VALUES_BYTES_MAX: Final = 64 << 10  # of one field: more values than these are found again each time
_KEY_BYTES: Final = 16  # an index, and the places of the lists around it
_ENTRY_BYTES: Final = 500  # what keeping anything at all takes


class TagCache:
    """Attribute keys and values of whole sources. One for a process; safe for threads."""

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        # Weak, so that no source lives longer for it; what is known of one that is gone is soon the oldest.
        self._cache: ByteCache[tuple[ref[Source], str], Any] = ByteCache("tags", bytes_max)

    def entry_keys(self, reader: Reader, column: str) -> frozenset[str]:
        """The attribute keys of events or links. In: the column `events` or `links`, which the source has"""
        key = (ref(reader.source), column)
        keys: frozenset[str] | None = self._cache.get(key)
        if keys is None:
            keys = _entry_keys(reader, column)
            self._cache.put(key, keys, _ENTRY_BYTES + sum(map(len, keys)))
        return keys

    def values(self, reader: Reader, field: ast.Field) -> list[tuple[str, Any]]:
        """The distinct values of all rows, as `field_values` gives them."""
        if not self._may_have(reader, field):
            return []
        key = (ref(reader.source), expression(field))
        values: list[tuple[str, Any]] | None = self._cache.get(key)
        if values is None:
            values = list(field_values(reader, field, None))
            size_bytes = _ENTRY_BYTES + sum(array.nbytes for _, array in values)
            if size_bytes <= _VALUES_BYTES_MAX:
                self._cache.put(key, values, size_bytes)
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
