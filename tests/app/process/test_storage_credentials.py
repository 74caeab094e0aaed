"""How Stretto says who it is: every way that the settings or the machine offer, up to the request to the bucket."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.process.storage import storage_config
from app.settings import load
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.storage.probe import probe
from tests.helpers.storage.canned_server import CannedServer
from tests.helpers.storage.storage_servers import AZURE_ACCOUNT, BUCKET, azure_sas, azure_server
from tests.helpers.tls import Authority

S3 = "STRETTO_STORAGE__TRACE__S3__"
GCS = "STRETTO_STORAGE__TRACE__GCS__"
AZURE = "STRETTO_STORAGE__TRACE__AZURE__"
ROLE = {
    "AccessKeyId": "ASIAROLE",
    "SecretAccessKey": "secret",
    "Token": "role-token",
    "Expiration": "2099-01-01T00:00:00Z",
    "Code": "Success",
}
STS = """<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<SessionToken>web-token</SessionToken><SecretAccessKey>secret</SecretAccessKey>
<Expiration>2099-01-01T00:00:00Z</Expiration><AccessKeyId>ASIAWEB</AccessKeyId>
</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
OAUTH = json.dumps(
    {"access_token": "oauth-token", "expires_in": 3600, "expires_on": "4070908800", "token_type": "Bearer"}
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither those of the machine that runs the tests, nor its files."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/none")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/none")


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with CannedServer({f"/{BUCKET}/": "data", f"/{AZURE_ACCOUNT}/{BUCKET}/": "data"}) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "ca", "Some authority")


@pytest.fixture
def ca(authority: Authority) -> Path:
    return authority.cert


@pytest.fixture
def tls_server(authority: Authority) -> Iterator[CannedServer]:
    with CannedServer({f"/{BUCKET}/": "data"}, *authority.issue("server")) as running:
        yield running


def s3_store(server: CannedServer, tmp_path: Path, **settings: str) -> ObjectStore:
    variables = {f"{S3}{name}": value for name, value in settings.items()}
    environment = {"STORAGE_URL": f"s3://{BUCKET}", f"{S3}ENDPOINT": server.url, f"{S3}REGION": "eu-central-1"}
    return ObjectStore(storage_config(load({**environment, **variables}, tmp_path).storage.trace))


def who(server: CannedServer) -> tuple[str, str | None]:
    """The key that signed the request to the bucket, and the token that came with it."""
    headers = server.of(f"/{BUCKET}/")[-1].headers
    return headers["authorization"].partition("Credential=")[2].split("/")[0], headers.get("x-amz-security-token")


def test_keys(server: CannedServer, tmp_path: Path) -> None:
    store = s3_store(server, tmp_path, ACCESS_KEY="id", SECRET_KEY="secret", SESSION_TOKEN="token")
    assert store.get("a") == b"data"
    assert who(server) == ("id", "token")


def test_keys_of_variables(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "variable")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert s3_store(server, tmp_path).get("a") == b"data"
    assert who(server) == ("variable", None)


