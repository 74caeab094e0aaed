"""`stretto blocks list|show|check|drop-trace|redact` on a folder and on S3, as an operator runs them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.blocks.listing import shown_bytes
from app.cli.main import main
from tables.blocks.meta import BlockMeta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks
from tables.catalog.cuts import Cut, Cuts
from tables.catalog.index_store import IndexStore
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.storage.storage_servers import BUCKET, StorageServer, s3_server
from tests.query.golden import START_NS, load_table

LOADS = [
    """load
  t1 a    name=GET resource.service.name=web span.user.email=a@b.c
  t2 a    name=GET resource.service.name=web span.user.email=x@y.z
""",
    """load
  t1 b    name=sql resource.service.name=db
  t3 a    name=GET resource.service.name=web span.retries=3
""",
    """load
  t4 a    name=GET span.user.email=x@y.z
""",
]
T1 = b"t1".rjust(16, b"\0").hex()


class Bucket:
    """Two blocks of tenant t, of which one is in the index, and one of another tenant."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        cuts = Cuts(self.store, "e")
        self.metas = [self.flush(n, load, "t" if n < 2 else "other") for n, load in enumerate(LOADS)]
        for n, meta in enumerate(self.metas):
            cuts.write(Cut(0, n, n, (meta.key,), (meta,)))
        IndexStore(self.store).commit("t", lambda index: add_blocks(index, self.metas[:1], {("e", 0): 1}))

    def flush(self, number: int, load: str, tenant: str) -> BlockMeta:
        table = load_table(load)
        starts = table["start_ns"].to_pylist()
        segment = SegmentFile(to_parquet(table), table.num_rows, min(starts), max(starts) + 10**6)
        return write_block(self.store, BlockRange("e", tenant, 0, 1, number, number), [segment])

    def visible(self, tenant: str = "t") -> list[BlockMeta]:
        blocks = BlockList(self.store, "e", ByteCache("cli", 1 << 20))
        blocks.poll([0])
        return blocks.snapshot(tenant).blocks

    def read(self, path: str) -> bytes:
        data = self.store.get(path)
        assert data is not None, path
        return data

    def bytes(self) -> bytes:
        return b"".join(self.read(path) for path in self.store.paths("blocks/") if path.endswith(".parquet"))


@pytest.fixture(scope="module")
def s3() -> Iterator[StorageServer]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.chdir(tmp_path)
    if request.param == "local":
        monkeypatch.setenv("STORAGE_URL", f"file://{tmp_path}/bucket")
        return Bucket(ObjectStore(StorageConfig("local", str(tmp_path / "bucket"))))
    server: StorageServer = request.getfixturevalue("s3")
    prefix = f"cli/{tmp_path.name}"
    monkeypatch.setenv("STORAGE_URL", f"s3://{BUCKET}/{prefix}")
    options = {
        "ENDPOINT": f"http://{server.address}",
        "ACCESS_KEY": "id",
        "SECRET_KEY": "secret",
        "REGION": "us-east-1",
        "FORCEPATHSTYLE": "true",
    }
    for name, value in options.items():
        monkeypatch.setenv(f"STRETTO_STORAGE__TRACE__S3__{name}", value)
    return Bucket(ObjectStore(server.config(prefix)))


def run(*argv: str, code: int = 0) -> None:
    assert main(["blocks", *argv]) == code


