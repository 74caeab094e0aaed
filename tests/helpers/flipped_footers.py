"""Opens a file with each nth bit of its footer changed, where no checksum covers that. It may end the process: so it is
one of its own.

    python -m tests.helpers.flipped_footers FILE ROWS STEP
"""

import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa

from tables.errors import DamagedError
from tables.parquet.footer import footer_start
from tables.parquet.read import ParquetSource
from tables.parquet.small_files import SmallFile, load, read_valued
from tables.storage.byte_cache import ByteCache
from tests.helpers.files import file_of


def main(path: str, rows: int, step: int) -> None:
    good = Path(path).read_bytes()
    columns = ParquetSource("good", lambda: file_of(pa.py_buffer(good)), ByteCache("test", 1 << 20), rows).columns
    for bit in range(8 * footer_start(memoryview(good)), 8 * len(good), step):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        # Said before: the last line is what ended the process.
        sys.stdout.write(f"{bit}\n")
        with suppress(DamagedError, KeyError):
            read_valued(load(SmallFile("file", len(data), rows, None), bytes(data)), np.arange(rows))
        buffer = pa.py_buffer(bytes(data))
        source = ParquetSource("file", lambda buffer=buffer: file_of(buffer), ByteCache("test", 1 << 20), rows)
        with suppress(DamagedError, KeyError):
            source.read(sorted(columns))
            source.bounds("start_ns")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
