"""Small files become few sources, and a new block changes only the newest of them."""

import threading
from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from query.scan.ahead import with_rows_ahead
from tables.blocks.file_groups import GROUP_ROWS_MAX, FileGroups
from tables.blocks.meta import BlockMeta, FileMeta
from tables.errors import DamagedError, StorageError
from tables.parquet.directory import SMALL_FILE_BYTES
from tables.parquet.group import GroupSource
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.checksum import tail_of
from tables.storage.read_ahead import AheadBytes, ReadAhead, reading_ahead
from tests.helpers.pool_at_once import AtOnce
from tests.helpers.querying.otlp_rows import make_table


def meta(number: int, *, spans: int = 2, size_bytes: int = 9, tail: Any = None) -> BlockMeta:
    file = FileMeta(
        name="data-0000.parquet",
        size_bytes=size_bytes,
        spans=spans,
        start_min_ns=number,
        end_max_ns=number,
        tail_bytes=tail.size_bytes if tail else 0,
        tail_crc32=tail.crc32 if tail else 0,
    )
    named: dict[str, Any] = {"block_id": f"b{number}", "tenant": "t", "cluster_id": "c", "partition": 0}
    numbers: dict[str, Any] = {"partition_count": 1, "first_offset": number, "last_offset": number}
    times: dict[str, Any] = {"start_min_ns": number, "end_max_ns": number}
    return BlockMeta(**named, **numbers, **times, spans=spans, size_bytes=size_bytes, files=[file])


class Files:
    """Files by path, and how often each was read, whole or its end."""

    def __init__(self, blocks: int) -> None:
        self.data: dict[str, bytes] = {}
        self.reads: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.at_once = self.at_once_max = 0
        self.metas = []
        self._lock = threading.Lock()
        for number in range(blocks):
            own: dict[str, Any] = {"start_ns": 1 + number, "duration_ns": 0, "name": "n", "kind": 1, "status_code": 0}
            rows = [
                {"trace_id": bytes([number, row]) + bytes(14), "span_id": bytes([row + 1]) * 8, **own}
                for row in range(2)
            ]
            data = to_parquet(make_table(rows)).to_pybytes()
            made = meta(number, size_bytes=len(data), tail=tail_of(data))
            self.metas.append(made)
            self.data[f"{made.folder}/data-0000.parquet"] = data

    def read(self, path: str, start: int, length: int) -> bytes:
        with self._lock:
            (self.ends if start else self.reads)[path] += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            assert start + length == len(self.data[path])
            return self.data[path][start:]
        finally:
            with self._lock:
                self.at_once -= 1


def groups_of(files: Files, columns: int = 1 << 26, files_max: int = 1 << 24, threads: int = 1) -> FileGroups:
    return FileGroups(files.read, ByteCache("test", columns), files_max, threads)


def with_ends(files: Files, files_max: int = 1 << 24) -> FileGroups:
    return FileGroups(files.read, ByteCache("test", 1 << 26), files_max, ends_first=True)


def no_large(_: BlockMeta) -> Sequence[Any]:
    raise AssertionError


def paths(sources: Sequence[GroupSource]) -> list[list[str]]:
    return [[file.path for file in source.files] for source in sources]


def test_groups_are_fixed() -> None:
    groups = FileGroups(lambda *_: b"", ByteCache("test", 0), 0)
    metas = [meta(number) for number in range(2000)]
    before = groups.sources(metas, no_large)
    assert 2 <= len(before) <= 40
    assert [path for group in paths(before) for path in group] == [f"{one.folder}/data-0000.parquet" for one in metas]
    assert groups.sources(list(reversed(metas)), no_large) == before  # the same objects, whatever the order
    after = groups.sources([*metas, meta(2000)], no_large)
    assert after[: len(before) - 1] == before[:-1]
    assert after[-1].key != before[-1].key
    # Where the oldest is gone, the others stay as they are.
    assert groups.sources(metas[1:], no_large)[1:] == before[1:]


def test_groups_are_bounded() -> None:
    groups = FileGroups(lambda *_: b"", ByteCache("test", 0), 0)
    sources = groups.sources([meta(number, spans=10_000, size_bytes=200_000) for number in range(50)], no_large)
    assert max(sum(file.rows for file in source.files) for source in sources) <= GROUP_ROWS_MAX
    large = meta(1, size_bytes=4 * SMALL_FILE_BYTES)
    assert groups.sources([large], lambda one: [one.block_id]) == ["b1"]


