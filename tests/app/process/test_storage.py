"""The settings of storage → what is opened."""

from pathlib import Path
from typing import Any

import pytest

from app.process.storage import storage_config
from app.settings import load
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore

S3 = "STRETTO_STORAGE__TRACE__S3__"
GCS = "STRETTO_STORAGE__TRACE__GCS__"
AZURE = "STRETTO_STORAGE__TRACE__AZURE__"


@pytest.mark.parametrize(
    ("environment", "backend", "place", "prefix", "options"),
    [
        pytest.param({"STORAGE_URL": "s3://bucket/a/b"}, "s3", "bucket", "a/b", {}, id="s3 by its own look-ups"),
        pytest.param(
            {
                "STORAGE_URL": "s3://bucket",
                f"{S3}ENDPOINT": "minio:9000",
                f"{S3}INSECURE": "true",
                f"{S3}FORCEPATHSTYLE": "true",
                f"{S3}ACCESS_KEY": "id",
                f"{S3}SECRET_KEY": "secret",
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
                "virtual_hosted_style_request": False,
                "client_options": {"allow_http": True},
            },
            id="s3 of another server",
        ),
        pytest.param({"STORAGE_URL": "gs://bucket/p"}, "gcs", "bucket", "p", {}, id="gcs"),
        pytest.param(
            {"STORAGE_URL": "gs://bucket", f"{GCS}ENDPOINT": "http://127.0.0.1:4443"},
            "gcs",
            "bucket",
            "",
            {"base_url": "http://127.0.0.1:4443", "skip_signature": True, "client_options": {"allow_http": True}},
            id="gcs emulator",
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
    ],
)
def test_config(
    environment: dict[str, str], backend: str, place: str, prefix: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Each backend gets its place, and what is set; the store opens with it, without asking anybody."""
    config = storage_config(load(environment, tmp_path).storage.trace)
    assert (config.backend, config.place, config.prefix, config.options) == (backend, place, prefix, options)
    ObjectStore(config)


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
