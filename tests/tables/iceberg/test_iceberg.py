"""An Iceberg table over the files of blocks: other engines count from it what was sent, whatever was compacted."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from benchmarks.workload import Options, requests
from tables.errors import StorageError
from tables.iceberg.sync import IcebergChange, data_files
from tables.iceberg.tables import IcebergError
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.iceberg import IcebergBucket, by_hand, by_polars, by_pyiceberg
from tests.helpers.storage.moto_s3 import MotoS3, moto_s3

# Requests of the bookshop; each has attributes that the others have not.
BODIES = [body for body, _ in requests(Options(spans=500, spans_per_request=100))][:5]
NOTHING = IcebergChange()


@pytest.fixture(scope="module")
def s3() -> Iterator[MotoS3]:
    with moto_s3() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> IcebergBucket:
    if request.param == "local":
        return local_bucket(tmp_path)
    s3 = request.getfixturevalue("s3")
    return IcebergBucket(s3.store(f"some/{request.node.name}"), tmp_path, s3)


def local_bucket(folder: Path, **config: Any) -> IcebergBucket:
    return IcebergBucket(ObjectStore(StorageConfig("local", str(folder / "bucket"))), folder, **config)


def check(bucket: IcebergBucket, *bodies: bytes) -> None:
    """All engines count what was sent: pyiceberg, and polars, whose planner and reader are its own."""
    expected = by_hand(bodies)
    assert by_pyiceberg(bucket.table) == expected
    assert by_polars(bucket.table, reader_override="native", storage_options=bucket.options) == expected


def test_flushes_compaction_and_retention(bucket: IcebergBucket) -> None:
    """Each is one snapshot, and no file is copied."""
    first, second = bucket.flush(BODIES[0]), bucket.flush(BODIES[1])
    assert bucket.sync() == IcebergChange(added=4)
    check(bucket, *BODIES[:2])
    merged = bucket.compact([*first, *second])
    third = bucket.flush(BODIES[2])
    assert bucket.sync() == IcebergChange(added=4, removed=4)
    check(bucket, *BODIES[:3])
    bucket.remove(merged)
    assert bucket.sync() == IcebergChange(removed=2)
    check(bucket, BODIES[2])
    table = bucket.table
    assert len(table.metadata.snapshots) == 3
    assert table.current_snapshot().summary["stretto.index-version"] == "5"
    paths = {f"{meta.folder}/{file.name}" for meta in third for file in meta.files}
    assert {url.partition("/blocks/")[2] for url in data_files(table)} == {path[len("blocks/") :] for path in paths}
    assert not [path for path in bucket.store.paths("iceberg") if path.endswith(".parquet")]
    # Who reads an older snapshot reads it on, as long as the files are there.
    then = table.scan(snapshot_id=table.metadata.snapshots[0].snapshot_id).to_arrow()
    assert len(then) == sum(count for count, *_ in by_hand(BODIES[:2])["services"].values())


def test_what_is_done_is_not_done_again(bucket: IcebergBucket) -> None:
    """Neither by the same process, nor by one that knows nothing."""
    bucket.flush(BODIES[0])
    assert bucket.sync() == IcebergChange(added=2)
    assert bucket.sync() == NOTHING
    assert bucket.another().sync(bucket.index) == NOTHING
    assert len(bucket.table.metadata.snapshots) == 1


def test_blocks_that_the_index_does_not_cover_yet(tmp_path: Path) -> None:
    bucket = local_bucket(tmp_path)
    bucket.flush(BODIES[0])
    before = bucket.index
    late = bucket.flush(BODIES[1])
    assert bucket.tables.sync(before, late) == IcebergChange(added=4)
    check(bucket, *BODIES[:2])
    assert bucket.sync() == NOTHING


def test_two_at_once(tmp_path: Path) -> None:
    """Of those that add the same file one wins; the others look again, and find it there."""
    bucket = local_bucket(tmp_path)
    flushed = [*bucket.flush(BODIES[0]), *bucket.flush(BODIES[1])]
    bucket.sync()
    bucket.compact(flushed)
    bucket.flush(BODIES[2])
    others = [bucket.another() for _ in range(4)]
    with ThreadPoolExecutor(len(others)) as threads:
        done = list(threads.map(lambda tables: tables.sync(bucket.index), others))
    assert sorted(change.added for change in done) == [0, 0, 0, 4]
    check(bucket, *BODIES[:3])


def test_a_commit_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = local_bucket(tmp_path)
    bucket.flush(BODIES[0])
    bucket.sync()
    late = bucket.flush(BODIES[1])

    def away(*_: Any) -> None:
        raise ConnectionError("the catalog is away\nand more")

    with monkeypatch.context() as patched:
        patched.setattr(type(bucket.tables._catalog), "commit_table", away)
        with pytest.raises(IcebergError, match=r"cannot update .* of tenant single-tenant: the catalog is away$"):
            bucket.sync()
    check(bucket, BODIES[0])
    assert bucket.sync() == IcebergChange(added=len(late))
    check(bucket, *BODIES[:2])


def test_many_files_come_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever stops in the middle goes on there."""
    bucket = local_bucket(tmp_path)
    for body in BODIES:
        bucket.flush(body)
    monkeypatch.setattr("tables.iceberg.sync._FILES_AT_ONCE", 4)
    commits = []
    commit = type(bucket.tables._catalog).commit_table

    def second_fails(self: Any, *args: Any) -> Any:
        commits.append(1)
        if len(commits) == 2:
            raise ConnectionError("away")
        return commit(self, *args)

    monkeypatch.setattr(type(bucket.tables._catalog), "commit_table", second_fails)
    with pytest.raises(IcebergError):
        bucket.sync()
    assert len(data_files(bucket.table)) == 4
    assert bucket.sync() == IcebergChange(added=6)
    assert len(bucket.table.metadata.snapshots) == 3
    check(bucket, *BODIES)


