"""What is merged: Parquet files of segments and blocks, read once and whole."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns import overflow
from tables.columns.arrays import index_array, narrow_dtype, one_array, valid_rows, value_slots
from tables.columns.trace_index import Ids, trace_index
from tables.errors import DamagedError
from tables.parquet.decode_errors import check_codes, check_type, reading
from tables.parquet.footer_guard import read_guarded
from tables.parquet.layout import column_type
from tables.parquet.read_whole import read_whole
from tables.schema import FIXED, parse_attribute_column
from tables.storage.checksum import Tail
from tables.storage.object_store import RangeFile

Columns = dict[str, Any]

_PLAIN_BYTES_MAX: Final = 16 << 20


class Sample(NamedTuple):
    """ids: trace ids of some rows, ascending, the first and the last row's among them; bytes: of the file's pages,
    decompressed; flat: the names of the columns with one value a row
    """

    ids: Ids
    bytes: int
    flat: frozenset[str]


class MergeInput(Protocol):
    """A file whose rows are sorted by trace id."""

    @property
    def rows(self) -> int:
        """How many there are."""
        ...

    @property
    def size_bytes(self) -> int:
        """Of the file."""
        ...

    def sample(self, step: int) -> Sample:
        """The trace id of every `step`-th row. Raises: StorageError"""
        ...

    def columns(self) -> Columns:
        """All columns as the file has them, the overflow among them. Raises: StorageError"""
        ...


@dataclass(frozen=True, slots=True)
class ParquetInput:
    """A segment, or a file of a block.

    tail: the expected end of the file; None: unknown
    is_own: as of `tables.parquet.open_file.open_parquet`
    Any read raises DamagedError if the bytes differ from those that were written
    """

    name: str
    rows: int
    open_file: Callable[[], RangeFile]
    tail: Tail | None = None
    is_own: bool = False

    @property
    def size_bytes(self) -> int:
        return self.open_file().size()

    def sample(self, step: int) -> Sample:
        """Reads the footer and the trace ids only."""
        with reading(self.name, "cannot be read"):
            metadata = self._metadata(self.open_file())
            group = metadata.row_group(0)
            file = pq.ParquetFile(
                self.open_file(), metadata=metadata, pre_buffer=False, page_checksum_verification=True
            )
            ids = one_array(file.read(["trace_id"], use_threads=False)["trace_id"])
        paths = (group.column(number).path_in_schema for number in range(metadata.num_columns))
        flat = frozenset(path for path in paths if ".list." not in path)
        return Sample(sampled(ids, step), int(group.total_byte_size), flat)

    def columns(self) -> Columns:
        """Texts that the file has in a dictionary come as DictionaryArray, with indices as narrow as they can be."""
        with reading(self.name, "cannot be read"):
            data = pa.py_buffer(self.open_file().read())
            if self.tail is not None and (problem := self.tail.problem(data.slice(data.size - self.tail.size_bytes))):
                raise DamagedError(self.name, problem)
            metadata = self._metadata(pa.BufferReader(data))
            # Few rows take little as plain texts, even if each had the longest text: then this is the cheapest way.
            few = self.rows * metadata.row_group(0).total_byte_size <= _PLAIN_BYTES_MAX
            found = read_whole(data, metadata, () if few else _dictionaries(metadata))
        for array in found.values():
            if len(array) != self.rows:
                raise DamagedError(self.name, f"has {len(array)} rows of {self.rows}")
        if not self._is_known:
            self._check_columns(found)
        check_codes(self.name, found.values())
        repeating = _repeating_numbers(metadata)
        return {
            name: narrow(_as_codes(array) if name in repeating and not pa.types.is_dictionary(array.type) else array)
            for name, array in found.items()
            if array.null_count < self.rows
        }

    @property
    def _is_known(self) -> bool:
        """Whether a checksum covers its footer."""
        return self.is_own or self.tail is not None

    def _check_columns(self, found: Columns) -> None:
        if missing := sorted(set(FIXED.names).difference(found)):
            raise DamagedError(self.name, f"has no column {', '.join(missing)}")
        for column, array in found.items():
            if (wanted := column_type(column)) is not None:
                check_type(self.name, column, array, wanted)

    def _metadata(self, file: Any) -> pq.FileMetaData:
        metadata = pq.read_metadata(file) if self._is_known else read_guarded(self.name, file)
        if metadata.num_rows != self.rows:
            raise DamagedError(self.name, f"has {metadata.num_rows} rows of {self.rows}")
        if metadata.num_row_groups != 1:
            raise DamagedError(self.name, f"has {metadata.num_row_groups} row groups; this build reads files with one")
        return metadata


def sampled(trace_ids: Any, step: int) -> Ids:
    """The id of every `step`-th row, from the first one on, and of the last. In: binary[16] Array, ascending, not
    empty
    """
    index = trace_index(trace_ids)
    rows = np.r_[np.arange(0, len(trace_ids), step), len(trace_ids) - 1]
    ids: Ids = index.ids[np.searchsorted(index.offsets, rows, side="right") - 1]
    return ids


def narrow(array: Any) -> Any:
    """A DictionaryArray with the narrowest indices."""
    if not pa.types.is_dictionary(array.type):
        return array
    stored = narrow_dtype(len(array.dictionary))
    type_ = pa.from_numpy_dtype(stored)
    if array.type.index_type == type_:
        return array
    indices = array.indices
    if indices.offset or not len(indices):
        indices = indices.cast(type_, safe=False)
    else:
        # Where Arrow's cast looks at each bit that says null, numpy converts all.
        codes = value_slots(indices).astype(stored)
        indices = pa.Array.from_buffers(type_, len(indices), [indices.buffers()[0], pa.py_buffer(codes)])
    return pa.DictionaryArray.from_arrays(indices, array.dictionary, safe=False)


def _as_codes(array: Any) -> Any:
    """Integers as a DictionaryArray. Only what is not null is hashed."""
    if not array.null_count:
        return array.dictionary_encode()
    valid = valid_rows(array)
    encoded = pa.array(value_slots(array)[valid]).dictionary_encode()
    codes = np.zeros(len(array), np.int32)
    codes[valid] = value_slots(encoded.indices)
    return pa.DictionaryArray.from_arrays(index_array(codes, valid), encoded.dictionary, safe=False)


def _repeating_numbers(metadata: pq.FileMetaData) -> frozenset[str]:
    """Attributes with integers that the file has in a dictionary. As codes they take a byte a row instead of eight."""
    group = metadata.row_group(0)
    chunks = map(group.column, range(metadata.num_columns))
    names = (chunk.path_in_schema for chunk in chunks if chunk.physical_type == "INT64" and chunk.has_dictionary_page)
    return frozenset(name for name in names if parse_attribute_column(name) is not None)


def _dictionaries(metadata: pq.FileMetaData) -> list[str]:
    """The paths of texts that are worth reading as dictionaries."""
    group = metadata.row_group(0)
    found = []
    for number in range(metadata.num_columns):
        chunk = group.column(number)
        if chunk.physical_type == "BYTE_ARRAY" and chunk.has_dictionary_page:
            path = chunk.path_in_schema
            if ".list." not in path or path in (*overflow.DICTIONARIES, overflow.BYTES):
                found.append(path)
    return found
