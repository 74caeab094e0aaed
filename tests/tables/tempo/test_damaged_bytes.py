"""Whatever the bytes of a block are: it is imported, or a DamagedError says why not."""

import json
import shutil
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.tempo.imported import local, request, run, span_count
from tests.helpers.tempo.tempo_blocks import TempoBlock

VERSIONS = ("vParquet4", "vParquet5")


def _size(folder: Path) -> None:
    meta = json.loads((folder / "meta.json").read_text())
    meta["size"] = (folder / "data.parquet").stat().st_size
    (folder / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("seed", range(8))
def test_bytes_that_were_changed(tmp_path: Path, version: str, seed: int) -> None:
    random = Random(seed)
    folder = TempoBlock(version, dedicated=[{"n": "http.route"}]).write(tmp_path / "tempo", [request(12)])
    path = folder / "data.parquet"
    whole = path.read_bytes()
    refused = 0
    for number in range(12):
        data = bytearray(whole)
        for _ in range(random.choice((1, 1, 3, 30))):
            data[random.randrange(len(data))] = random.randrange(256)
        path.write_bytes(data[: random.choice((len(data), len(data), random.randrange(len(data))))])
        _size(folder)
        target = local(tmp_path / f"ours{number}")
        _, (ended,) = run(tmp_path / "tempo", target)
        refused += ended.error is not None
        assert span_count(target) == (0 if ended.error else ended.done.spans)
        shutil.rmtree(tmp_path / f"ours{number}", ignore_errors=True)
    assert refused


@pytest.mark.parametrize(
    ("column", "type_"), [("TraceID", pa.int64()), ("ServiceStats", pa.string()), ("rs", pa.list_(pa.string()))]
)
def test_columns_of_other_types(tmp_path: Path, column: str, type_: pa.DataType) -> None:
    folder = TempoBlock().write(tmp_path / "tempo", [request(3)])
    path = folder / "data.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    table = table.set_column(at, column, pa.nulls(len(table), type_))
    pq.write_table(table, path)
    _size(folder)
    _, (ended,) = run(tmp_path / "tempo", target := local(tmp_path / "ours"))
    # Statistics are only checked where they are Tempo's.
    assert (ended.error is None) == (column == "ServiceStats")
    assert span_count(target) == (3 if column == "ServiceStats" else 0)
