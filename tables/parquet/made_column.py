"""A column that Arrow reads from a file made in memory, of pages that were written for other columns or files.

    PAR1 | dictionary, if there is one | page | page | … | footer, PAR1

Source: github.com/apache/parquet-format, parquet.thrift
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tables.columns.arrays import one_array
from tables.parquet.code_pages import CODECS
from tables.parquet.encode_pages import UNCOMPRESSED, dictionary_page
from tables.parquet.footer import MAGIC, column_chunk, file_end, row_group


def read_column(head: bytes, elements: tuple[bytes, int], dictionary: bytes, pages: Sequence[Any], rows: int) -> Any:
    """The column as one Array.

    head: as of `layout.leaf_head`; elements: the schema's for the column, and how many; dictionary: the page of one, or
    nothing; rows: of all pages. Raises: ArrowException, OSError where something is damaged
    """
    size = len(dictionary) + sum(map(len, pages))
    chunk = column_chunk(head, rows, len(MAGIC), len(dictionary), size)
    end = file_end([elements], [row_group([chunk], size, rows)], rows)
    file = pq.ParquetFile(pa.BufferReader(b"".join([MAGIC, dictionary, *pages, end])), pre_buffer=False)
    return checked(one_array(file.reader.read_row_group(0, column_indices=[0], use_threads=False).column(0)), rows)


def checked(array: Any, rows: int) -> Any:
    """The array if it has so many rows. Raises: ArrowInvalid if not"""
    if len(array) != rows:
        raise pa.ArrowInvalid(f"pages have {len(array)} rows of {rows}")
    return array


@lru_cache(maxsize=256)
def numbers_page(count: int, codec: int = UNCOMPRESSED) -> bytes:
    """The dictionary page of the numbers from 0 on, at least `count` of them: a power of two. Behind it codes of any
    dictionary are a column of numbers.
    """
    count = 1 << (count - 1).bit_length()
    body, name = np.arange(count, dtype="<i4").tobytes(), CODECS[codec]
    return dictionary_page(body, count, None if name is None else pa.compress(body, codec=name, asbytes=True))
