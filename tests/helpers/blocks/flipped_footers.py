"""Opens a file with each nth bit of its footer changed, where no checksum covers that, in all the ways in which files
are opened. It may end the process: so it is one of its own.

    python -m tests.helpers.blocks.flipped_footers FILE ROWS STEP
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa

from app.cli.blocks.show import block_columns
from tables.blocks.meta import FileMeta
from tables.errors import DamagedError
from tables.merge.inputs import ParquetInput
from tables.merge.merge import merge
from tables.parquet.footer import footer_start
from tables.parquet.read import ParquetSource
from tables.parquet.small_files import SmallFile, digests_of_rows, load
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.catalog import block_meta
from tests.helpers.files import file_of


def main(path: str, rows: int, step: int) -> None:
    good = Path(path).read_bytes()
    columns = sorted(source_of(good, rows).columns)
    with TemporaryDirectory() as folder:
        store = ObjectStore(StorageConfig("local", folder))
        for bit in range(8 * footer_start(memoryview(good)), 8 * len(good), step):
            data = bytearray(good)
            data[bit // 8] ^= 1 << bit % 8
            # Said before: the last line is what ended the process.
            sys.stdout.write(f"{bit}\n")
            for read in reads(bytes(data), rows, columns, store):
                with suppress(DamagedError):
                    read()


def reads(data: bytes, rows: int, columns: list[str], store: ObjectStore) -> Iterator[Callable[[], Any]]:
    yield lambda: digests_of_rows(load(SmallFile("file", len(data), rows, None), data), np.arange(rows))
    yield lambda: read_source(data, rows, columns)
    yield lambda: merged(data, rows)
    with patch("tables.merge.inputs._PLAIN_BYTES_MAX", 0):
        yield lambda: merged(data, rows)
    yield lambda: shown(data, rows, store)


def read_source(data: bytes, rows: int, columns: list[str]) -> None:
    source = source_of(data, rows)
    with suppress(KeyError):  # the bit is in a name
        source.read(columns)
        source.bounds("start_ns")


def source_of(data: bytes, rows: int) -> ParquetSource:
    return ParquetSource("file", lambda: file_of(pa.py_buffer(data)), ByteCache("test", 1 << 20), rows)


def merged(data: bytes, rows: int) -> None:
    inputs = [ParquetInput(name, rows, lambda: file_of(pa.py_buffer(data))) for name in ("one", "other")]
    assert list(merge(inputs))


def shown(data: bytes, rows: int, store: ObjectStore) -> None:
    """As `stretto blocks show` does."""
    file = FileMeta(name="data.parquet", size_bytes=len(data), spans=rows, start_min_ns=0, end_max_ns=1)
    meta = block_meta(0, 1, files=[file])
    store.put(meta.path_of(file), data)
    assert block_columns(store, meta)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
