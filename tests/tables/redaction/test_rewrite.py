"""Blocks written anew: the rows that are left, metas and filters that are true, the same objects each time."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tables.blocks.bloom import FilterQuestion, bloom_path, checked_filter, filter_ranges, inline_filter
from tables.blocks.meta import BlockMeta, decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.errors import DamagedError
from tables.parquet.write import to_parquet
from tables.redaction.rewrite import redacted_block_id, rewrite_block
from tables.redaction.rules import Redaction
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.query.golden import load_table

FILES = [
    """load
  t1 a    name=GET duration=2s resource.service.name=web span.email=a@b.c
  t1 b<a  name=sql resource.service.name=db
  t2 a    name=GET resource.service.name=web span.email=x@y.z span.email=7
""",
    """load
  t3 a    name=GET resource.service.name=web
""",
    "load\n" + "".join(f"  t{number} a name=x span.n={number}\n" for number in range(10, 99)),
]


def trace(name: str) -> str:
    return name.encode().rjust(16, b"\0").hex()


@pytest.fixture
def store(tmp_path) -> ObjectStore:
    return ObjectStore(StorageConfig("local", str(tmp_path)))


def written(store: ObjectStore) -> BlockMeta:
    segments = []
    for text in FILES:
        table = load_table(text)
        starts = table["start_ns"].to_pylist()
        segments.append(SegmentFile(to_parquet(table), table.num_rows, min(starts), max(starts) + 10**7))
    return write_block(store, BlockRange("e", "t", 0, 1, 5, 9), segments)


def spans(store: ObjectStore, meta: BlockMeta) -> list[tuple[str, str]]:
    """(trace, span) of all rows; checks what the meta says of its files."""
    assert decode_meta(meta.path, store.get(meta.path)) == meta
    found = []
    for number, file in enumerate(meta.files):
        data = store.get(f"{meta.folder}/{file.name}")
        table = pq.read_table(pa.BufferReader(data))
        ids = table["trace_id"].to_pylist()
        assert (len(data), table.num_rows) == (file.size_bytes, file.spans)
        assert (min(ids).hex(), max(ids).hex()) == (file.trace_id_min, file.trace_id_max)
        data = inline_filter(meta, file)
        if data is None:
            start, length = filter_ranges(meta.files)[number]
            data = checked_filter(meta, file, store.get(bloom_path(meta))[start : start + length])
        assert all(FilterQuestion(one).may_be_in(data) for one in ids)
        found += [
            (one.hex(), span.decode().strip("\0")) for one, span in zip(ids, table["span_id"].to_pylist(), strict=True)
        ]
    assert meta.spans == len(found)
    assert meta.size_bytes == sum(file.size_bytes for file in meta.files)
    return found


def test_a_trace_is_removed(store: ObjectStore) -> None:
    meta = written(store)
    before = spans(store, meta)
    redaction = Redaction(trace_id=trace("t1"))
    made = rewrite_block(store, meta, [redaction])
    assert (made.spans, made.files) == (2, 1)
    assert spans(store, made.meta) == [one for one in before if one[0] != trace("t1")]
    assert made.meta.block_id == redacted_block_id(meta.block_id, [redaction]) != meta.block_id
    assert (made.meta.replaces, made.meta.redactions) == ([meta.block_id], [redaction.id])
    assert made.meta.files[1:] == meta.files[1:]
    assert made.meta.files[0].start_min_ns > meta.files[0].start_min_ns
    keep = ("first_offset", "last_offset", "level", "partition", "partition_count", "tenant", "cluster_id")
    assert all(getattr(made.meta, name) == getattr(meta, name) for name in keep)
    objects = {path: store.get(path) for path in store.paths(made.meta.folder)}
    assert rewrite_block(store, meta, [redaction]) == made
    assert {path: store.get(path) for path in store.paths(made.meta.folder)} == objects
    assert spans(store, meta) == before  # for readers that have begun


def test_an_attribute_is_removed(store: ObjectStore) -> None:
    """From the files that have it; a value where only that is asked for."""
    meta = written(store)
    made = rewrite_block(store, meta, [Redaction(attribute="span.email")])
    assert (made.spans, made.files) == (0, 1)
    columns = pq.read_schema(pa.BufferReader(store.get(f"{made.meta.folder}/{made.meta.files[0].name}"))).names
    assert not [name for name in columns if "email" in name]
    assert spans(store, made.meta) == spans(store, meta)
    made = rewrite_block(store, meta, [Redaction(attribute="span.email", value="a@b.c")])
    table = pq.read_table(pa.BufferReader(store.get(f"{made.meta.folder}/{made.meta.files[0].name}")))
    left = {name: table[name].to_pylist() for name in table.column_names if "email" in name}
    assert (
        left["span.email"] == [None, None, None if "span.email:int" in left else "x@y.z"]
        or left["span.email"][0] is None
    )
    assert b"a@b.c" not in store.get(f"{made.meta.folder}/{made.meta.files[0].name}")


def test_a_file_and_a_block_of_which_nothing_is_left(store: ObjectStore) -> None:
    meta = written(store)
    made = rewrite_block(store, meta, [Redaction(trace_id=trace("t3"))])
    assert [file.name for file in made.meta.files] == ["data-0000.parquet", "data-0002.parquet"]
    spans(store, made.meta)
    made = rewrite_block(store, meta, [Redaction()])
    assert (made.meta, made.spans) == (None, meta.spans)


@pytest.mark.parametrize(
    "redaction",
    [
        Redaction(trace_id=trace("t4")),
        Redaction(attribute="span.phone"),
        Redaction(attribute="span.email", value="nobody"),
        Redaction(attribute="resource.email"),
        Redaction(trace_id=trace("t1"), until_ns=5),
        Redaction(trace_id=trace("t3"), attribute="span.email"),
    ],
)
def test_nothing_is_written_where_nothing_is_removed(store: ObjectStore, redaction: Redaction) -> None:
    meta = written(store)
    before = sorted(store.paths("blocks"))
    assert rewrite_block(store, meta, [redaction]) is None
    assert sorted(store.paths("blocks")) == before


@pytest.mark.parametrize("place", [4, 200, -1, -30])
def test_a_damaged_file_is_not_copied(store: ObjectStore, tmp_path, place: int) -> None:
    """What cannot be read right might still have what is to be removed."""
    meta = written(store)
    path = tmp_path / meta.folder / "data-0002.parquet"
    data = bytearray(path.read_bytes())
    data[place] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(DamagedError, match="data-0002"):
        rewrite_block(store, meta, [Redaction(trace_id=trace("t1")), Redaction(attribute="span.n")])
    path.unlink()
    with pytest.raises(DamagedError, match="data-0002"):
        rewrite_block(store, meta, [Redaction(trace_id=trace("t1"))])
    assert (
        store.get(f"blocks/t/{redacted_block_id(meta.block_id, [Redaction(trace_id=trace('t1'))])}/meta.json") is None
    )