@pytest.mark.parametrize("threads", [1, 4])
def test_each_file_is_read_once(threads: int) -> None:
    files = Files(20)
    groups = groups_of(files, threads=threads)
    (source,) = groups.sources(files.metas, no_large)
    assert len(source.traces().ids) == 40
    assert source.read(["start_ns"])["start_ns"].to_pylist() == [1 + row // 2 for row in range(40)]
    assert set(files.reads.values()) == {1}
    assert files.at_once_max <= threads
    more = Files(21)
    files.data |= more.data
    (longer,) = groups.sources(more.metas, no_large)
    assert len(longer.traces().ids) == 42
    assert set(files.reads.values()) == {1}  # the new file only


def test_what_no_file_has_is_known_from_the_ends() -> None:
    files = Files(20)
    groups = with_ends(files)
    (source,) = groups.sources(files.metas, no_large)
    assert "span.nosuch" not in source.columns
    assert source.bounds("start_ns") == (1, 20)
    assert source.stored_bytes("start_ns") >= 8 * 40
    assert not files.reads
    assert set(files.ends.values()) == {1}
    assert source.read(["start_ns"])["start_ns"].to_pylist() == [1 + row // 2 for row in range(40)]
    more = Files(21)
    files.data |= more.data
    (longer,) = groups.sources(more.metas, no_large)
    assert longer.bounds("start_ns") == (1, 21)
    assert set(files.reads.values()) == set(files.ends.values()) == {1}
    assert len(files.reads) == 20
    assert len(files.ends) == 21


def test_an_end_that_says_nothing_is_read_with_its_file() -> None:
    """Files of earlier versions: without a known end, or without a directory in it."""
    files = Files(3)
    unknown, without, usual = files.metas
    unknown.files[0] = unknown.files[0].model_copy(update={"tail_bytes": 0, "tail_crc32": 0})
    path = f"{without.folder}/data-0000.parquet"
    sink = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(files.data[path])), sink, store_schema=False)
    old = files.data[path] = sink.getvalue().to_pybytes()
    tail = tail_of(old)
    changed = {"size_bytes": len(old), "tail_bytes": tail.size_bytes, "tail_crc32": tail.crc32}
    without.files[0] = without.files[0].model_copy(update=changed)
    (source,) = with_ends(files).sources([unknown, without, usual], no_large)
    assert "span.nosuch" not in source.columns
    assert set(files.reads) == {f"{unknown.folder}/data-0000.parquet", path}
    assert source.read(["start_ns"])["start_ns"].to_pylist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("place", [-100, 100], ids=["its end", "its pages"])
def test_damage_is_noticed_where_it_lies(place: int) -> None:
    """In the end at once, in the pages when they are read; each time the file is named."""
    files = Files(3)
    path = next(iter(files.data))
    data = bytearray(files.data[path])
    data[place] ^= 1
    files.data[path] = bytes(data)
    (source,) = with_ends(files).sources(files.metas, no_large)
    if place > 0:
        assert "span.nosuch" not in source.columns
    with pytest.raises(DamagedError, match="checksum") as err:
        source.read(["start_ns"])
    assert err.value.path == path


def test_ends_are_read_once_though_there_is_no_room_for_files() -> None:
    files = Files(20)
    groups = with_ends(files, files_max=0)
    for number in range(10, 20):
        (source,) = groups.sources(files.metas[:number], no_large)
        assert source.bounds("start_ns") == (1, number)
    assert not files.reads
    assert set(files.ends.values()) == {1}


def test_the_next_group_is_loaded_while_one_is_looked_at() -> None:
    files, room = Files(20), AheadBytes(1 << 20)
    groups = groups_of(files)
    (first,), (second,) = (groups.sources(some, no_large) for some in (files.metas[:10], files.metas[10:]))
    with reading_ahead(ReadAhead(AtOnce(), room)):
        for number, source in enumerate(with_rows_ahead([first, second], sorts=True)):
            paths_of_second = {file.path for file in second.files}
            assert number == 0 or files.reads.keys() >= paths_of_second
            assert source.rows == 20
    assert set(files.reads.values()) == {1}
    assert room.take_bytes(1 << 20)


def test_without_room_columns_of_a_group_are_still_read_once() -> None:
    """A query reads column after column of a group: no limit may make each of them read all files again."""
    files = Files(20)
    (source,) = groups_of(files, columns=0, files_max=0).sources(files.metas, no_large)
    for column in ("start_ns", "duration_ns", "name", "trace_id"):
        source.read([column])
    assert set(files.reads.values()) == {1}


def test_damage_names_the_file() -> None:
    files = Files(3)
    path = next(iter(files.data))
    files.data[path] = files.data[path][:100] + b"!" + files.data[path][101:]
    (source,) = groups_of(files).sources(files.metas, no_large)
    with pytest.raises(DamagedError, match="checksum") as err:
        source.traces()
    assert err.value.path == path


def test_a_storage_that_is_away() -> None:
    def read(*_: Any) -> bytes:
        raise StorageError("away")

    groups = FileGroups(read, ByteCache("test", 1 << 20), 1 << 20, threads=4)
    (source,) = groups.sources([meta(1), meta(2)], no_large)
    with pytest.raises(StorageError, match="away"):
        source.traces()


def test_reads_know_whose_they_are() -> None:
    """Requests are counted for the query that they are made for, also on other threads."""
    query: ContextVar[str] = ContextVar("query", default="nobody's")
    files, seen = Files(5), set()

    def read(path: str, start: int, length: int) -> bytes:
        seen.add(query.get())
        return files.read(path, start, length)

    (source,) = FileGroups(read, ByteCache("test", 1 << 24), 1 << 24, threads=4).sources(files.metas, no_large)
    query.set("mine")
    assert source.rows == len(pa.array(source.read(["name"])["name"]))
    assert seen == {"mine"}
