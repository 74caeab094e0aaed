"""Targets: what the process reads back from Kafka, its disk and object storage: damaged, or written by others."""

import contextlib
import re
import zlib
from functools import cache
from typing import Any

import orjson
import pyarrow as pa

from agents.generator.journal import journal_format
from agents.generator.series.columns_file import dump
from benchmarks.hostile.examples import records
from query.requests import SearchRequest
from query.search.search import search
from query.trace.trace import find_trace
from tables.blocks.meta import BlockMeta, FileMeta, decode_meta
from tables.catalog.checkpoints import Checkpoint, checkpoint_path, decode_checkpoint
from tables.catalog.cuts import cut_path, decode_cut
from tables.catalog.tenant_index import Removed, TenantIndex, decode_index, index_path, index_schema, rows_of
from tables.errors import StorageError, WireError
from tables.live.head import Head, seal_records
from tables.live.shared_records import trace_ids_of
from tables.parquet.read import ParquetSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import with_checksum
from tables.wire import record
from tests.fuzz.rest import head_record
from tests.fuzz.target import Target
from tests.helpers.files import file_of


def _record(data: bytes) -> None:
    """A record that somebody else wrote, between good ones of ours: those are sealed whatever it holds."""
    good = head_record(records()[0])
    items = [good, head_record(data), good]
    table, _ = seal_records(items)
    assert table is not None
    table.validate(full=True)
    assert len(table) >= 2 * good.spans
    to_parquet(table)
    head = Head()
    for item in items:
        head.append(item)
    trace_id = trace_ids_of(good)[0].as_py()
    found = [find_trace(sources, trace_id) for sources in (head.sources(3), head.trace_sources(trace_id, 3))]
    assert all(one is not None and len(one) for one in found)


def _record_headers(data: bytes) -> None:
    headers = [(line[:1].decode("latin-1"), line[2:]) for line in data.split(b"\n")]
    with contextlib.suppress(WireError):
        info = record.read_headers(headers)
        assert info.spans > 0


@cache
def _file() -> bytes:
    table, _ = seal_records([head_record(value) for value in records()])
    assert table is not None
    return bytes(to_parquet(table))


def _block_file(data: bytes) -> None:
    """A file of a block is read, or it is said that it cannot be."""
    rows = len(seal_records([head_record(value) for value in records()])[0] or ())
    buffer = pa.py_buffer(data)
    source = ParquetSource("file", lambda: file_of(buffer), ByteCache("fuzz", 1 << 24), rows)
    for ask in (
        lambda: search([source], SearchRequest(query="{ span.n < 0 || name = `op 2` } >> { }", limit=5)),
        lambda: find_trace([source], (2).to_bytes(16, "big")),
    ):
        with contextlib.suppress(StorageError):
            ask()


def _meta(data: bytes) -> None:
    with contextlib.suppress(StorageError):
        decode_meta("blocks/t/b/meta.json", data)


def _cut(data: bytes) -> None:
    with contextlib.suppress(StorageError):
        cut = decode_cut(cut_path(("e", 0), 7), data)
        assert cut.last_offset >= cut.first_offset


def _journal(data: bytes) -> None:
    with contextlib.suppress(WireError):
        journal_format.decode(data)


def _meta_seeds() -> list[bytes]:
    file = FileMeta(name="data-0000.parquet", size_bytes=9, spans=1, start_min_ns=0, end_max_ns=1)
    named: dict[str, Any] = {"block_id": "b", "tenant": "t", "cluster_id": "e", "partition": 0, "partition_count": 1}
    numbers: dict[str, Any] = {"first_offset": 0, "last_offset": 1, "spans": 1, "start_min_ns": 0, "end_max_ns": 1}
    return [BlockMeta(**named, **numbers, size_bytes=9, files=[file]).encode()]


def _cut_seeds() -> list[bytes]:
    meta = orjson.loads(_meta_seeds()[0])
    whole = orjson.dumps({"last_offset": 7, "blocks": ["t/b"], "metas": [meta]})
    return [with_checksum(whole), b'{"last_offset": 7, "blocks": []}']


def _journal_seeds() -> list[bytes]:
    saved = journal_format.Saved("cluster_id", "spans", "me", 1, 2, {0: (5, 6)}, {}, {})
    return [journal_format.encode(saved), dump({"version": 1})]


def _index(data: bytes) -> None:
    """Whatever has the right checksum is a tenant's index, or is refused."""
    digits = re.search(rb'"crc32":"([0-9a-f]{8})"\}', data)
    if digits is not None:
        data = data.replace(digits[0], b'"crc32":"00000000"}')
        data = data.replace(b'"crc32":"00000000"}', b'"crc32":"%08x"}' % zlib.crc32(data))
    with contextlib.suppress(StorageError):
        assert decode_index(index_path("t", 1), data).table.schema.equals(index_schema())


def _index_seeds() -> list[bytes]:
    meta = decode_meta("blocks/t/b/meta.json", _meta_seeds()[0])
    return [TenantIndex("t", 1, rows_of([meta]), {("e", 0): 2}, (Removed("x", 1.0),)).encode()]


def _checkpoint(data: bytes) -> None:
    with contextlib.suppress(StorageError):
        checkpoint = decode_checkpoint(checkpoint_path(("e", 0), 7), data)
        assert decode_checkpoint(checkpoint.path, checkpoint.encode()) == checkpoint


_HEADERS = b"v=1\nn=3\nt=1-2", b"v=2\nn=3\nm=a:1,b:2\nt=-1--1"
TARGETS = [
    Target("record", _record, records, (b"\xff\xff\xff\xff", b"\xff\xff\xff\x3f")),
    Target("record_headers", _record_headers, lambda: list(_HEADERS), (b"\n", b":", b",", b"99999999999999999999")),
    Target("block_file", _block_file, lambda: [_file()], (b"PAR1",)),
    Target("block_meta", _meta, _meta_seeds, (b"1e999", b"-1", b"null", b"[]", b'"stretto2"')),
    Target("cut", _cut, _cut_seeds, (b"1e999", b"-1", b"null", b"[]")),
    Target("tenant_index", _index, _index_seeds, (b"stretto-index1", b"-1", b"null")),
    Target("checkpoint", _checkpoint, lambda: [Checkpoint(("e", 0), 7, {"t": 5}).encode()], (b"1e999", b"-1", b"null")),
    Target("generator_journal", _journal, _journal_seeds),
]
