"""The flat columns of a Parquet file, decoded without looking up a value for each row.

Levels, codes and values of all columns are taken from their pages, and decoded together: runs of one kind by numpy,
pages of many runs by Arrow, one below the other (`pages_together`). Texts stay codes of their dictionary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import ID_WORDS, narrow_dtype, number_array
from tables.parquet import pages_together
from tables.parquet.code_pages import CODECS, WIDTHS, flat_pages, one_run, page_body, page_header
from tables.parquet.encode_pages import PLAIN, RLE, RLE_DICTIONARY
from tables.parquet.layout import STORED_NUMBERS, Storing, storing
from tables.parquet.pages_together import JoinedPage
from tables.parquet.presence import ColumnPresence, PresenceReader

VALUES_MAX: Final = 1 << 16
_DICTIONARY_BYTES_MAX: Final = 2 << 20
# What is decoded at once, decompressed.
_TOGETHER_BYTES: Final = 4 << 20
_LENGTH_BYTES: Final = 4
_NOTHING: Final = np.empty(0, np.uint8)
_PHYSICAL: Final = {"<i4": "INT32", "<u4": "INT32", "<i8": "INT64", "<f8": "DOUBLE"}
# Arrow reads what is damaged, and says so as it does of other columns.
_DAMAGE: Final = (IndexError, ValueError, OSError, pa.ArrowException)


class _FlatLeaf(NamedTuple):
    """A column. start, pages, end: offsets of its first byte, its first data page, and behind its last one"""

    number: int
    name: str
    type: Any
    storing: Storing
    start: int
    pages: int
    end: int


@dataclass(slots=True)
class _Draft:
    """A column whose pages were read. levels: of each page; values: what is behind them; distinct: of its dictionary"""

    leaf: _FlatLeaf
    dictionary: JoinedPage | None
    levels: list[int] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    bytes: int = 0


def read_flat_columns(data: pa.Buffer, metadata: pq.FileMetaData) -> dict[int, Any]:
    """The columns that can be read so, by number of leaf: texts, and integers of attributes that have a dictionary, as
    DictionaryArrays; numbers, ids and booleans.

    In: a whole file with one row group. Out: nothing where it is damaged
    """
    view = memoryview(data).cast("B")
    presences = PresenceReader()
    found: dict[int, Any] = {}
    waiting: list[_Draft] = []
    waiting_bytes = 0
    try:
        for leaf in _leaves(metadata):
            draft = _draft(view, leaf, metadata.num_rows, presences)
            if draft is not None:
                waiting.append(draft)
                waiting_bytes += draft.bytes
            if waiting_bytes >= _TOGETHER_BYTES:
                found |= _decoded(waiting, presences)
                waiting, waiting_bytes = [], 0
        return found | _decoded(waiting, presences)
    except _DAMAGE:
        return {}


def _leaves(metadata: pq.FileMetaData) -> Iterator[_FlatLeaf]:
    # Not metadata.schema: that and the metadata would know each other, and so stay for good.
    group, schema = metadata.row_group(0), pq.ParquetSchema(metadata)
    types = {field.name: field.type for field in schema.to_arrow_schema()}
    for number in range(metadata.num_columns):
        chunk = group.column(number)
        name = chunk.path_in_schema
        type_ = types.get(name)
        if type_ is None or not _is_known(type_, chunk):
            continue
        leaf = schema.column(number)
        if leaf.max_repetition_level or leaf.max_definition_level != 1 or chunk.num_values != metadata.num_rows:
            continue
        kind = storing(chunk)
        if kind is None or kind.codec not in CODECS or not set(kind.encodings) <= {PLAIN, RLE, RLE_DICTIONARY}:
            continue
        pages = start = chunk.data_page_offset
        if chunk.has_dictionary_page:
            start = chunk.dictionary_page_offset
        if 0 < start <= pages <= start + _DICTIONARY_BYTES_MAX:
            yield _FlatLeaf(number, name, type_, kind, start, pages, start + chunk.total_compressed_size)


def _is_known(type_: Any, chunk: Any) -> bool:
    physical = chunk.physical_type
    if type_ == pa.string():
        return physical == "BYTE_ARRAY" and bool(chunk.has_dictionary_page)
    if type_ == pa.bool_():
        return physical == "BOOLEAN" and not chunk.has_dictionary_page
    if pa.types.is_fixed_size_binary(type_):
        return bool(physical == "FIXED_LEN_BYTE_ARRAY")
    return type_ in STORED_NUMBERS and bool(physical == _PHYSICAL[str(STORED_NUMBERS[type_])])


def _draft(view: memoryview, leaf: _FlatLeaf, rows: int, presences: PresenceReader) -> _Draft | None:
    """Reads the pages of a column; None: they are of several kinds, or the dictionary is too large."""
    dictionary = None
    if leaf.start < leaf.pages:
        data = bytes(view[leaf.start : leaf.pages])
        header = page_header(data, 0)
        count = header.inner[0]
        if not 0 <= count <= VALUES_MAX or header.size > _DICTIONARY_BYTES_MAX:
            return None
        dictionary = JoinedPage(count, page_body(data, header, leaf.storing.codec))
    draft = _Draft(leaf, dictionary)
    encoding = PLAIN if dictionary is None else RLE_DICTIONARY
    pages = list(flat_pages(bytes(view[leaf.pages : leaf.end]), leaf.storing.codec))
    if any(page.encoding != encoding for page in pages):
        return None
    # No checksum covers how many rows a page says that it has.
    if sum(page.rows for page in pages) != rows or min(page.rows for page in pages) < 0:
        raise ValueError("pages of another number of rows")
    for page in pages:
        end = _LENGTH_BYTES + int.from_bytes(page.body[:_LENGTH_BYTES], "little")
        draft.levels.append(presences.add(page.rows, page.body[:end]))
        draft.values.append(page.body[end:])
        draft.bytes += len(page.body)
    return draft


def _decoded(drafts: Sequence[_Draft], presences: PresenceReader) -> dict[int, Any]:
    presences.decode()
    texts = _texts(drafts)
    codes = _codes([draft for draft in drafts if draft.dictionary is not None], presences)
    return {
        draft.leaf.number: _array(draft, presences, texts.get(draft.leaf.number), codes.get(draft.leaf.number))
        for draft in drafts
    }


def _texts(drafts: Sequence[_Draft]) -> dict[int, Any]:
    """The dictionaries of texts, by number of leaf."""
    pages = {
        draft.leaf.number: draft.dictionary
        for draft in drafts
        if draft.dictionary is not None and draft.leaf.type == pa.string()
    }
    if not any(page.values for page in pages.values()):
        return dict.fromkeys(pages, pa.array([], pa.string()))
    return dict(zip(pages, pages_together.texts(list(pages.values())), strict=True))


def _codes(drafts: Sequence[_Draft], presences: PresenceReader) -> dict[int, npt.NDArray[Any]]:
    """The codes of the rows that have a value, by number of leaf."""
    parts: dict[int, list[Any]] = {}
    many: list[tuple[int, int]] = []  # number of leaf and of page
    pages: list[JoinedPage] = []
    values_max = 1
    for draft in drafts:
        assert draft.dictionary is not None
        count = draft.dictionary.values
        if count == 1:
            continue
        found: list[Any] = []
        for number, (levels, body) in enumerate(zip(draft.levels, draft.values, strict=True)):
            present = presences.count(levels)
            part: Any = _NOTHING
            if present:
                width = body[0]
                part = one_run(body, 1, len(body), width, present) if width in WIDTHS else None
                if part is None:
                    many.append((draft.leaf.number, number))
                    pages.append(JoinedPage(present, body))
                    values_max = max(values_max, count)
                elif isinstance(part, int):
                    part = np.full(present, part, np.uint16)
            found.append(part)
        parts[draft.leaf.number] = found
    if pages:
        for (leaf, number), some in zip(many, pages_together.codes(pages, values_max), strict=True):
            parts[leaf][number] = some
    out = {}
    for draft in drafts:
        assert draft.dictionary is not None
        number, count = draft.leaf.number, draft.dictionary.values
        if number not in parts:
            continue
        joined = np.concatenate(parts[number])
        if len(joined) and int(joined.max()) >= count:
            raise ValueError(f"a code above {count}")
        out[number] = joined.astype(narrow_dtype(count), copy=False)
    return out


def _array(draft: _Draft, presences: PresenceReader, texts: Any | None, codes: npt.NDArray[Any] | None) -> Any:
    leaf, presence = draft.leaf, presences.of(draft.levels)
    if draft.dictionary is None:
        if leaf.type == pa.bool_():
            return _booleans(draft, presence, presences)
        return _fixed(leaf.type, _plain(leaf.type, b"".join(draft.values)), presence)
    if codes is None:  # there is one value
        codes = np.zeros(presence.count, np.int8)
    if texts is not None:
        values = texts
    elif leaf.type == pa.int64() and leaf.name.endswith(":int"):
        values = pa.array(_plain(leaf.type, draft.dictionary.body))
    else:
        found = _plain(leaf.type, draft.dictionary.body)
        if len(found) != draft.dictionary.values:
            raise ValueError("a dictionary of another size")
        return _fixed(leaf.type, found.take(codes, axis=0), presence)
    if len(values) != draft.dictionary.values:
        raise ValueError("a dictionary of another size")
    return pa.DictionaryArray.from_arrays(number_array(presence.spread(codes), presence.bits), values, safe=False)


def _plain(type_: Any, body: bytes) -> npt.NDArray[Any]:
    """Values in the encoding PLAIN. Fixed-size binary ones come as whatever has their width."""
    if pa.types.is_fixed_size_binary(type_):
        return np.frombuffer(body, ID_WORDS.get(type_.byte_width, np.dtype(("V", type_.byte_width))))
    values = np.frombuffer(body, STORED_NUMBERS[type_])
    return values.astype(type_.to_pandas_dtype(), copy=False)


def _fixed(type_: Any, values: npt.NDArray[Any], presence: ColumnPresence) -> Any:
    if len(values) != presence.count:
        raise ValueError(f"{len(values)} values instead of {presence.count}")
    spread = np.ascontiguousarray(presence.spread(values))
    return pa.Array.from_buffers(type_, presence.rows, [presence.bits, pa.py_buffer(spread)])


def _booleans(draft: _Draft, presence: ColumnPresence, presences: PresenceReader) -> Any:
    parts = [
        np.unpackbits(np.frombuffer(body, np.uint8), count=presences.count(levels), bitorder="little")
        for levels, body in zip(draft.levels, draft.values, strict=True)
    ]
    bits = np.packbits(presence.spread(np.concatenate(parts)), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), presence.rows, [presence.bits, pa.py_buffer(bits)])
