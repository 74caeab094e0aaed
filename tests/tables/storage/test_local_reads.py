"""Reads of local files: the same bytes and errors as obstore's, for paths that are names as they stand."""

import os
from pathlib import Path

import pytest

from tables.errors import DamagedError, StorageError
from tables.storage.local_reads import LocalReads
from tables.storage.object_store import ObjectStore, StorageConfig

DATA = bytes(range(256)) * 20


@pytest.mark.parametrize("prefix", ["", "some/prefix/"])
@pytest.mark.parametrize("name", ["file.parquet", "data-0000-1a2b.parquet", "odd name", "%2F", "ü~+", "a=b"])
def test_any_name_and_range(tmp_path: Path, name: str, prefix: str) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path), prefix))
    path = f"blocks/t/{name}"
    store.put(path, DATA)
    ranges = [(0, 1), (5000, 120), (0, len(DATA)), (17, 300)]
    found = store.get_ranges(path, ranges)
    assert [bytes(one) for one in found] == [DATA[start : start + length] for start, length in ranges]


def test_what_is_missing_or_too_short(tmp_path: Path) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    with pytest.raises(DamagedError, match="is missing"):
        store.get_ranges("blocks/none", [(0, 1)])
    store.put("blocks/file", DATA)
    for ranges in ([(0, len(DATA) + 1)], [(len(DATA), 1)], [(0, 1), (len(DATA) + 9, 1)]):
        with pytest.raises(DamagedError, match="is shorter"):
            store.get_ranges("blocks/file", ranges)
    with pytest.raises(StorageError):
        store.get_ranges("blocks", [(0, 1)])


@pytest.mark.parametrize(
    "path", ["../secret", "a/../../secret", "/secret", "./a", "a//b", "", "a/", "a/./b", "ü", "a b"]
)
def test_nothing_else_is_read(path: str) -> None:
    assert not LocalReads.knows(path)


def test_reads_that_end_early_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(DATA)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda file, length, start: pread(file, min(length, 1000), start))
    assert LocalReads(tmp_path).read("file", [(10, 4000), (5000, 500)]) == [DATA[10:4010], DATA[5000:5120]]
