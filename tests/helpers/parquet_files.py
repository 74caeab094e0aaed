"""Values for columns of Parquet files, and how their bytes are read."""

from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from tables.parquet.read import ParquetSource
from tables.storage.byte_cache import ByteCache
from tests.helpers.files import file_of

TEXTS = st.sampled_from(["", "a", "bb", "ä" * 40])
WORDS = st.one_of(st.none(), TEXTS)
EVENTS = st.fixed_dictionaries(
    {
        "time_ns": st.integers(0, 9),
        "name": WORDS,
        "attributes": st.lists(st.fixed_dictionaries({"key": WORDS, "string_value": WORDS}), max_size=2),
        "dropped_attributes_count": st.none(),
    }
)


def source_of(data: Any, rows: int) -> ParquetSource:
    return ParquetSource("file", lambda: file_of(data), ByteCache("test", 1 << 24), rows)


def plain(array: Any) -> Any:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
