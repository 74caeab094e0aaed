"""A bucket as versions before tenant indexes wrote it: read, folded into indexes, merged, and its cuts deleted."""

from pathlib import Path

import pytest

from tables.catalog.cuts import cut_path
from tests.helpers.blocks.catalog import CLUSTER, Bucket, keys

# Written by the version before: two flushes of partition 0, the first of two tenants.
CUTS = {
    0: b'{"last_offset":1,"blocks":["t/dafcd5d9-98df-53bc-940e-00b337fb37ef",'
    b'"u/1e1dae7e-a502-5ea7-84ab-1dd4f82dbb42"],"crc32":4232103790}',
    # A still older one, without a checksum.
    2: b'{"last_offset":2,"blocks":["t/4e863484-2f26-5d2a-840c-0bdef2582343"]}',
}
METAS = {
    "t/dafcd5d9-98df-53bc-940e-00b337fb37ef": b"""{
 "format": "stretto1",
 "block_id": "dafcd5d9-98df-53bc-940e-00b337fb37ef",
 "tenant": "t",
 "cluster_id": "cluster_id",
 "partition": 0,
 "partition_count": 1,
 "first_offset": 0,
 "last_offset": 1,
 "spans": 12,
 "start_min_ns": 0,
 "end_max_ns": 0,
 "size_bytes": 3237,
 "files": [
  {
   "name": "data-0000.parquet",
   "size_bytes": 3237,
   "spans": 12,
   "start_min_ns": 0,
   "end_max_ns": 0,
   "tail_bytes": 1920,
   "tail_crc32": 3570162665
  }
 ],
 "replaces": [],"crc32":3392676033}""",
    "u/1e1dae7e-a502-5ea7-84ab-1dd4f82dbb42": b"""{
 "format": "stretto1",
 "block_id": "1e1dae7e-a502-5ea7-84ab-1dd4f82dbb42",
 "tenant": "u",
 "cluster_id": "cluster_id",
 "partition": 0,
 "partition_count": 1,
 "first_offset": 0,
 "last_offset": 1,
 "spans": 12,
 "start_min_ns": 0,
 "end_max_ns": 0,
 "size_bytes": 3218,
 "files": [
  {
   "name": "data-0000.parquet",
   "size_bytes": 3218,
   "spans": 12,
   "start_min_ns": 0,
   "end_max_ns": 0,
   "tail_bytes": 1920,
   "tail_crc32": 1457453097
  }
 ],
 "replaces": [],"crc32":82257753}""",
    # Without checksums; the cluster id was called epoch.
    "t/4e863484-2f26-5d2a-840c-0bdef2582343": b"""{
 "format": "stretto1",
 "block_id": "4e863484-2f26-5d2a-840c-0bdef2582343",
 "tenant": "t",
 "epoch": "cluster_id",
 "partition": 0,
 "partition_count": 1,
 "first_offset": 2,
 "last_offset": 2,
 "spans": 3,
 "start_min_ns": 5,
 "end_max_ns": 9000000,
 "size_bytes": 900,
 "files": [{"name": "data-0000.parquet", "size_bytes": 900, "spans": 3, "start_min_ns": 5, "end_max_ns": 9000000}],
 "replaces": []}""",
}


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    made = Bucket(tmp_path)
    for first, data in CUTS.items():
        made.store.put(cut_path((CLUSTER, 0), first), data)
    for key, data in METAS.items():
        made.store.put(f"blocks/{key}/meta.json", data)
    return made


def test_a_bucket_of_the_version_before(bucket: Bucket) -> None:
    blocks = bucket.reader()
    blocks.poll([0])
    assert {tenant: keys(blocks.snapshot(tenant)) for tenant in ("t", "u")} == {
        tenant: sorted(key for key in METAS if key.startswith(tenant)) for tenant in ("t", "u")
    }
    assert blocks.flushed_offset(0) == 3
    old = blocks.snapshot("t").blocks
    assert {(meta.level, meta.received_max_ms, meta.newest_ms) for meta in old} == {(0, 0, 0), (0, 0, 9)}

    bucket.fold()
    index = bucket.indexes.latest("t")
    assert index is not None
    assert (index.metas(), index.covered) == (sorted(old, key=lambda meta: meta.first_offset), {(CLUSTER, 0): 3})

    merged = bucket.merge(*index.metas())
    bucket.checkpoint()
    bucket.flush(3, 9, "t")
    bucket.fold()
    bucket.checkpoint()
    bucket.flush(10, 19, "t", "u")
    bucket.fold()
    bucket.checkpoint()
    assert len(list(bucket.store.paths("cuts"))) == 1
    bucket.store.delete([meta.path for meta in old])
    for reader in (blocks, bucket.reader()):
        reader.poll([0])
        assert merged.key in keys(reader.snapshot("t"))
        assert [sum(meta.spans for meta in reader.snapshot(tenant).blocks) for tenant in ("t", "u")] == [32, 22]
        assert reader.flushed_offset(0) == 20
