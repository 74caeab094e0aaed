"""The sections of storage.trace that say how to reach a bucket: S3, GCS, Azure. Names are Tempo's."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Duration, DurationOrZero, HttpUrlOrEmpty, Prefix, S3Endpoint, Words

_PREFIX_HELP: Final = "Folder within the bucket. Empty: the bucket's root."
_CLIENT_CERTIFICATE: Final = "is not supported: Stretto sends no client certificate to a storage"
_TLS: Final = "is not supported: TLS 1.2 and 1.3 with their usual cipher suites are used"
_GOES_BY_ITSELF: Final = "is not supported, and not needed: Stretto lists no block in a poll"
_SSE_C_KEY_CHARS: Final = 32
_UP_TO: Final = 2


def pairs(value: Any) -> Any:
    """A mapping from `name=value` with commas between; anything else stays as it is. Raises: ValueError"""
    if not isinstance(value, str):
        return value
    parts = [part.partition("=") for part in value.split(",") if part.strip()]
    if not all(name.strip() and equals for name, equals, _ in parts):
        raise ValueError("expected a mapping, or name=value with commas between")
    return {name.strip(): text.strip() for name, _, text in parts}


def _tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > 10:
        raise ValueError("expected at most 10 tags, which is S3's limit")
    return tags


MAPPING: Final = "a mapping of names to values, or name=value with commas between"
Metadata = Annotated[dict[str, str], Words(MAPPING), BeforeValidator(pairs)]
Tags = Annotated[dict[str, str], Words(MAPPING), BeforeValidator(pairs), AfterValidator(_tags)]


class Bucket(Section):
    """What all buckets have in common."""

    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    hedge_requests_at: DurationOrZero = Field(
        default=0,
        description="Time after which a second request is sent for a read that has no answer yet; the first answer "
        "counts. Choose the p99 of reads. 0: never.",
    )
    hedge_requests_up_to: Annotated[int, Field(ge=2, le=10)] = Field(
        default=_UP_TO, description="Most requests for one read, the first one included, if `hedge_requests_at` is set."
    )

    @model_validator(mode="after")
    def _hedging_has_a_time(self) -> Self:
        if self.hedge_requests_up_to != _UP_TO and not self.hedge_requests_at:
            raise conflict("hedge_requests_up_to", "has no effect without hedge_requests_at; set it, or remove this")
        return self


class SSE(Section):
    type: Literal["", "SSE-S3", "SSE-KMS", "SSE-C"] = Field(
        default="",
        description="Encryption that S3 applies to new objects: SSE-S3 (S3's keys), SSE-KMS (a key of AWS KMS), SSE-C "
        "(`encryption_key`). Empty: what the bucket does by default.",
    )
    kms_key_id: str = Field(default="", description="Id or ARN of the KMS key for SSE-KMS. Empty: the account's key.")
    encryption_key: SecretStr = Field(
        default=SecretStr(""), description="Key of 32 characters for SSE-C. Without it nobody can read the objects."
    )

    not_supported: ClassVar[Mapping[str, str]] = {
        "kms_encryption_context": "is not supported: Stretto cannot send the context with a request; remove it, and "
        "allow the key without a context"
    }

    @model_validator(mode="after")
    def _key_fits_type(self) -> Self:
        key = self.encryption_key.get_secret_value()
        if self.kms_key_id and self.type != "SSE-KMS":
            raise conflict("kms_key_id", "is used by type SSE-KMS only", "type")
        if bool(key) != (self.type == "SSE-C"):
            raise conflict("encryption_key", "is needed by type SSE-C, and used by no other type", "type")
        if key and len(key.encode()) != _SSE_C_KEY_CHARS:
            raise conflict("encryption_key", f"expected {_SSE_C_KEY_CHARS} characters (bytes of UTF-8)")
        return self


class S3(Bucket):
    bucket: str = Field(default="", description="Name of the bucket. Required with backend s3.")
    endpoint: S3Endpoint = Field(
        default="",
        description="Host, host:port or URL of an S3 server other than AWS, or of AWS. Empty: AWS, by `region`.",
    )
    region: str = Field(default="", description="AWS region, such as eu-central-1.")
    access_key: str = Field(
        default="",
        description="Access key id. Empty: `AWS_…` variables, web identity, the role of the container or instance.",
    )
    secret_key: SecretStr = Field(default=SecretStr(""), description="Secret key that belongs to `access_key`.")
    session_token: SecretStr = Field(
        default=SecretStr(""), description="Session token that belongs to a temporary `access_key`."
    )
    native_aws_auth_enabled: bool = Field(
        default=False,
        description="Find credentials as AWS's SDK does, which also knows profiles, SSO and assumed roles. It needs "
        "the package boto3 (`pip install 'stretto[aws]'`).",
    )
    insecure: bool = Field(default=False, description="Use http instead of https if `endpoint` is a bare host.")
    forcepathstyle: bool = Field(
        default=False, description="Put the bucket into the URL's path instead of the host name."
    )
    bucket_lookup_type: Annotated[int, Field(ge=0, le=2)] = Field(
        default=0,
        description="Where the bucket's name goes: 1: into the host name, 2: into the path, 0: into the host name for "
        "AWS, into the path for other servers. `forcepathstyle` wins.",
    )
    tls_ca_path: str = Field(
        default="", description="File with certificates (PEM) of authorities to trust beside the system's."
    )
    tls_insecure_skip_verify: bool = Field(
        default=False, description="Accept any certificate. Anybody on the way can then read and change everything."
    )
    retry_max_attempts: Annotated[int, Field(ge=1, le=100)] = Field(
        default=4, description="Most attempts for a request that fails; the time limits of requests end them earlier."
    )
    retry_backoff_initial: Duration = Field(
        default=0.1, description="Wait before the second attempt. It doubles each time, with jitter."
    )
    retry_backoff_max: Duration = Field(default=1, description="Longest wait between two attempts.")
    tags: Tags = Field(default={}, description="Tags of new objects, for S3's lifecycle rules.")
    metadata: Metadata = Field(default={}, description="User-defined metadata of new objects.")
    storage_class: str = Field(
        default="", description="Storage class of new objects, as STANDARD_IA. Empty: the bucket's default."
    )
    sse: SSE = SSE()

    not_supported: ClassVar[Mapping[str, str]] = {
        "tls_cert_path": _CLIENT_CERTIFICATE,
        "tls_key_path": _CLIENT_CERTIFICATE,
        "tls_server_name": "is not supported: the certificate must name the host of `endpoint`",
        "tls_cipher_suites": _TLS,
        "tls_min_version": _TLS,
        "signature_v2": "is not supported: requests have signatures of version 4",
        "part_size": "is not supported: objects above 5 MiB are written in parts of 5 MiB",
        "enable_dual_stack": "is not supported: set `endpoint` to s3.dualstack.<region>.amazonaws.com",
        "list_blocks_concurrency": _GOES_BY_ITSELF,
    }

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint as a URL with its scheme; None: AWS by `region`."""
        if not self.endpoint or "://" in self.endpoint:
            return self.endpoint or None
        return f"{'http' if self.insecure else 'https'}://{self.endpoint}"

    @property
    def bucket_in_host(self) -> bool:
        """Whether the bucket's name is a part of the host name, as minio-go decides it for Tempo."""
        if self.forcepathstyle or self.bucket_lookup_type:
            return not self.forcepathstyle and self.bucket_lookup_type == 1
        host = urlsplit(self.endpoint_url or "").hostname
        # A certificate for *.s3.amazonaws.com does not fit a bucket with dots.
        return (host is None or host.endswith((".amazonaws.com", ".amazonaws.com.cn"))) and "." not in self.bucket

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        if bool(self.access_key) != bool(self.secret_key.get_secret_value()):
            missing, there = ("secret_key", "access_key") if self.access_key else ("access_key", "secret_key")
            raise conflict(there, f"{there} is set but {missing} is not; set both or neither")
        if self.session_token.get_secret_value() and not self.access_key:
            raise conflict("session_token", "belongs to access_key and secret_key, which are not set")
        if self.native_aws_auth_enabled and self.access_key:
            raise conflict("native_aws_auth_enabled", "has no effect with access_key; set one of them", "access_key")
        return self

    @model_validator(mode="after")
    def _the_rest_fits_together(self) -> Self:
        url = self.endpoint_url or "https://"
        if self.endpoint.startswith("https://") and self.insecure:
            raise conflict("insecure", "has no effect on an endpoint with https://; remove one of them", "endpoint")
        if url.startswith("http://") and (self.tls_ca_path or self.tls_insecure_skip_verify):
            key = "tls_ca_path" if self.tls_ca_path else "tls_insecure_skip_verify"
            raise conflict(key, "has no effect, because the endpoint is http", "endpoint")
        if self.retry_backoff_initial > self.retry_backoff_max:
            raise conflict("retry_backoff_initial", "must not be more than retry_backoff_max", "retry_backoff_max")
        return self


