"""`stretto blocks files`: the visible files, as other tools take them."""

import json
from pathlib import Path

import duckdb
import pytest

from app.cli.main import main
from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.cuts import Cut, Cuts
from tables.parquet.write import to_parquet
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.urls import object_url
from tables.units import NS_PER_S
from tests.query.golden import load_table

TENANT = "it's (odd)!"


def segment(spans: int, start_s: int) -> SegmentFile:
    rows = "\n".join(f"  t{number} a  name=op{number} span.x{start_s}=1" for number in range(spans))
    table = load_table(f"load\n{rows}\n")
    return SegmentFile(to_parquet(table), spans, start_s * NS_PER_S, (start_s + 10) * NS_PER_S)


class Bucket:
    """Blocks of one partition, one after the other, each with its cut."""

    def __init__(self, folder: Path) -> None:
        self.store = ObjectStore(StorageConfig("local", str(folder)))
        self.cuts = Cuts(self.store, "e")

    def flush(self, number: int, *segments: SegmentFile, tenant: str = TENANT) -> BlockMeta:
        meta = write_block(self.store, BlockRange("e", tenant, 0, 1, number, number), segments)
        self.cuts.write(Cut(0, number, number, (meta.key,)))
        return meta


@pytest.fixture
def bucket(tmp_path: Path) -> Bucket:
    return Bucket(tmp_path)


def files(bucket: Bucket, *args: str, tenant: str = TENANT, code: int = 0) -> None:
    assert main(["blocks", "files", "--blocks", bucket.store.config.place, "--tenant", tenant, *args]) == code


def test_urls_of_visible_blocks(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """Not of other tenants, and not of a block that no cut names."""
    new = bucket.flush(1, segment(1, 2000), segment(2, 1000))
    old = bucket.flush(2, segment(3, 500))
    bucket.flush(3, segment(1, 100), tenant="other")
    write_block(bucket.store, BlockRange("e", TENANT, 0, 1, 1, 3), [segment(1, 100)])
    files(bucket)
    folder = f"file://{bucket.store.config.place}"
    paths = [f"{old.folder}/data-0000", f"{new.folder}/data-0000", f"{new.folder}/data-0001"]
    assert capsys.readouterr().out.splitlines() == [f"{folder}/{path}.parquet" for path in paths]


@pytest.mark.parametrize(
    ("args", "spans"),
    [
        ([], [3, 1, 2]),
        (["--since", "1010"], [1, 2]),
        (["--since", "1011"], [1]),
        (["--until", "1001"], [3, 2]),
        (["--until", "1000"], [3]),
        (["--since", "600", "--until", "900"], []),
    ],
)
def test_files_of_a_time(args: list[str], spans: list[int], bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.flush(1, segment(1, 2000), segment(2, 1000))
    bucket.flush(2, segment(3, 500))
    files(bucket, "--format", "json", *args)
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["spans"] for one in found] == spans


def test_a_view_for_duckdb(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.flush(1, segment(1, 2000), segment(2, 1000))
    files(bucket, "--format", "sql", "--view", 'my "spans"')
    with duckdb.connect() as db:
        db.sql(capsys.readouterr().out)
        assert db.sql('SELECT count(*), count("span.x1000:int") FROM "my ""spans"""').fetchall() == [(3, 2)]


def test_a_view_of_nothing(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.flush(1, segment(1, 2000))
    files(bucket, "--format", "sql", tenant="none", code=1)
    assert "tenant none has no visible blocks" in capsys.readouterr().err
    files(bucket, tenant="none")


def test_damaged_blocks_are_named(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.flush(1, segment(1, 2000))
    bad = bucket.flush(2, segment(1, 3000))
    bucket.store.put(bad.path, b"{}")
    files(bucket, code=1)
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert f"left out, cannot be read: {bad.key}" in err


def test_a_folder_without_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["blocks", "files", "--blocks", str(tmp_path / "none")]) == 1
    assert "has no folder `blocks`" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("config", "url"),
    [
        (StorageConfig("local", "/a/b"), "file:///a/b/x/y"),
        (StorageConfig("local", "/a/b", "/p/"), "file:///a/b/p/x/y"),
        (StorageConfig("s3", "b"), "s3://b/x/y"),
        (StorageConfig("s3", "b", "p/q"), "s3://b/p/q/x/y"),
        (StorageConfig("gcs", "b", "p"), "gs://b/p/x/y"),
        (StorageConfig("azure", "c", "", {"account_name": "me"}), "abfss://c@me.dfs.core.windows.net/x/y"),
        (
            StorageConfig(
                "azure", "c", "p", {"account_name": "me", "endpoint": "https://me.blob.core.chinacloudapi.cn"}
            ),
            "abfss://c@me.dfs.core.chinacloudapi.cn/p/x/y",
        ),
    ],
)
def test_object_urls(config: StorageConfig, url: str) -> None:
    assert object_url(config, "x/y") == url
    assert object_url(config, "") == url.removesuffix("/x/y")
