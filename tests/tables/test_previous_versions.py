"""Files of earlier versions are read, merged, retained and deleted; those of later ones are refused by name.

testdata/revision-83842bc is what the code of that revision (21 November 2026) wrote: a bucket of three flushes without
checksums and tenant indexes, records of versions 1 and 2, and what its live store noted of its segments.
"""

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from agents.compactor.upkeep import Upkeep
from agents.members.record import MemberRecordError, decode, encode
from query.requests import SearchRequest
from query.results import Inspected
from query.scan.ipc import read_partial, write_partial
from query.search.search import search
from tables.blocks.meta import decode_meta
from tables.catalog.block_list import BlockList
from tables.catalog.changes import replace_blocks
from tables.catalog.tenant_index import INDEX, decode_index, index_path
from tables.errors import DamagedError, WireError
from tables.live.segment_table import SegmentInfo
from tables.merge.merge_blocks import merge_blocks
from tables.wire import record
from tests.helpers.blocks.catalog import Bucket, block_meta
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop
from tests.helpers.querying.members import MEMBER

OLD = Path(__file__).parent / "testdata" / "revision-83842bc"
TRACES = [bytes([number] * 16) for number in range(1, 13)]


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    shutil.copytree(OLD / "bucket", tmp_path / "bucket")
    return Bucket(tmp_path / "bucket")


def traces(blocks: BlockList, query: str = "{ }") -> list[bytes]:
    blocks.poll([0])
    sources = [source for meta in blocks.snapshot("t").blocks for source in blocks.sources(meta)]
    return sorted(one.trace_id for one in search(sources, SearchRequest(query=query, limit=100)).traces)


# ---- earlier versions


def test_a_bucket_is_read_merged_and_retained(bucket: Bucket) -> None:
    """All the way: search, tenant index, merge, and retention, which deletes the objects."""
    assert traces(bucket.reader()) == TRACES
    bucket.fold()
    index = bucket.indexes.latest("t")
    assert index is not None
    old = index.metas()
    assert [(meta.cluster_id, meta.level, meta.received_max_ms) for meta in old] == [("cluster_id", 0, 0)] * 3

    merged = merge_blocks(bucket.store, old, 300).meta
    names = [meta.block_id for meta in old]
    assert bucket.indexes.commit("t", lambda at: replace_blocks(at, [merged], names, 1.0)) is not None
    reader = bucket.reader()
    assert traces(reader) == TRACES
    assert traces(reader, '{ span.http.route = "/r3" && resource.service.name = "shop" }') == TRACES[3::4]
    assert (merged.spans, merged.level, len(reader.snapshot("t").blocks)) == (12, 1, 1)

    # Nothing says when they were received: then retention counts from the end of the spans.
    after_s = merged.end_max_ns / 1e9 + 100
    reader.poll([0])
    upkeep = Upkeep(reader, bucket.indexes, 0.0, 0.0, lambda: after_s)
    upkeep.run("t", 101.0)
    assert traces(reader) == TRACES
    upkeep.run("t", 99.0)
    assert traces(reader) == []
    reader.poll([0])
    upkeep.run("t", 99.0)
    assert list(bucket.store.paths("blocks/t")) == []


@pytest.mark.parametrize("stored", json.loads((OLD / "records.json").read_text()))
def test_records_are_read(stored: dict[str, Any]) -> None:
    info = record.read_headers([(name, value.encode()) for name, value in stored["headers"]])
    assert len(record.decode(base64.b64decode(stored["value"]))) == info.spans == 4
    assert info.runs in ((), (("t", 1), ("u", 3)))
    assert info.partitions == 0  # it did not say yet


@in_loop
async def test_segments_of_the_live_store_are_used_again(tmp_path: Path) -> None:
    """Described without timestamps, counts of partitions and the version of the table."""
    (stored, *_) = json.loads((OLD / "segments.json").read_text())
    (file,) = (OLD / "bucket" / "blocks" / "t" / "4e863484-2f26-5d2a-840c-0bdef2582343").glob("*.parquet")
    with world(tmp_path) as w:
        info = SegmentInfo(**stored | {"schema": 1, "size_bytes": file.stat().st_size})
        w.store._segments.put(info, file.read_bytes())
        w.table.data.db[b"i" + w.store._segments._key(info)] = orjson.dumps(stored)
        w.store._segments.set_sealed_offset(0, 1)
        await w.manager.resume([TP0])
        assert (w.spans(), w.state.next_offset) == (4, 1)


