"""Files as inputs of a merge."""

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tables.merge.inputs import ParquetInput
from tables.storage.checksum import tail_of
from tests.helpers.files import file_of


def input_of(data: Any) -> ParquetInput:
    """A file in memory as an input."""
    rows = pq.read_metadata(pa.BufferReader(data)).num_rows
    return ParquetInput(f"file{id(data)}", rows, lambda: file_of(data), tail_of(data))
