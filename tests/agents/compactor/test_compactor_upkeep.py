"""Leader and executor over a real object store: merges, retention, deletion, checkpoints, and what the dead leave."""

import logging

import pytest

from agents.compactor.job import MERGE, Job
from agents.compactor.tenant_blocks import tenant_blocks
from tests.helpers.blocks.compactors import GRACE_S, RETENTION_S, WINDOW_S, Bucket, Compactor, Reader, merge


@pytest.fixture
def bucket(tmp_path) -> Bucket:
    return Bucket(tmp_path)


def paths(bucket, prefix="blocks"):
    return sorted(bucket.writer.store.paths(prefix))


def folders(bucket):
    return {path.rpartition("/")[0] for path in paths(bucket)}


def test_a_window_becomes_one_block(bucket) -> None:
    """Its blocks are hidden at once, and deleted after the grace period; readers behind by a poll see the old ones."""
    compactor, reader = Compactor(bucket), Reader(bucket)
    for _ in range(3):
        bucket.flush(0, {"a": 5, "b": 2})
    reader.poll()
    old = [meta.block_id for meta in reader.visible("a")]
    assert len(old) == 3
    bucket.now_s += WINDOW_S + 60
    assert compactor.settle() == 2
    reader.check()
    late = Reader(bucket)
    late.check()
    (merged,) = late.visible("a")
    assert (sorted(merged.replaces), merged.level, merged.spans) == (sorted(old), 1, 15)
    assert len(folders(bucket)) == 8
    bucket.now_s += GRACE_S - 1
    compactor.settle()
    assert len(folders(bucket)) == 8
    bucket.now_s += 1
    compactor.settle()
    assert len(folders(bucket)) == 2
    late.poll()
    late.check()


def test_retention(bucket) -> None:
    """A block is hidden when its newest span is too old, and deleted later. A tenant without blocks does no harm."""
    compactor, reader = Compactor(bucket), Reader(bucket)
    bucket.flush(0, {"a": 5})
    bucket.flush(1, {"a": 5})
    compactor.settle()
    bucket.now_s += RETENTION_S
    bucket.flush(0, {"a": 1})
    compactor.settle()
    reader.poll()
    assert len(reader.visible("a")) == 3
    bucket.now_s += 1
    compactor.settle()
    reader.poll()
    assert [meta.spans for meta in reader.visible("a")] == [1]
    bucket.now_s += RETENTION_S + GRACE_S + 1
    compactor.settle()
    bucket.now_s += GRACE_S + 1
    compactor.settle()
    reader.poll()
    assert reader.visible("a") == []
    assert paths(bucket) == []
    bucket.flush(0, {"a": 3})
    reader.poll()
    reader.check()
    assert len(reader.visible("a")) == 1


def test_dry_run(bucket, caplog) -> None:
    """Nothing is hidden or deleted; the log says what would be, once."""
    compactor = Compactor(bucket, dry_run=True)
    bucket.flush(0, {"a": 5})
    bucket.flush(0, {"a": 5})
    bucket.now_s += RETENTION_S + 1
    with caplog.at_level(logging.WARNING):
        assert len(compactor.cycle()) == 1  # merges go on
        compactor.cycle()
    assert len([record for record in caplog.records if "dry run" in record.message]) == 1
    assert "tenant a: 2 blocks" in caplog.text
    reader = Reader(bucket)
    assert sum(meta.spans for meta in reader.visible("a")) == 10


def test_a_job_twice(bucket) -> None:
    """The second time there is nothing to do, and the result of the first stays."""
    compactor, other = Compactor(bucket), Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle()
    assert compactor.run(job) == "done"
    assert other.run(job) == "stale"
    assert compactor.run(job) == "stale"
    reader = Reader(bucket)
    reader.check()
    assert len(reader.visible("a")) == 1


def test_overlapping_jobs(bucket) -> None:
    """Of two that share an input the second is stale, and leaves nothing behind."""
    compactor, other = Compactor(bucket), Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle()
    wider = Job(MERGE, "a", job.block_ids[:2])
    assert compactor.run(wider) == "done"
    before = folders(bucket)
    assert other.run(job) == "stale"
    assert folders(bucket) == before
    Reader(bucket).check()