def test_members_of_an_earlier_build_are_there() -> None:
    """Their records lack what came with topics that get more partitions while everything runs. Were they unreadable,
    their partitions would be missing in answers until they are exchanged, too.
    """
    written = orjson.loads(encode(MEMBER))
    for name in ("partition_count", "partitions_written", "record_counts"):
        del written[name]
    found = decode(MEMBER.member_id, orjson.dumps(written))
    assert (found.partitions, found.partition_count, found.record_counts) == (MEMBER.partitions, 0, ())


# ---- later versions


def test_what_later_builds_add_is_ignored() -> None:
    written = orjson.loads(encode(MEMBER))
    written["partitions"] = {number: [*ends, "new"] for number, ends in written["partitions"].items()}
    assert decode(MEMBER.member_id, orjson.dumps(written)) == MEMBER
    data = write_partial(b"kind", {}, Inspected(3, 4), [], None)
    data = data.replace(b'"traces": 3,', b'"tracez": 3,')  # equally long
    assert read_partial(b"kind", data).inspected == Inspected(0, 4)


NEWER = r"a newer version of Stretto has written it: update this process"


def test_a_later_version_is_refused_by_name(bucket: Bucket) -> None:
    meta = block_meta(0, 9)
    with pytest.raises(DamagedError, match=rf"{meta.path} has format 'stretto9'.*{NEWER}"):
        decode_meta(meta.path, meta.model_copy(update={"format": "stretto9"}).encode())
    with pytest.raises(WireError, match=rf"format version b'9' in header `v`.*{NEWER}"):
        record.read_headers([("v", b"9"), ("n", b"1"), ("t", b"0-0")])
    with pytest.raises(MemberRecordError, match=rf"is of version 9; {NEWER}"):
        decode(MEMBER.member_id, orjson.dumps(orjson.loads(encode(MEMBER)) | {"v": 9}))


def test_a_later_index_is_refused_by_name(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever knows the version before answers with it, for this tenant; others are not concerned."""
    bucket.flush(3, 9, "u")
    bucket.fold()
    before = bucket.indexes.latest("t")
    assert before is not None
    monkeypatch.setattr("tables.catalog.tenant_index.INDEX", replace(INDEX, format="stretto-index9"))
    data = replace(before, version=before.version + 1).encode()
    monkeypatch.undo()
    path = index_path("t", before.version + 1)
    with pytest.raises(DamagedError, match=rf"{path} has format 'stretto-index9'.*{NEWER}"):
        decode_index(path, data)
    bucket.store.create(path, data)
    reader = bucket.reader()
    assert traces(reader) == TRACES
    assert len(reader.snapshot("u").blocks) == 1


# What the code of 29 November 2026 (revision 4bd8a1ea) knows of a segment. It refuses a description with more.
FIELDS_OF_SEGMENTS = {
    "tenant",
    "partition",
    "first_offset",
    "last_offset",
    "spans",
    "size_bytes",
    "start_min_ns",
    "end_max_ns",
    "first_timestamp_ms",
    "last_timestamp_ms",
    "partition_count",
}


@in_loop
async def test_earlier_versions_read_segments_after_a_way_back(tmp_path: Path) -> None:
    """A live store that cannot read them would not open the partition, and nobody else would have it."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=12))
        await w.manager.drain(0)
        (info,) = w.state.segments
        written = orjson.loads(w.table.data.db[b"i" + w.store._segments._key(info)])
        assert set(written) == FIELDS_OF_SEGMENTS
        assert w.store._segments.of_partition(0) == [info]


@in_loop
async def test_segments_of_a_later_version_are_made_again(tmp_path: Path) -> None:
    """After a step back the live store starts all the same: Kafka has the spans."""
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        await w.manager.take(message(0, spans=12))
        await w.manager.drain(0)
        (info,) = w.state.segments
        key = b"i" + w.store._segments._key(info)
        kept = orjson.loads(w.table.data.db[key])
        # More than this build knows of: ignored.
        w.table.data.db[key] = orjson.dumps(kept | {"new": 1})
        assert w.store._segments.of_partition(0) == [info]
        assert w.store._segments.copy(info) is not None
        w.table.data.db[key] = orjson.dumps(kept | {"schema": 9})
        w.store._segments.set_sealed_offset(0, 1)
        w.store.release(0)
        await w.manager.resume([TP0])
        assert (w.spans(), w.state.next_offset) == (0, 0)
        await w.manager.take(message(0, spans=12))
        assert w.spans() == 12
