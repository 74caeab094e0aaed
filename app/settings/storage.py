"""The section storage.trace: where blocks are stored. Names are Tempo's."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Folder, HttpUrlOrEmpty, Prefix, S3Endpoint, Seconds

_PREFIX_HELP: Final = "Folder within the bucket. Empty: the bucket's root."


class Local(Section):
    path: Folder = Field(
        default=Path("data/blocks"),
        description="Folder of the blocks. If it is not set: `blocks` in `data_dir`. A relative path starts at the "
        "working directory.",
    )


class S3(Section):
    bucket: str = Field(default="", description="Name of the bucket. Required with backend s3.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    endpoint: S3Endpoint = Field(
        default="",
        description="Host, host:port or URL of an S3 server other than AWS. Empty: AWS, by `region`.",
    )
    region: str = Field(default="", description="AWS region, such as eu-central-1.")
    access_key: str = Field(
        default="",
        description="Access key id. Empty: found where AWS's own tools find it (AWS_… variables).",
    )
    secret_key: SecretStr = Field(default=SecretStr(""), description="Secret key that belongs to `access_key`.")
    forcepathstyle: bool = Field(
        default=False,
        description="Put the bucket into the URL's path instead of the host name, as MinIO requires.",
    )
    insecure: bool = Field(default=False, description="Use http instead of https if `endpoint` is a bare host.")

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint as a URL with its scheme; None: AWS."""
        if not self.endpoint or "://" in self.endpoint:
            return self.endpoint or None
        return f"{'http' if self.insecure else 'https'}://{self.endpoint}"

    @model_validator(mode="after")
    def _keys_come_in_pairs(self) -> Self:
        if bool(self.access_key) != bool(self.secret_key.get_secret_value()):
            missing, there = ("secret_key", "access_key") if self.access_key else ("access_key", "secret_key")
            raise conflict(there, f"{there} is set but {missing} is not; set both or neither")
        return self


class GCS(Section):
    bucket_name: str = Field(default="", description="Name of the bucket. Required with backend gcs.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    endpoint: HttpUrlOrEmpty = Field(
        default="", description="URL of a GCS server other than Google's. Empty: Google's."
    )


class Azure(Section):
    container_name: str = Field(default="", description="Name of the container. Required with backend azure.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    storage_account_name: str = Field(
        default="", description="Name of the storage account. Required with backend azure."
    )
    storage_account_key: SecretStr = Field(
        default=SecretStr(""), description="Key of the storage account. Empty: taken from AZURE_… variables."
    )
    endpoint_suffix: str = Field(default="blob.core.windows.net", description="Domain of the storage account's host.")


class Block(Section):
    attribute_columns_max: Annotated[int, Field(ge=16, le=20_000)] = Field(
        default=300,
        description="Most attribute columns in a segment. The rarest attributes beyond it share one list column. "
        "Queries find them as they find others, but more slowly.",
    )


class Trace(Section):
    backend: Literal["local", "s3", "gcs", "azure"] = Field(
        default="local", description="Kind of storage. The section of the same name says where the blocks are."
    )
    local: Local = Local()
    s3: S3 = S3()
    gcs: GCS = GCS()
    azure: Azure = Azure()
    block: Block = Block()
    read_timeout_s: Seconds = Field(
        default=10,
        description="Seconds that a read from storage may take, retries included. Then the query fails with 503.",
    )
    blocklist_poll_s: Seconds = Field(
        default=30, description="Seconds between two polls of the storage for new blocks and versions of indexes."
    )
    blocklist_audit_s: Seconds = Field(
        default=60,
        description="Seconds between two looks at a part of the bucket (1,000 objects, one request), whether the files "
        "of its blocks are there. 100,000 blocks are gone through in about four hours.",
    )

    @model_validator(mode="after")
    def _backend_knows_where(self) -> Self:
        needed = {
            "local": {},
            "s3": {"s3.bucket": self.s3.bucket},
            "gcs": {"gcs.bucket_name": self.gcs.bucket_name},
            "azure": {
                "azure.container_name": self.azure.container_name,
                "azure.storage_account_name": self.azure.storage_account_name,
            },
        }[self.backend]
        if missing := [f"storage.trace.{key}" for key, value in needed.items() if not value]:
            raise conflict("backend", f"{self.backend} needs {' and '.join(missing)} to be set")
        return self


class Storage(Section):
    trace: Trace = Trace()