def test_a_commit_whose_reply_is_lost(bucket) -> None:
    """The client sends it again, and is told that it is there: the merged block is visible, and must stay."""
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle()
    compactor.store.reply_lost = True
    assert compactor.run(job) == "done"
    Reader(bucket).check()


def test_damaged_inputs_are_left_out(bucket) -> None:
    """They do not hold up the others."""
    compactor = Compactor(bucket)
    cuts = [bucket.flush(0, {"a": 5}) for _ in range(4)]
    bad = cuts[1].blocks[0]
    bucket.writer.store.delete([f"blocks/{bad}/data-0000.parquet"])
    (job,) = compactor.cycle()
    assert compactor.run(job) == "done"
    reader = Reader(bucket)
    assert sorted(meta.spans for meta in reader.visible("a")) == [5, 15]


def test_orphans_are_deleted_and_missing_objects_are_told(bucket, caplog) -> None:
    """What is left of a merge that died goes; a block whose objects are gone is damage."""
    compactor = Compactor(bucket)
    cut = bucket.flush(0, {"a": 5})
    bucket.flush(0, {"a": 5})
    store = bucket.writer.store
    store.put("blocks/a/0b0f7f0e-5f6b-5c2a-9a53-2e1f6d0c7a44/data-0000.parquet", b"half")
    store.delete([f"blocks/{cut.blocks[0]}/data-0000.parquet"])
    bucket.now_s = 4_000_000_000.0  # long after the files were written
    kept = Compactor(bucket, retention_s=1e10)
    kept.cycle()
    bucket.now_s += 1800
    with caplog.at_level(logging.INFO):
        kept.cycle()
    assert "0b0f7f0e-5f6b-5c2a-9a53-2e1f6d0c7a44 belonged to nothing" in caplog.text
    assert f"damaged: blocks/{cut.blocks[0]}/data-0000.parquet is missing" in caplog.text
    assert not list(store.paths("blocks/a/0b0f7f0e-5f6b-5c2a-9a53-2e1f6d0c7a44"))
    assert len(folders(bucket)) == 2
    del compactor


def test_flushed_blocks_without_a_cut_stay_while_they_may_count(bucket, caplog) -> None:
    """A flush that takes long: nobody knows yet whether its cut comes."""
    kept = Compactor(bucket, retention_s=1e10)
    bucket.flush(0, {"a": 5})
    cut = bucket.flush(0, {"a": 5})
    path = next(path for path in paths(bucket, "cuts") if path.endswith(f"{cut.first_offset:020d}.json"))
    bucket.writer.store.delete([path])
    bucket.now_s = 4_000_000_000.0
    kept.cycle()
    bucket.now_s += 1800
    with caplog.at_level(logging.WARNING):
        kept.cycle()
    assert "may be needed: it stays" in caplog.text
    assert len(folders(bucket)) == 2


def audited(bucket) -> None:
    """Long after all objects were written."""
    bucket.now_s = 4_000_000_000.0
    kept = Compactor(bucket, retention_s=1e10)
    kept.cycle()
    bucket.now_s += 1800
    kept.cycle()


def test_the_output_of_a_merge_that_may_still_be_shown_stays(bucket) -> None:
    """All of its inputs are visible: somebody may be about to replace them by it. Otherwise it goes."""
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    (job,) = compactor.cycle()
    inputs = tenant_blocks(compactor.blocks, "a").find(job.block_ids)
    merge(compactor.store, inputs)
    merge(compactor.store, inputs[:2])
    assert len(folders(bucket)) == 6
    audited(bucket)
    assert len(folders(bucket)) == 6
    bucket.now_s = 1_700_000_000.0
    assert compactor.run(Job(MERGE, "a", job.block_ids[:2])) == "done"
    audited(bucket)
    # Its inputs are deleted too: their grace period is over.
    assert len(folders(bucket)) == 3
    Reader(bucket).check(1e10)


def test_nothing_is_deleted_while_an_index_cannot_be_read(bucket) -> None:
    """The version before names neither the merged blocks of the newest nor what is made of them."""
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5})
    compactor.settle()
    before = folders(bucket)
    bucket.writer.store.put(paths(bucket, "index/a")[-1], b"garbage")
    audited(bucket)
    assert folders(bucket) == before