def test_a_process_that_ends_does_not_wait_for_many_files(tmp_path: Path) -> None:
    bucket = local_bucket(tmp_path)
    bucket.flush(BODIES[0])
    bucket.tables.cancel()
    with pytest.raises(IcebergError, match="was cancelled"):
        bucket.sync()
    assert data_files(bucket.table) == {}
    assert bucket.another().sync(bucket.index) == IcebergChange(added=2)


def test_a_lost_catalog(bucket: IcebergBucket, tmp_path: Path) -> None:
    """The table goes on with its history."""
    bucket.flush(BODIES[0])
    bucket.sync()
    for file in tmp_path.glob("iceberg.db*"):
        file.unlink()
    bucket.flush(BODIES[1])
    assert bucket.another().sync(bucket.index) == IcebergChange(added=2)
    assert len(bucket.table.metadata.snapshots) == 2
    check(bucket, *BODIES[:2])


def test_old_snapshots_and_manifests_go(tmp_path: Path) -> None:
    """The folder does not grow with the number of changes."""
    bucket = local_bucket(tmp_path, snapshots_kept_s=0)
    live = []
    for number in range(21):
        live += bucket.flush(BODIES[number % 2])
        bucket.sync()
        if number % 4 == 3:
            live = bucket.compact(live)
            bucket.sync()
    table = bucket.table
    assert len(table.metadata.snapshots) == 1
    manifests = table.current_snapshot().manifests(table.io)
    assert len(manifests) == 2  # of the last compaction, and of the flush after it
    there = [path for path in bucket.store.paths("iceberg") if path.endswith(".avro")]
    assert len(there) == len(manifests) + 1
    check(bucket, *BODIES[:2], BODIES[0])  # compaction keeps once what came ten times


def test_a_damaged_file_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """And comes when it is whole again."""
    bucket = local_bucket(tmp_path)
    bucket.flush(BODIES[0])
    damaged = bucket.flush(BODIES[1])
    paths = [f"{meta.folder}/{file.name}" for meta in damaged for file in meta.files]
    whole = {path: bucket.store.get(path) for path in paths}
    for path, data in whole.items():
        assert data is not None
        bucket.store.put(path, data[:-8])
    assert bucket.sync() == IcebergChange(added=2, left_out=2)
    assert f"left out of the Iceberg table of tenant single-tenant: {paths[0]}" in caplog.text
    check(bucket, BODIES[0])
    for path, data in whole.items():
        bucket.store.put(path, data)
    assert bucket.sync() == IcebergChange(added=2)
    check(bucket, *BODIES[:2])


def test_the_hint_names_the_newest_metadata(tmp_path: Path) -> None:
    """For readers without the catalog."""
    bucket = local_bucket(tmp_path)
    for body in BODIES[:2]:
        bucket.flush(body)
        bucket.sync()
        hint = bucket.store.get("iceberg/single-tenant/metadata/version-hint.text")
        assert hint is not None
        path = f"{tmp_path}/bucket/iceberg/single-tenant/metadata/{hint.decode()}.metadata.json"
        assert path == bucket.table.metadata_location.removeprefix("file://")
    assert by_polars(path) == by_hand(BODIES[:2])


def test_tenants_with_odd_names(tmp_path: Path) -> None:
    bucket = local_bucket(tmp_path, tenant="it's.(odd)!*")
    bucket.flush(BODIES[0])
    assert bucket.sync() == IcebergChange(added=2)
    check(bucket, BODIES[0])


def test_without_pyiceberg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiceberg.catalog", None)
    with pytest.raises(IcebergError, match="install stretto with its extra `iceberg`"):
        local_bucket(tmp_path)


def test_a_catalog_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot open the Iceberg catalog stretto: "):
        local_bucket(tmp_path, properties={"type": "no-such-type"})