def test_the_role_of_an_instance(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", server.url)
    at = "/latest/meta-data/iam/security-credentials/"
    server.answers |= {"/latest/api/token": "imds", at: "the-role", f"{at}the-role": json.dumps(ROLE)}
    assert s3_store(server, tmp_path).get("a") == b"data"
    assert who(server) == ("ASIAROLE", "role-token")
    assert server.of(at)[-1].headers["x-aws-ec2-metadata-token"] == "imds"


def test_the_identity_of_a_pod(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EKS Pod Identity."""
    (tmp_path / "token").write_text("pod")
    server.answers["/v1/credentials"] = json.dumps(ROLE)
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{server.url}/v1/credentials")
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
    assert s3_store(server, tmp_path).get("a") == b"data"
    assert who(server) == ("ASIAROLE", "role-token")
    assert server.of("/v1/credentials")[-1].headers["authorization"] == "pod"


def test_web_identity(tls_server: CannedServer, ca: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A role for a service account of Kubernetes (IRSA)."""
    (tmp_path / "token").write_text("jwt")
    tls_server.answers["/"] = STS
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/stretto")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", tls_server.url)
    assert s3_store(tls_server, tmp_path, TLS_CA_PATH=str(ca)).get("a") == b"data"
    assert who(tls_server) == ("ASIAWEB", "web-token")
    (asked,) = [one for one in tls_server.asked if "AssumeRoleWithWebIdentity" in one.path + one.body]
    assert "jwt" in asked.path + asked.body


def test_certificates(tls_server: CannedServer, ca: Path, tmp_path: Path) -> None:
    """One of an authority of our own is accepted if a setting names the authority, or says that any will do."""
    keys = {"ACCESS_KEY": "id", "SECRET_KEY": "secret", "RETRY_MAX_ATTEMPTS": "1"}
    for trusting in ({"TLS_CA_PATH": str(ca)}, {"TLS_INSECURE_SKIP_VERIFY": "true"}):
        assert s3_store(tls_server, tmp_path, **keys, **trusting).get("a") == b"data"
    with pytest.raises(StorageError, match="certificate"):
        s3_store(tls_server, tmp_path, **keys).get("a")


def test_a_profile_of_the_sdk(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = profile\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert s3_store(server, tmp_path, NATIVE_AWS_AUTH_ENABLED="true").get("a") == b"data"
    assert who(server) == ("profile", None)


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        pytest.param({"SSE__TYPE": "SSE-S3"}, {"x-amz-server-side-encryption": "AES256"}, id="SSE-S3"),
        pytest.param(
            {"SSE__TYPE": "SSE-KMS", "SSE__KMS_KEY_ID": "arn:key"},
            {"x-amz-server-side-encryption": "aws:kms", "x-amz-server-side-encryption-aws-kms-key-id": "arn:key"},
            id="SSE-KMS",
        ),
        pytest.param({"TAGS": "team=a"}, {"x-amz-tagging": "team=a"}, id="tags"),
        pytest.param({"METADATA": "owner=me"}, {"x-amz-meta-owner": "me"}, id="metadata"),
        pytest.param({"STORAGE_CLASS": "STANDARD_IA"}, {"x-amz-storage-class": "STANDARD_IA"}, id="class"),
    ],
)
def test_what_goes_with_writes(
    server: CannedServer, tmp_path: Path, settings: dict[str, str], headers: dict[str, str]
) -> None:
    """It is signed, too: AWS refuses headers that are not."""
    store = s3_store(server, tmp_path, ACCESS_KEY="id", SECRET_KEY="secret", **settings)
    store.put("a", b"1")
    store.create("b", b"1")
    store.get("a")
    *writes, read = server.of(f"/{BUCKET}/")
    assert len(writes) == 2
    for write in writes:
        assert {name: write.headers.get(name) for name in headers} == headers
        signed = write.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0].split(";")
        assert set(headers) <= set(signed)
    assert not set(headers) & set(read.headers)


def azure_store(server: CannedServer, tmp_path: Path, **settings: str) -> ObjectStore:
    variables = {f"{AZURE}{name}": value for name, value in settings.items()}
    environment = {
        "STORAGE_URL": f"az://{BUCKET}",
        f"{AZURE}STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
        f"{AZURE}ENDPOINT_SUFFIX": server.url,
    }
    return ObjectStore(storage_config(load({**environment, **variables}, tmp_path).storage.trace))


@pytest.mark.parametrize("settings", [{}, {"USER_ASSIGNED_ID": "client-id"}], ids=["system", "user"])
def test_a_managed_identity(
    server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]
) -> None:
    server.answers["/metadata/identity"] = OAUTH
    monkeypatch.setenv("AZURE_MSI_ENDPOINT", f"{server.url}/metadata/identity/oauth2/token")
    store = azure_store(server, tmp_path, USE_MANAGED_IDENTITY="true", **settings)
    assert store.get("a") == b"data"
    assert server.of(f"/{AZURE_ACCOUNT}")[-1].headers["authorization"] == "Bearer oauth-token"
    assert ("client_id=client-id" in server.of("/metadata/identity")[-1].path) == bool(settings)