def test_checkpoints_and_old_cuts(bucket) -> None:
    """Cuts whose blocks are in indexes are deleted; a reader that begins then sees the same."""
    compactor, reader = Compactor(bucket), Reader(bucket)
    for _ in range(6):
        for partition in range(2):
            bucket.flush(partition, {"a": 2, "b": partition})
        bucket.now_s += 700
        compactor.settle()
        compactor.settle()
        reader.poll()
        reader.check()
        Reader(bucket).check()
    assert len(paths(bucket, "checkpoints")) <= 4
    assert len(paths(bucket, "cuts")) < 8


def test_jobs_of_one_damaged_tenant_hold_up_no_other(bucket, caplog) -> None:
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5, "b": 5})
    compactor.settle()
    (path,) = paths(bucket, "index/a")[-1:]
    bucket.writer.store.put(path, b"garbage")
    for _ in range(4):
        bucket.flush(0, {"a": 5, "b": 5})
    bucket.now_s += RETENTION_S + WINDOW_S
    fresh = Compactor(bucket)
    with caplog.at_level(logging.ERROR):
        fresh.cycle()
    assert "tenant a" in caplog.text
    reader = Reader(bucket)
    assert reader.visible("b") == []


def test_buckets_of_before(tmp_path) -> None:
    """Cuts without the metas of their blocks, blocks that do not say when they were received: merged, and deleted."""
    bucket = Bucket(tmp_path, before=True)
    reader = Reader(bucket)
    for _ in range(5):
        bucket.flush(0, {"a": 3, "b": 1})
    compactor = Compactor(bucket)
    assert compactor.settle() == 2
    reader.poll()
    assert [meta.spans for meta in reader.visible("a")] == [15]
    bucket.now_s += RETENTION_S + 1
    compactor.settle()
    bucket.now_s += GRACE_S + 1
    compactor.settle()
    assert paths(bucket) == []


def test_blocks_of_a_former_kafka_cluster(bucket) -> None:
    """They are merged and deleted as others, though nobody writes more of them."""
    for _ in range(3):
        bucket.flush(0, {"a": 5})
    bucket.cluster_id = "kafka-2"
    compactor, reader = Compactor(bucket), Reader(bucket)
    bucket.now_s += WINDOW_S + 60
    compactor.settle()
    reader.poll()
    (merged,) = reader.visible("a")
    assert (merged.spans, merged.cluster_id) == (15, "kafka-1")
    bucket.now_s += RETENTION_S + 1
    compactor.settle()
    bucket.now_s += GRACE_S + 1
    compactor.settle()
    assert paths(bucket) == []
    assert paths(bucket, "cuts") == []


def test_a_topic_that_got_more_partitions(bucket) -> None:
    """The same partition has other traces then: its blocks of before and after are not merged with each other."""
    compactor, reader = Compactor(bucket), Reader(bucket)
    for count in (2, 2, 8, 8):
        bucket.partition_count = count
        bucket.flush(0, {"a": 5})
    bucket.now_s += WINDOW_S + 60
    assert compactor.settle() == 2
    reader.poll()
    assert sorted((meta.partition_count, meta.spans) for meta in reader.visible("a")) == [(2, 10), (8, 10)]


def test_a_failure_of_one_part_holds_up_no_other(bucket, caplog, monkeypatch) -> None:
    """Neither an error of storage nor a fault of ours in checkpoints, audit or one tenant."""
    compactor = Compactor(bucket)
    for _ in range(4):
        bucket.flush(0, {"a": 5, "b": 5})
    chores = compactor.leader._chores
    for name in ("checkpointer", "audit"):
        monkeypatch.setattr(getattr(chores, name), "run", lambda *_: 1 / 0)
    run = chores.upkeep.run
    monkeypatch.setattr(
        chores.upkeep, "run", lambda name, retention_s: 1 / 0 if name == "a" else run(name, retention_s)
    )
    assert [job.tenant for job in compactor.cycle()] == ["b"]
    assert caplog.text.count("ZeroDivisionError") >= 3
