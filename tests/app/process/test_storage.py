"""The settings of storage → what is opened."""

from pathlib import Path
from typing import Any

import pytest

from app.errors import SettingsError
from app.process.storage import anonymous_key, storage_config
from app.settings import load
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore

S3 = "STRETTO_STORAGE__TRACE__S3__"
GCS = "STRETTO_STORAGE__TRACE__GCS__"
AZURE = "STRETTO_STORAGE__TRACE__AZURE__"


@pytest.mark.parametrize(
    ("environment", "backend", "place", "prefix", "options"),
    [
        pytest.param(
            {"STORAGE_URL": "s3://bucket/a/b"},
            "s3",
            "bucket",
            "a/b",
            {"virtual_hosted_style_request": True},
            id="s3 by its own look-ups",
        ),
        pytest.param(
            {
                "STORAGE_URL": "s3://bucket",
                f"{S3}ENDPOINT": "minio:9000",
                f"{S3}INSECURE": "true",
                f"{S3}FORCEPATHSTYLE": "true",
                f"{S3}ACCESS_KEY": "id",
                f"{S3}SECRET_KEY": "secret",
                f"{S3}SESSION_TOKEN": "token",
                f"{S3}REGION": "eu-central-1",
            },
            "s3",
            "bucket",
            "",
            {
                "endpoint": "http://minio:9000",
                "region": "eu-central-1",
                "access_key_id": "id",
                "secret_access_key": "secret",
                "session_token": "token",
                "virtual_hosted_style_request": False,
                "client_options": {"allow_http": True},
            },
            id="s3 of another server",
        ),
        pytest.param(
            {"STORAGE_URL": "s3://bucket", f"{S3}SSE__TYPE": "SSE-KMS", f"{S3}SSE__KMS_KEY_ID": "key"},
            "s3",
            "bucket",
            "",
            {
                "virtual_hosted_style_request": True,
                "server_side_encryption": "aws:kms",
                "sse_kms_key_id": "key",
            },
            id="s3 with a key of KMS",
        ),
        pytest.param(
            {"STORAGE_URL": "s3://bucket", f"{S3}SSE__TYPE": "SSE-C", f"{S3}SSE__ENCRYPTION_KEY": "k" * 32},
            "s3",
            "bucket",
            "",
            {
                "virtual_hosted_style_request": True,
                "server_side_encryption": "sse-c",
                "sse_customer_key_base64": "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=",
            },
            id="s3 with a key of our own",
        ),
        pytest.param({"STORAGE_URL": "gs://bucket/p"}, "gcs", "bucket", "p", {}, id="gcs"),
        pytest.param(
            {"STORAGE_URL": "gs://bucket", f"{GCS}ENDPOINT": "http://127.0.0.1:4443", f"{GCS}INSECURE": "true"},
            "gcs",
            "bucket",
            "",
            {
                "service_account_key": anonymous_key("http://127.0.0.1:4443"),
                "client_options": {"allow_http": True, "allow_invalid_certificates": True},
            },
            id="gcs emulator",
        ),
        pytest.param(
            {"STORAGE_URL": "gs://bucket", f"{GCS}ENDPOINT": "https://storage.googleapis.com/storage/v1/"},
            "gcs",
            "bucket",
            "",
            {"base_url": "https://storage.googleapis.com"},
            id="gcs by the endpoint of Tempo's examples",
        ),
        pytest.param(
            {
                "STORAGE_URL": "az://container/p",
                f"{AZURE}STORAGE_ACCOUNT_NAME": "account",
                f"{AZURE}STORAGE_ACCOUNT_KEY": "a2V5",
            },
            "azure",
            "container",
            "p",
            {
                "account_name": "account",
                "account_key": "a2V5",
                "endpoint": "https://account.blob.core.windows.net",
            },
            id="azure",
        ),
        pytest.param(
            {
                "STORAGE_URL": "az://container",
                f"{AZURE}STORAGE_ACCOUNT_NAME": "account",
                f"{AZURE}ENDPOINT_SUFFIX": "azurite:10000",
                f"{AZURE}SAS_TOKEN": "?sv=2024&sig=a%2Bb",
            },
            "azure",
            "container",
            "",
            {
                "account_name": "account",
                "sas_key": "sv=2024&sig=a%2Bb",
                "endpoint": "http://azurite:10000/account",
                "client_options": {"allow_http": True},
            },
            id="azure emulator",
        ),
        pytest.param(
            {
                "STORAGE_URL": "az://container",
                f"{AZURE}STORAGE_ACCOUNT_NAME": "account",
                f"{AZURE}USE_MANAGED_IDENTITY": "true",
                f"{AZURE}USER_ASSIGNED_ID": "me",
            },
            "azure",
            "container",
            "",
            {
                "account_name": "account",
                "endpoint": "https://account.blob.core.windows.net",
                "credential_type": "managed_identity",
                "client_id": "me",
            },
            id="azure by a managed identity",
        ),
    ],
)
def test_config(
    environment: dict[str, str], backend: str, place: str, prefix: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Each backend gets its place, and what is set; the store opens with it, without asking anybody."""
    config = storage_config(load(environment, tmp_path).storage.trace)
    assert (config.backend, config.place, config.prefix, config.options) == (backend, place, prefix, options)
    ObjectStore(config)


@pytest.mark.parametrize(
    ("environment", "endpoint", "in_host"),
    [
        pytest.param({}, None, True, id="AWS by region"),
        pytest.param({"FORCEPATHSTYLE": "true"}, None, False, id="AWS, path style"),
        pytest.param(
            {"ENDPOINT": "s3.us-east-2.amazonaws.com"}, "https://bucket.s3.us-east-2.amazonaws.com", True, id="of AWS"
        ),
        pytest.param(
            {"ENDPOINT": "https://bucket.s3.us-east-2.amazonaws.com"},
            "https://bucket.s3.us-east-2.amazonaws.com",
            True,
            id="with the bucket already",
        ),
        pytest.param({"ENDPOINT": "minio:9000"}, "https://minio:9000", False, id="of others"),
        pytest.param(
            {"ENDPOINT": "minio:9000", "BUCKET_LOOKUP_TYPE": "1"},
            "https://bucket.minio:9000",
            True,
            id="of others, DNS",
        ),
        pytest.param(
            {"ENDPOINT": "s3.us-east-2.amazonaws.com", "BUCKET_LOOKUP_TYPE": "2"},
            "https://s3.us-east-2.amazonaws.com",
            False,
            id="of AWS, path",
        ),
    ],
)
def test_the_bucket_is_in_the_host_or_in_the_path(
    environment: dict[str, str], endpoint: str | None, in_host: bool, tmp_path: Path
) -> None:
    variables = {f"{S3}{name}": value for name, value in environment.items()}
    config = storage_config(load({"STORAGE_URL": "s3://bucket", **variables}, tmp_path).storage.trace)
    assert (config.options.get("endpoint"), config.options["virtual_hosted_style_request"]) == (endpoint, in_host)


def test_limits_and_what_is_written_with_objects(tmp_path: Path) -> None:
    environment = {
        "STORAGE_URL": "s3://bucket",
        f"{S3}HEDGE_REQUESTS_AT": "500ms",
        f"{S3}HEDGE_REQUESTS_UP_TO": "3",
        f"{S3}RETRY_MAX_ATTEMPTS": "7",
        f"{S3}TAGS": "team=a, env=b",
        f"{S3}METADATA": "owner=me",
        f"{S3}STORAGE_CLASS": "STANDARD_IA",
        "STRETTO_STORAGE__TRACE__CONCURRENT_REQUESTS_MAX": "5",
        "STRETTO_STORAGE__TRACE__WRITE_TIMEOUT_S": "7",
    }
    config = storage_config(load(environment, tmp_path).storage.trace)
    assert (config.hedging.at_s, config.hedging.up_to) == (0.5, 3)
    assert (config.retry.max_attempts, config.concurrent_requests_max, config.write_timeout_s) == (7, 5, 7)
    assert config.put_options == {
        "tags": {"team": "a", "env": "b"},
        "attributes": {"owner": "me", "Storage-Class": "STANDARD_IA"},
    }


@pytest.mark.parametrize(
    ("url", "environment", "problem"),
    [
        ("s3://b", {f"{S3}TLS_CA_PATH": "/none.pem"}, r"s3\.tls_ca_path: /none\.pem cannot be read: No such file"),
        ("gs://b", {f"{GCS}SERVICE_ACCOUNT_FILE": "/none.json"}, r"gcs\.service_account_file: .* cannot be read"),
        (
            "az://c",
            {f"{AZURE}STORAGE_ACCOUNT_NAME": "a", f"{AZURE}USE_FEDERATED_TOKEN": "true"},
            "use_federated_token: needs the variables AZURE_CLIENT_ID, AZURE_TENANT_ID, AZURE_FEDERATED_TOKEN_FILE",
        ),
    ],
)
def test_what_is_missing_is_named(
    url: str, environment: dict[str, str], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file or a variable that settings rely on."""
    for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SettingsError, match=problem):
        storage_config(load({"STORAGE_URL": url, **environment}, tmp_path).storage.trace)


def test_local(tmp_path: Path) -> None:
    """Put, create once, read, list, delete."""
    store = ObjectStore(storage_config(load({"STORAGE_URL": f"file://{tmp_path}/blocks"}, tmp_path).storage.trace))
    store.put("a/b/one", b"1")
    assert store.create("a/c/two", b"2")
    assert not store.create("a/c/two", b"3")
    assert (store.get("a/c/two"), store.get("a/none")) == (b"2", None)
    assert sorted(store.paths("a")) == ["a/b/one", "a/c/two"]
    assert [bytes(part) for part in store.get_ranges("a/b/one", [(0, 1)])] == [b"1"]
    store.delete(["a/b/one", "a/none"])
    assert list(store.paths("a")) == ["a/c/two"]
    assert list(store.paths("none")) == []
    assert (tmp_path / "blocks" / "a" / "c" / "two").read_bytes() == b"2"


def test_errors_name_the_place(tmp_path: Path) -> None:
    """A folder that is a file."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match=r"local storage .*file.*storage\.trace"):
        ObjectStore(storage_config(load({"STORAGE_URL": f"file://{tmp_path}/file"}, tmp_path).storage.trace))
