"""Sealed requests as sources: files, and groups of small files."""

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.parquet.group import GroupSource
from tables.parquet.read import ParquetSource
from tables.parquet.small_files import SmallFile, load
from tables.parquet.write import to_parquet
from tables.seal import seal
from tables.storage.checksum import tail_of
from tables.wire.otlp.decoder import OtlpDecoder
from tests.helpers.files import file_of

DECODER = OtlpDecoder()


def sealed(request: ExportTraceServiceRequest, columns_max: int = 1000) -> Any:
    return seal([DECODER.decode([request.SerializeToString()]).spans], columns_max)


def file_source(name: str, table: Any, cache: Any) -> ParquetSource:
    made = to_parquet(table)
    return ParquetSource(name, lambda: file_of(made), cache, table.num_rows)


def group_source(name: str, tables: Sequence[Any], cache: Any) -> GroupSource:
    made = [to_parquet(table) for table in tables]
    files = [
        SmallFile(f"{name} {number}", data.size, table.num_rows, tail_of(data))
        for number, (data, table) in enumerate(zip(made, tables, strict=True))
    ]
    loaded = [load(file, data) for file, data in zip(files, made, strict=True)]
    return GroupSource(name, files, lambda _: loaded, cache)
