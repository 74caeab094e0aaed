"""What docs/parquet.md says: DuckDB, polars and pyarrow read the blocks, whatever columns each file has."""

import re
from pathlib import Path
from typing import Any

import pytest

from tables.blocks.meta import decode_meta
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.changes import add_blocks, replace_blocks
from tables.catalog.index_delta import is_delta
from tables.catalog.index_store import Folding, IndexStore
from tables.parquet.write import to_parquet
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.files import ROOT
from tests.query.golden import load_table

DOCS = ROOT / "docs" / "parquet.md"
FILES = [
    """load
  t1 a    name=GET duration=2s resource.service.name=web span.http.response.status_code=200
  t1 b<a  name=sql resource.service.name=db span.db.system=pg
""",
    """load
  t2 a    name=GET resource.service.name=web span.http.response.status_code=500 span.http.response.status_code=oops
  t3 a    name=GET resource.service.name=web span.list=["a","b"]
""",
    """load
  t4 a    name=GET span.flag=true event=exception@5ms
""",
]
COUNTED = [("db", 1, None), ("web", 3, 350.0), (None, 1, None)]


def examples(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A block a file; each has other columns."""
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    for number, text in enumerate(FILES):
        table = load_table(text)
        segment = SegmentFile(to_parquet(table), table.num_rows, 0, 1)
        write_block(store, BlockRange("e", "single-tenant", 0, 1, number, number), [segment])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(code: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(code, names)  # what the docs say is what is tried
    return names


def rows(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return sorted((tuple(row.values()) for row in found), key=lambda row: (row[0] is None, row[0]))


@pytest.mark.usefixtures("bucket")
def test_pyarrow() -> None:
    """Of one file only what it has is known; unified, all."""
    (code,) = [code for code in examples("python") if "pyarrow.dataset" in code]
    found = run(code)["found"]
    columns = ["resource.service.name", "count_all", "span.http.response.status_code:int_mean"]
    assert rows(found.select(columns).to_pylist()) == COUNTED


@pytest.mark.parametrize("deltas", [False, True], ids=["whole", "deltas"])
def test_the_index(bucket: Path, deltas: bool) -> None:
    """The files that the newest version names, and not one that was replaced, however the versions are written."""
    store = ObjectStore(StorageConfig("local", str(bucket)))
    indexes = IndexStore(store, folding=Folding(whole_bytes_min=0, share=9.0) if deltas else Folding())
    metas = [decode_meta(path, store.get(path) or b"") for path in store.paths("blocks") if path.endswith(".json")]
    indexes.commit("single-tenant", lambda index: add_blocks(index, metas[:1], {("e", 0): 1}))
    indexes.commit("single-tenant", lambda index: add_blocks(index, metas, {("e", 0): 3}))
    merged = metas[0].model_copy(update={"block_id": "merged", "level": 1})
    replaced = [meta.block_id for meta in metas[:2]]
    assert indexes.commit("single-tenant", lambda index: replace_blocks(index, [merged], replaced, 0.0)) is not None
    (code,) = [code for code in examples("python") if ".arrow" in code]
    shown = [f"{meta.folder}/{file.name}" for meta in (*metas[2:], merged) for file in meta.files]
    assert sorted(run(code)["files"]) == sorted(shown)
    newest = max((bucket / "index" / "single-tenant").glob("*.arrow"))
    assert is_delta(newest.read_bytes()) == deltas


@pytest.mark.usefixtures("bucket")
def test_polars() -> None:
    """Columns that a file lacks are null, those that were not named do not matter."""
    pytest.importorskip("polars")
    (code,) = [code for code in examples("python") if "polars" in code]
    names = run(code)
    assert rows(names["found"].collect().to_dicts()) == COUNTED


@pytest.mark.usefixtures("bucket")
def test_duckdb() -> None:
    """By name, and a trace by its id."""
    duckdb = pytest.importorskip("duckdb")

    def ask(sql: str) -> Any:
        return duckdb.sql(sql).fetchall()

    by_service, one = examples("sql")
    assert sorted(ask(by_service), key=lambda row: (row[0] is None, row[0])) == COUNTED
    of_docs = "0102030405060708090a0b0c0d0e0f10"
    assert of_docs in one
    assert ask(one) == []
    found = ask(one.replace(of_docs, b"t1".rjust(16, b"\0").hex()))
    assert [(name, ms) for _, name, ms in found] == [("GET", 2000.0), ("sql", found[1][2])]
