"""The index of a file's traces, read without opening the file: its directory says where the trace ids lie.

In merged files a page has a run for each trace (`encode_pages.CodePacker.pack_runs`), and the dictionary has the ids in
their order: these and the lengths of the runs are the index. Pages that are written otherwise are left to Arrow.
"""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pyarrow as pa

from tables.columns.trace_index import Ids, TraceIndex, trace_index
from tables.columns.types import Int64s
from tables.parquet.code_pages import FlatPage, flat_pages, page_body, page_header
from tables.parquet.directory import LeafPlace
from tables.parquet.encode_pages import DICTIONARY_PAGE, RLE_DICTIONARY, RUN_LENGTH_BYTES, equal_levels
from tables.parquet.file_end import FileEnd
from tables.parquet.footer import MAGIC
from tables.parquet.layout import layout
from tables.parquet.small_files import LoadedFile, decode
from tables.parquet.write import PAGE_ROWS
from tables.storage.object_store import RangeFile

TRACE_ID: Final = "trace_id"
_ID_BYTES: Final = 16
_CODE_BYTES: Final = 2
_RUN_BYTES: Final = RUN_LENGTH_BYTES + _CODE_BYTES
_PAGE_BYTES: Final = 80  # of a page besides its runs
# Whoever reads it finds out what is wrong with it.
_DAMAGE: Final = (IndexError, ValueError, OSError, pa.ArrowException)


def read_trace_index(
    name: str, open_file: Callable[[], RangeFile], end: FileEnd, counts: tuple[int, int]
) -> TraceIndex | None:
    """None: the file has no directory. Where its end is not known yet the trace ids come with it, in one request.

    counts: of the file's rows and traces; 0 traces: unknown
    Raises: DamagedError, StorageError
    """
    rows, traces = counts
    head = end.read_with_head(_head_bytes(rows, traces)) if traces else None
    directory = end.directory(rows)
    known = layout(TRACE_ID)
    if directory is None or known is None or TRACE_ID not in directory.numbers:
        return None
    place = directory.leaf(directory.first_leaf(TRACE_ID), known.paths[0][1])
    if place.start != len(MAGIC):
        return None
    data = _beginning(open_file, head, place)
    found = trace_index_of_pages(data[place.start :], place, rows)
    return trace_index(decode([LoadedFile(name, data, directory)], TRACE_ID)) if found is None else found


def _head_bytes(rows: int, traces: int) -> int:
    """What the trace ids take at the beginning of a merged file."""
    pages = rows // PAGE_ROWS + 2
    return len(MAGIC) + _ID_BYTES * traces + _RUN_BYTES * (traces + pages) + _PAGE_BYTES * pages


def _beginning(open_file: Callable[[], RangeFile], head: Any, place: LeafPlace) -> memoryview:
    """The file up to the end of the trace ids. head: what of it is here; None: nothing"""
    end = place.start + place.size_bytes
    if head is None:
        (chunk,) = open_file().read_ranges([(place.start, place.size_bytes)])
        return memoryview(MAGIC + bytes(chunk))
    view = memoryview(head).cast("B")[:end]
    if len(view) == end:
        return view
    (rest,) = open_file().read_ranges([(len(view), end - len(view))])
    return memoryview(bytes(view) + bytes(rest))


def trace_index_of_pages(chunk: memoryview, place: LeafPlace, rows: int) -> TraceIndex | None:
    """From the pages of the trace ids, the dictionary's first; None: they are written in another way, or damaged."""
    if not place.dictionary_bytes:
        return None
    try:
        dictionary = bytes(chunk[: place.dictionary_bytes])
        header = page_header(dictionary, 0)
        ids: Ids = np.frombuffer(page_body(dictionary, header, place.codec), f"S{_ID_BYTES}")
        pages = list(flat_pages(bytes(chunk[place.dictionary_bytes :]), place.codec))
    except _DAMAGE:
        return None
    runs = [found for page in pages if (found := _runs(page)) is not None]
    if header.type != DICTIONARY_PAGE or list(header.inner[:1]) != [len(ids)] or not runs or len(runs) < len(pages):
        return None
    codes, lengths = (np.concatenate(column) for column in zip(*runs, strict=True))
    if int(lengths.sum()) != rows or int(codes.max()) >= len(ids):
        return None
    # The last trace of a page may go on in the next one.
    begins = np.r_[True, codes[1:] != codes[:-1]]
    offsets = np.r_[0, np.cumsum(lengths)]
    return TraceIndex(ids[codes[begins]], np.r_[offsets[:-1][begins], rows])


def _runs(page: FlatPage) -> tuple[Int64s, Int64s] | None:
    """Codes and lengths of a page's runs; None: it is written in another way, or not each row has an id."""
    encoding, count, body = page
    if encoding != RLE_DICTIONARY:
        return None
    levels = equal_levels(1, count)
    begin = len(levels) + 1
    if not body.startswith(levels) or body[len(levels)] != 8 * _CODE_BYTES or (len(body) - begin) % _RUN_BYTES:
        return None
    runs = np.frombuffer(body, np.uint8, offset=begin).reshape(-1, _RUN_BYTES).astype(np.int64)
    # Varints of which all bytes but the last one are marked; the lowest bit says that the codes of a run are equal.
    marked = runs[:, :RUN_LENGTH_BYTES] >= 0x80
    if not marked[:, :-1].all() or marked[:, -1].any() or (runs[:, 0] & 1).any():
        return None
    said = sum((runs[:, byte] & 0x7F) << 7 * byte for byte in range(RUN_LENGTH_BYTES))
    lengths: Int64s = np.asarray(said) >> 1
    if int(lengths.sum()) != count or not lengths.all():
        return None
    return runs[:, RUN_LENGTH_BYTES] | runs[:, RUN_LENGTH_BYTES + 1] << 8, lengths
