"""`storage.iceberg` and the storage's own settings, as pyiceberg takes them."""

from pathlib import Path

import pytest

from app.errors import SettingsError
from app.process.iceberg import iceberg_config
from app.settings import load, to_yaml

S3 = {"STORAGE_URL": "s3://bucket/prefix", "STRETTO_STORAGE__TRACE__S3__REGION": "eu-central-1"}
KEYS = {"STRETTO_STORAGE__TRACE__S3__ACCESS_KEY": "k", "STRETTO_STORAGE__TRACE__S3__SECRET_KEY": "s"}
ENDPOINT = {"STRETTO_STORAGE__TRACE__S3__ENDPOINT": "http://minio:9000"}
PATHS = {"STRETTO_STORAGE__TRACE__S3__FORCEPATHSTYLE": "true"}
AZURE = {
    "STORAGE_URL": "az://container",
    "STRETTO_STORAGE__TRACE__AZURE__STORAGE_ACCOUNT_NAME": "me",
    "STRETTO_STORAGE__TRACE__AZURE__STORAGE_ACCOUNT_KEY": "a2V5",
}


@pytest.mark.parametrize(
    ("environ", "file_io"),
    [
        ({}, {}),
        (S3, {"s3.region": "eu-central-1"}),
        (S3 | KEYS, {"s3.region": "eu-central-1", "s3.access-key-id": "k", "s3.secret-access-key": "s"}),
        (
            S3 | ENDPOINT,
            {"s3.region": "eu-central-1", "s3.endpoint": "http://minio:9000", "s3.force-virtual-addressing": "true"},
        ),
        (S3 | ENDPOINT | PATHS, {"s3.region": "eu-central-1", "s3.endpoint": "http://minio:9000"}),
        ({"STORAGE_URL": "gs://bucket"}, {}),
        (AZURE, {"adls.account-name": "me", "adls.account-key": "a2V5"}),
    ],
)
def test_access_to_the_bucket(environ: dict[str, str], file_io: dict[str, str], tmp_path: Path) -> None:
    found = iceberg_config(load(environ | {"STRETTO_STORAGE__ICEBERG__ENABLED": "true"}, tmp_path), 3600)
    assert found is not None
    assert found.file_io == file_io
    assert found.local_catalog == {"type": "sql", "uri": f"sqlite:///{tmp_path}/data/iceberg.db"}
    assert (found.snapshots_kept_s, found.properties) == (3600, {})


def test_off_by_default(tmp_path: Path) -> None:
    assert iceberg_config(load({}, tmp_path), 3600) is None


def test_properties_of_a_catalog(tmp_path: Path) -> None:
    (tmp_path / "stretto.yaml").write_text(
        "storage: {iceberg: {enabled: true, catalog: lake, namespace: traces, columns_max: 200,"
        " properties: {type: rest, uri: 'http://127.0.0.1:8181', credential: 'id:secret'}}}"
    )
    found = iceberg_config(load({}, tmp_path), 60)
    assert found is not None
    assert (found.catalog, found.namespace, found.columns_max) == ("lake", "traces", 200)
    assert found.properties == {"type": "rest", "uri": "http://127.0.0.1:8181", "credential": "id:secret"}


@pytest.mark.parametrize("text", ["type=rest, uri=http://h?a=b", " type=rest,uri=http://h?a=b,"])
def test_properties_from_the_environment(text: str, tmp_path: Path) -> None:
    environ = {"STRETTO_STORAGE__ICEBERG__ENABLED": "true", "STRETTO_STORAGE__ICEBERG__PROPERTIES": text}
    found = iceberg_config(load(environ, tmp_path), 60)
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