def test_a_federated_token(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's workload identity."""
    (tmp_path / "token").write_text("jwt")
    server.answers["/tenant-id/oauth2"] = OAUTH
    for name, value in {
        "AZURE_CLIENT_ID": "client-id",
        "AZURE_TENANT_ID": "tenant-id",
        "AZURE_FEDERATED_TOKEN_FILE": str(tmp_path / "token"),
        "AZURE_AUTHORITY_HOST": server.url,
    }.items():
        monkeypatch.setenv(name, value)
    store = azure_store(server, tmp_path, USE_FEDERATED_TOKEN="true")
    assert store.get("a") == b"data"
    assert server.of(f"/{AZURE_ACCOUNT}")[-1].headers["authorization"] == "Bearer oauth-token"
    (asked,) = server.of("/tenant-id")
    assert "client_assertion=jwt" in asked.body
    assert "client_id=client-id" in asked.body


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with azure_server(tmp_path_factory.mktemp("azurite")) as running:
        yield running


def test_a_shared_access_signature(azurite: Any, tmp_path: Path) -> None:
    """With the permissions that the error of the probe names."""
    environment = {
        "STORAGE_URL": f"az://{BUCKET}/sas",
        f"{AZURE}STORAGE_ACCOUNT_NAME": AZURE_ACCOUNT,
        f"{AZURE}ENDPOINT_SUFFIX": azurite.address,
        f"{AZURE}SAS_TOKEN": f"?{azure_sas('racwdl')}",
    }
    store = ObjectStore(storage_config(load(environment, tmp_path).storage.trace))
    probe(store)
    store.put("a/1", b"1")
    store.put("a/2", b"2")
    store.delete(["a/1", "a/2"])
    assert list(store.paths("")) == []


def gcs_store(server: CannedServer, tmp_path: Path, **settings: str) -> ObjectStore:
    """Credentials go to no http server by settings; so the test sends them to its own by obstore's."""
    variables = {f"{GCS}{name}": value for name, value in settings.items()}
    config = storage_config(load({"STORAGE_URL": f"gs://{BUCKET}", **variables}, tmp_path).storage.trace)
    own = {"base_url": server.url, "client_options": {"allow_http": True}}
    return ObjectStore(replace(config, options={**config.options, **own}))


def test_a_service_account(server: CannedServer, tmp_path: Path) -> None:
    key = subprocess.run(["openssl", "genrsa", "-traditional", "2048"], check=True, capture_output=True).stdout.decode()
    account = {
        "client_email": "me@project",
        "private_key": key,
        "private_key_id": "1",
        "token_uri": f"{server.url}/token",
    }
    (tmp_path / "account.json").write_text(json.dumps({"type": "service_account", **account}))
    server.answers["/token"] = OAUTH
    store = gcs_store(server, tmp_path, SERVICE_ACCOUNT_FILE=str(tmp_path / "account.json"))
    assert store.get("a") == b"data"
    assert server.of(f"/{BUCKET}")[-1].headers["authorization"].startswith("Bearer ")


def test_the_identity_of_a_workload(server: CannedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """GKE's metadata server answers for the service account of the pod."""
    server.answers["/computeMetadata/v1/instance/service-accounts/default/token"] = OAUTH
    monkeypatch.setenv("GCE_METADATA_HOST", server.url.removeprefix("http://"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert gcs_store(server, tmp_path).get("a") == b"data"
    assert server.of(f"/{BUCKET}")[-1].headers["authorization"] == "Bearer oauth-token"
    assert server.of("/computeMetadata")[-1].headers["metadata-flavor"] == "Google"