class GCS(Bucket):
    bucket_name: str = Field(default="", description="Name of the bucket. Required with backend gcs.")
    endpoint: HttpUrlOrEmpty = Field(
        default="", description="URL of a GCS server other than Google's. Empty: Google's."
    )
    insecure: bool = Field(
        default=False,
        description="Send no credentials and accept any certificate, for an emulator at `endpoint`.",
    )
    service_account_file: str = Field(
        default="",
        description="Key file (JSON) of a service account. Empty: `GOOGLE_APPLICATION_CREDENTIALS`, or the identity of "
        "the workload or machine.",
    )
    object_cache_control: str = Field(default="", description="Cache-Control of new objects.")
    object_metadata: Metadata = Field(default={}, description="User-defined metadata of new objects.")

    not_supported: ClassVar[Mapping[str, str]] = {
        "chunk_buffer_size": "is not supported: objects above 5 MiB are written in parts of 5 MiB",
        "list_blocks_concurrency": _GOES_BY_ITSELF,
        "max_retries": "is not supported: a failed request is repeated 3 times within the time limits",
    }

    @property
    def base_url(self) -> str:
        """The endpoint without the path of Google's JSON interface, which Tempo's examples have; Stretto uses XML."""
        return self.endpoint.rstrip("/").removesuffix("/storage/v1")

    @model_validator(mode="after")
    def _credentials_stay_secret(self) -> Self:
        if self.insecure and not self.endpoint:
            raise conflict("insecure", "is for an emulator; set endpoint, or remove this")
        if self.insecure and self.service_account_file:
            raise conflict("service_account_file", "has no effect with insecure; remove one of them", "insecure")
        if self.endpoint.startswith("http://") and not self.insecure:
            raise conflict("endpoint", "http would show credentials to everybody; use https, or set insecure")
        return self


