"""Wide data as the files of blocks, without Kafka: for tests and for looking at one query by itself."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from benchmarks.hostile.wide import Wide
from tables.live.head import seal_records
from tables.live.shared_records import HeadRecord
from tables.parquet.read import ColumnCache, ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import RangeFile
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split


def files(wide: Wide, rows_max: int = 65_536, columns_max: int = 300) -> Iterator[tuple[bytes, int]]:
    """Parquet files with at least so many rows, as a live store seals them, and the rows of each."""
    decoder, records, rows = OtlpDecoder(), [], 0
    for request in wide.requests():
        for part in split(decoder.decode([request]).spans, 1):
            value, headers = record.encode(part.spans)
            records.append(HeadRecord(0, record.read_headers(headers).spans, value))
            rows += records[-1].spans
        if rows >= rows_max:
            yield _sealed(records, columns_max)
            records, rows = [], 0
    if records:
        yield _sealed(records, columns_max)


def _sealed(records: list[HeadRecord], columns_max: int) -> tuple[bytes, int]:
    table, bad = seal_records(records, columns_max)
    assert table is not None, bad
    return to_parquet(table).to_pybytes(), len(table)


def sources(made: list[tuple[bytes, int]], cache_bytes_max: int = 384 << 20) -> list[ParquetSource]:
    """What queries read from; the cache is as large as a worker's by default."""
    cache: ColumnCache = ByteCache("hostile", cache_bytes_max)
    return [
        ParquetSource(f"file {number}", partial(_file, data), cache, rows) for number, (data, rows) in enumerate(made)
    ]


def _file(data: bytes) -> RangeFile:
    def read(ranges: Any) -> list[bytes]:
        return [data[start : start + length] for start, length in ranges]

    return RangeFile(read, len(data))
