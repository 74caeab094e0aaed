"""`stretto explain`."""

from pathlib import Path

import pyarrow as pa
import pytest

from app.cli.main import main
from tables.blocks.meta import BlockMeta, FileMeta
from tables.catalog.cuts import Cut, Cuts
from tables.parquet.write import to_parquet
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.query.golden import load_table

SPANS = """load
  t1 a    name=GET kind=server duration=2s resource.service.name=web
  t1 b<a  name=sql kind=client duration=20ms resource.service.name=db
"""


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A folder with one block of one tenant."""
    data = bytes(pa.py_buffer(to_parquet(load_table(SPANS))))
    file = FileMeta(name="data-0000.parquet", size_bytes=len(data), spans=2, start_min_ns=0, end_max_ns=2**62)
    meta = BlockMeta(
        block_id="b1",
        tenant="single-tenant",
        cluster_id="e",
        partition=0,
        partition_count=1,
        first_offset=0,
        last_offset=9,
        spans=2,
        start_min_ns=0,
        end_max_ns=2**62,
        size_bytes=len(data),
        files=[file],
    )
    folder = tmp_path / meta.folder
    folder.mkdir(parents=True)
    (folder / file.name).write_bytes(data)
    (tmp_path / meta.path).write_bytes(meta.encode())
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    Cuts(store, meta.cluster_id).write(Cut(0, 0, 9, (meta.key,), (meta,)))
    return tmp_path


def test_plan_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --blocks nothing is read, no settings either."""
    assert main(["explain", "{ kind = server && duration > 1s }"]) == 0
    out = capsys.readouterr().out
    assert "kind = server" in out
    assert "duration_ns" in out
    assert "row groups" not in out


@pytest.mark.parametrize(
    ("query", "found"),
    [("{ kind = server && duration > 1s }", "1 traces"), ("{ } | rate() by (name)", "2 series over the whole time")],
)
def test_over_blocks(query: str, found: str, storage: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What was read, and how long it took."""
    assert main(["explain", query, "--blocks", str(storage)]) == 0
    out = capsys.readouterr().out
    assert "1 row groups of tenant single-tenant, 2 spans" in out
    assert f"first run     {found}" in out
    assert "1 scanned, 2 rows" in out
    assert "evaluate" in out


def test_blocks_of_the_settings(storage: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    """--blocks without a folder: where the settings say that blocks are."""
    monkeypatch.setenv("STRETTO_STORAGE__TRACE__LOCAL__PATH", str(storage))
    assert main(["explain", "{ }", "--blocks"]) == 0
    assert "1 row groups" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["{ nosuch = 1 }"], "unknown field nosuch"), (["{ }", "--blocks", "nowhere"], "nowhere has no folder `blocks`")],
)
def test_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 1, the reason on stderr."""
    assert main(["explain", *arguments]) == 1
    assert said in capsys.readouterr().err