class Azure(Bucket):
    container_name: str = Field(default="", description="Name of the container. Required with backend azure.")
    storage_account_name: str = Field(
        default="", description="Name of the storage account. Required with backend azure."
    )
    storage_account_key: SecretStr = Field(
        default=SecretStr(""), description="Key of the storage account. Empty: taken from `AZURE_…` variables."
    )
    sas_token: SecretStr = Field(
        default=SecretStr(""), description="Shared access signature of the container or account, instead of a key."
    )
    use_federated_token: bool = Field(
        default=False,
        description="Workload identity: the variables `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` and "
        "`AZURE_FEDERATED_TOKEN_FILE` say who this is.",
    )
    use_managed_identity: bool = Field(default=False, description="The managed identity of the machine or container.")
    user_assigned_id: str = Field(
        default="", description="Client id of a user-assigned managed identity. Empty: the system-assigned one."
    )
    endpoint_suffix: str = Field(
        default="blob.core.windows.net",
        description="Domain of the storage account's host. One that does not begin with `blob.` is an emulator's: "
        "`host:port`, reached by http with the account in the path. A URL is also taken.",
    )

    not_supported: ClassVar[Mapping[str, str]] = {
        "max_buffers": "is not supported: an object above 5 MiB is written in 10 parts at a time",
        "buffer_size": "is not supported: objects above 5 MiB are written in parts of 5 MiB",
        "use_v2_sdk": "is not supported, and not needed: there is one client",
    }

    @property
    def endpoint_url(self) -> str:
        """The URL of the storage account."""
        suffix, account = self.endpoint_suffix.rstrip("/"), self.storage_account_name
        if "://" in suffix:
            return f"{suffix}/{account}"
        return f"https://{account}.{suffix}" if suffix.startswith("blob.") else f"http://{suffix}/{account}"

    @model_validator(mode="after")
    def _one_way_to_log_in(self) -> Self:
        ways: dict[str, Any] = {
            "storage_account_key": self.storage_account_key.get_secret_value(),
            "sas_token": self.sas_token.get_secret_value(),
            "use_federated_token": self.use_federated_token,
            "use_managed_identity": self.use_managed_identity,
        }
        chosen = [name for name, value in ways.items() if value]
        if len(chosen) > 1:
            raise conflict(chosen[1], f"{chosen[0]} is set, too; set one of them", chosen[0])
        if self.user_assigned_id and not self.use_managed_identity:
            raise conflict("user_assigned_id", "has no effect without use_managed_identity")
        return self
