"""The compactor's process updates Iceberg tables if the settings want it."""

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.settings import load
from app.targets import compactor
from app.targets.compactor import iceberg_updates
from benchmarks.workload import Options, requests
from tables.storage.object_store import ObjectStore, StorageConfig
from tests.helpers.blocks.iceberg import IcebergBucket, by_hand, by_polars

ENABLED = {"STRETTO_STORAGE__ICEBERG__ENABLED": "true", "STRETTO_STORAGE__ICEBERG__NAMESPACE": "lake"}
(BODY,) = [body for body, _ in requests(Options(spans=50, spans_per_request=1000))]


def test_tables_are_made_with_the_settings(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    settings = load(ENABLED, tmp_path)
    store = ObjectStore(StorageConfig("local", str(settings.storage.trace.local.path)))
    updates = iceberg_updates(settings, store)
    assert updates is not None
    # The same blocks as another process would see them: their table is the one of the settings.
    bucket = IcebergBucket(store, tmp_path / "data", namespace="lake")
    bucket.flush(BODY)
    updates.show(bucket.index)
    assert updates.wait()
    updates.end()
    assert by_polars(bucket.table, reader_override="native") == by_hand([BODY])


def test_off_by_default(tmp_path: Path) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path / "blocks")))
    assert iceberg_updates(load({}, tmp_path), store) is None


def test_a_start_without_pyiceberg_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compactor, "find_spec", lambda _: None)
    with pytest.raises(SettingsError, match="needs pyiceberg: install stretto with its extra `iceberg`"):
        compactor.build(load(ENABLED, tmp_path), None)
