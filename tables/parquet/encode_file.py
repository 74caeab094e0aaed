"""A table → Parquet bytes, for tables of many rows: in a third of the time of Arrow's writer.

Most columns are texts from a dictionary, numbers that repeat, and lists that are mostly empty. Their pages are written
here (`encode_column`, `encode_lists`), and are smaller besides. Arrow encodes the others: their pages are taken from a
file that it makes of these columns only, and compressed here. The footer describes all of them.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import pyarrow as pa

from tables.columns.arrays import one_array
from tables.parquet.code_pages import page_header
from tables.parquet.directory import with_directory
from tables.parquet.encode_column import encode_flat
from tables.parquet.encode_footer import DescribedLeaf, file_end
from tables.parquet.encode_lists import encode_sparse_lists
from tables.parquet.encode_pages import ChunkDraft, EncodedChunk
from tables.parquet.flat_levels import FlatLevels
from tables.parquet.footer import MAGIC, ColumnChunk, footer_start, parse_footer
from tables.parquet.layout import ColumnLayout, Storing, layout, leaf_head
from tables.parquet.pages import page_places
from tables.parquet.write import (
    DELTA,
    PAGE_ROWS,
    SORTED_BY,
    key_values,
    one_chunk,
    to_parquet,
    with_statistics,
    written_by_arrow,
)

# With fewer rows Arrow is faster: here a column costs 50 µs, however few rows it has.
_ROWS_MIN: Final = 8192
# Readers know by this that bounds are right.
_CREATED_BY: Final = f"parquet-cpp-arrow version {pa.cpp_version}"


class _Leaf(NamedTuple):
    """A leaf column. head: its ColumnMetaData up to codec; parts: its pages' bytes"""

    described: DescribedLeaf
    parts: Sequence[Any]


def encode_parquet(table: pa.Table, metadata: dict[str, str] | None = None, *, all_used: bool = False) -> pa.Buffer:
    """As `tables.parquet.write.to_parquet`: the same rows, to be read in the same way, in fewer bytes.

    all_used: whether some row has each value of each dictionary, so that its bounds are those of the rows
    """
    if table.num_rows < _ROWS_MIN or any(layout(name) is None for name in table.column_names):
        return to_parquet(table, metadata)
    flat = one_chunk(table)
    return with_directory(encode_rows(flat, key_values(metadata), PAGE_ROWS, all_used=all_used), flat)


def encode_rows(flat: pa.Table, metadata: dict[str, str], page_rows: int, *, all_used: bool = False) -> pa.Buffer:
    """The file. In: columns of the span table, of one chunk each; at least one row"""
    starts = [*range(0, flat.num_rows, page_rows), flat.num_rows]
    layouts = {name: known for name in flat.column_names if (known := layout(name)) is not None}
    bounded = frozenset(with_statistics(flat.schema))
    made: dict[str, list[_Leaf]] = {}
    levels = FlatLevels(starts)
    for name, known in layouts.items():
        chunks = _encoded(name, one_array(flat[name]), levels, with_bounds=name in bounded, all_used=all_used)
        if chunks is not None:
            made[name] = [_own_leaf(known, number, chunk) for number, chunk in enumerate(chunks)]
    others = [name for name in flat.column_names if name not in made]
    if others:
        made |= _arrows_leaves(flat.select(others), {name: layouts[name] for name in others}, page_rows)
    parts: list[Any] = [MAGIC]
    leaves: list[DescribedLeaf] = []
    for name in flat.column_names:
        for leaf in made.pop(name):
            parts += leaf.parts
            leaves.append(leaf.described)
    schema = [(known.elements, known.element_count) for known in layouts.values()]
    # The first columns are flat: their numbers are those of their leaves.
    sorting = [number for name in SORTED_BY if (number := flat.schema.get_field_index(name)) >= 0]
    parts.append(file_end(schema, leaves, flat.num_rows, sorting, metadata, _CREATED_BY))
    return pa.py_buffer(b"".join(parts))


def _encoded(
    name: str, array: Any, levels: FlatLevels, *, with_bounds: bool, all_used: bool
) -> list[EncodedChunk] | None:
    if name in DELTA:
        return None
    if pa.types.is_list(array.type):
        return encode_sparse_lists(array, levels.starts)
    chunk = encode_flat(array, levels, with_statistics=with_bounds, all_used=all_used)
    return None if chunk is None else [chunk]


def _own_leaf(known: ColumnLayout, number: int, chunk: EncodedChunk) -> _Leaf:
    storing = Storing(known.types[number], chunk.encodings, chunk.codec)
    described = DescribedLeaf(
        leaf_head(storing, known.paths[number][1]),
        chunk.values,
        chunk.uncompressed_bytes,
        chunk.size_bytes,
        chunk.dictionary_bytes,
        chunk.statistics,
        tuple(chunk.pages),
    )
    return _Leaf(described, chunk.parts)


def _arrows_leaves(flat: pa.Table, layouts: dict[str, ColumnLayout], page_rows: int) -> dict[str, list[_Leaf]]:
    data = written_by_arrow(flat, {}, page_rows, raw=True).to_pybytes()
    footer = parse_footer(data, footer_start(memoryview(data)))
    chunks = iter(footer.chunks)
    return {
        name: [_own_leaf(known, number, _compressed(data, next(chunks))) for number in range(len(known.paths))]
        for name, known in layouts.items()
    }


def _compressed(data: bytes, chunk: ColumnChunk) -> EncodedChunk:
    """A leaf whose pages are not. Arrow would make a context for each page."""
    draft = ChunkDraft(statistics=chunk.statistics)
    if chunk.start < chunk.data:
        header = page_header(data, chunk.start)
        draft.dictionary = data[header.end : header.end + header.size], header.inner[0]
    for place, _, first_row in page_places(data, chunk.index):
        header = page_header(data, place)
        draft.pages.append((data[header.end : header.end + header.size], header.inner[0], first_row))
        draft.encodings.append(header.inner[1])
    return draft.encode()