def printed(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    run(*argv, code=code)
    return capsys.readouterr().out


def test_list(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "list")
    lines = text.splitlines()
    assert lines[0].split()[:4] == ["TENANT", "BLOCK", "PARTITION", "LEVEL"]
    assert [(line.split()[0], line.split()[-1]) for line in lines[1:4]] == [
        ("other", "cut"), ("t", "index"), ("t", "cut"),
    ]  # fmt: skip
    assert lines[-1].split()[:4] == ["0", "3", "3", "5"]
    found = json.loads(printed(capsys, "list", "--json", "--tenant", "t", "--until", str(START_NS // 10**9 + 1)))
    assert [block["block_id"] for block in found["blocks"]] == [meta.block_id for meta in bucket.metas[:2]]
    assert found["levels"] == [
        {
            "level": 0,
            "blocks": 2,
            "files": 2,
            "spans": 4,
            "size_bytes": sum(meta.size_bytes for meta in bucket.metas[:2]),
        }
    ]
    assert json.loads(printed(capsys, "list", "--json", "--tenant", "nobody"))["blocks"] == []
    assert json.loads(printed(capsys, "list", "--json", "--since", str(START_NS // 10**9 + 10)))["blocks"] == []


def test_show(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    meta = bucket.metas[0]
    text = printed(capsys, "show", meta.block_id[:13])
    assert meta.block_id in text
    assert "data-0000.parquet" in text
    found = json.loads(printed(capsys, "show", meta.block_id, "--json", "--attributes"))
    assert found["meta"]["spans"] == 2
    columns = {column["name"]: column for column in found["columns"]}
    assert columns.keys() == {"resource.service.name", "span.user.email"}
    assert columns["span.user.email"]["files"] == 1
    assert columns["span.user.email"]["stored_bytes"] > 0


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["show", "f" * 36], "no visible block has an id"),
        (["show", ""], "3 blocks have ids"),
        (["drop-trace", "xyz"], "is not a trace id"),
        (["drop-trace", "00"], "is not a trace id"),
        (["drop-trace", "1", "--tenant", "nobody"], "tenant nobody has no blocks"),
        (["redact", "--attribute", "email", "--tenant", "t"], "is not an attribute with its scope"),
        (["check", "--drop-missing"], "needs --repair"),
        (["list", "--blocks", "nowhere"], "has no folder `blocks`"),
    ],
)
@pytest.mark.usefixtures("bucket")
def test_what_cannot_be_done(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    run(*argv, code=1)
    assert words in capsys.readouterr().err


def test_check_and_repair(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert "0 errors, 0 warnings" in printed(capsys, "check")
    bucket.store.delete([bucket.metas[0].path])
    text = printed(capsys, "check", code=1)
    assert f"error: {bucket.metas[0].path} is missing" in text
    assert "--repair" in text
    text = printed(capsys, "check", "--repair")
    assert "is written anew" in text
    assert "0 errors, 0 warnings" in text
    path = bucket.metas[1].path_of(bucket.metas[1].files[0])
    bucket.store.put(path, b"\0" + bucket.read(path)[1:])
    assert json.loads(printed(capsys, "check", "--quick", "--json"))["findings"] == []
    (finding,) = json.loads(printed(capsys, "check", "--json", "--tenant", "t", code=1))["findings"]
    assert (finding["severity"], finding["repair"]) == ("error", "missing")
    printed(capsys, "check", "--repair", "--drop-missing")
    assert [meta.block_id for meta in bucket.visible()] == [bucket.metas[0].block_id]


def test_drop_trace(bucket: Bucket, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """From the block of the index and that of the cut; a second time finds nothing."""
    waited: list[float] = []
    monkeypatch.setattr("app.cli.blocks.removal.time.sleep", waited.append)
    text = printed(capsys, "drop-trace", b"t1".hex(), "--tenant", "t", "--wait")
    assert "2 blocks are written anew" in text
    assert "2 spans are removed" in text
    assert waited == [60.0]
    assert sorted(meta.spans for meta in bucket.visible()) == [1, 1]
    assert [meta.spans for meta in bucket.visible("other")] == [1]
    assert not list(bucket.store.paths(f"{bucket.metas[0].folder}/"))
    assert b"a@b.c" not in bucket.bytes()
    again = json.loads(printed(capsys, "drop-trace", T1, "--tenant", "t", "--json"))
    assert (again["blocks"], again["removed"], again["spans"]) == (0, 0, 0)
    assert "0 errors, 0 warnings" in printed(capsys, "check")


def test_redact(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --wait the replaced blocks stay for readers; of other tenants nothing changes."""
    found = json.loads(printed(capsys, "redact", "--attribute", "span.user.email", "--tenant", "t", "--json"))
    assert (found["blocks"], found["untouched"], found["replaced_left"]) == (1, 1, 1)
    assert sorted(meta.spans for meta in bucket.visible()) == [2, 2]
    (made,) = [meta for meta in bucket.visible() if meta.replaces]
    assert b"a@b.c" not in bucket.read(made.path_of(made.files[0]))
    assert b"x@y.z" in bucket.bytes()
    assert "0 errors, 0 warnings" in printed(capsys, "check")
    # The mark of the block that had nothing is in the index only; nobody looks at it again.
    assert all(found["redaction"] in meta.redactions for meta in bucket.visible())


def test_a_damaged_block_that_may_still_have_it(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    bucket.store.put(bucket.metas[0].path_of(bucket.metas[0].files[0]), b"no")
    run("drop-trace", T1, "--tenant", "t", code=1)
    assert "may still have it" in capsys.readouterr().err


def test_sizes() -> None:
    sizes = [0, 999, 1000, 12_345, 999_000, 10**9, 5 * 10**15]
    assert [shown_bytes(size) for size in sizes] == ["0 B", "999 B", "1 kB", "12.3 kB", "999 kB", "1 GB", "5e+03 TB"]
