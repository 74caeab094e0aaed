"""`storage.iceberg` and the storage's own settings, as pyiceberg takes them."""

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.process.iceberg import iceberg_config
from app.settings import load, to_yaml
from tables.storage.object_store import StorageConfig

ENABLED = {"STRETTO_STORAGE__ICEBERG__ENABLED": "true"}
LOCAL = StorageConfig("local", "/blocks")
HOST = {"endpoint": "http://minio:9000", "region": "eu-central-1", "access_key_id": "k", "secret_access_key": "s"}
OF_HOST = {"s3.region": "eu-central-1", "s3.access-key-id": "k", "s3.secret-access-key": "s"}


@pytest.mark.parametrize(
    ("storage", "file_io"),
    [
        (LOCAL, {}),
        (StorageConfig("s3", "b"), {}),
        (
            StorageConfig("s3", "b", options={"region": "r", "session_token": "t"}),
            {"s3.region": "r", "s3.session-token": "t"},
        ),
        (StorageConfig("s3", "b", options=HOST), OF_HOST | {"s3.endpoint": "http://minio:9000"}),
        (
            StorageConfig(
                "s3", "b", options=HOST | {"endpoint": "http://b.minio:9000", "virtual_hosted_style_request": True}
            ),
            OF_HOST | {"s3.endpoint": "http://minio:9000", "s3.force-virtual-addressing": "true"},
        ),
        (StorageConfig("gcs", "b"), {}),
        (StorageConfig("gcs", "b", options={"base_url": "http://gcs:1"}), {"gcs.service.host": "http://gcs:1"}),
        (
            StorageConfig("azure", "c", options={"account_name": "me", "account_key": "a2V5", "endpoint": "https://x"}),
            {"adls.account-name": "me", "adls.account-key": "a2V5"},
        ),
        (
            StorageConfig("azure", "c", options={"account_name": "me", "sas_key": "sv=1"}),
            {"adls.account-name": "me", "adls.sas-token": "sv=1"},
        ),
    ],
)
def test_access_to_the_bucket(storage: StorageConfig, file_io: dict[str, str], tmp_path: Path) -> None:
    found = iceberg_config(load(ENABLED, tmp_path), storage, 3600)
    assert found is not None
    assert found.file_io == file_io
    assert found.local_catalog == {"type": "sql", "uri": f"sqlite:///{tmp_path}/data/iceberg.db"}
    assert (found.snapshots_kept_s, found.properties) == (3600, {})


def test_off_by_default(tmp_path: Path) -> None:
    assert iceberg_config(load({}, tmp_path), LOCAL, 3600) is None


def test_properties_of_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "stretto.yaml").write_text(
        "storage: {iceberg: {enabled: true, catalog: lake, namespace: traces, columns_max: 200,"
        " properties: {type: rest, uri: 'http://127.0.0.1:8181', credential: 'id:secret'}}}"
    )
    found = iceberg_config(load({}, tmp_path), LOCAL, 60)
    assert found is not None
    assert (found.catalog, found.namespace, found.columns_max) == ("lake", "traces", 200)
    assert found.properties == {"type": "rest", "uri": "http://127.0.0.1:8181", "credential": "id:secret"}


@pytest.mark.parametrize("text", ["type=rest, uri=http://h?a=b", " type=rest,uri=http://h?a=b,"])
def test_properties_from_the_environment(text: str, tmp_path: Path) -> None:
    environ = {"STRETTO_STORAGE__ICEBERG__ENABLED": "true", "STRETTO_STORAGE__ICEBERG__PROPERTIES": text}
    found = iceberg_config(load(environ, tmp_path), LOCAL, 60)
    assert found is not None
    assert found.properties == {"type": "rest", "uri": "http://h?a=b"}


@pytest.mark.parametrize("text", ["rest", "=rest", "type=rest,secret"])
def test_properties_that_are_none(text: str, tmp_path: Path) -> None:
    """The value may be secret: it is not shown."""
    with pytest.raises(SettingsError, match="expected a mapping, or name=value, separated by commas") as caught:
        load({"STRETTO_STORAGE__ICEBERG__PROPERTIES": text}, tmp_path)
    assert "got a value that is not shown" in str(caught.value)


def test_secrets_are_masked(tmp_path: Path) -> None:
    settings = load({"STRETTO_STORAGE__ICEBERG__PROPERTIES": "credential=hush"}, tmp_path)
    assert "hush" not in to_yaml(settings)
    assert "credential: '***'" in to_yaml(settings)
