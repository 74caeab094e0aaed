"""Where blocks rest: storage.trace. Names are Tempo's."""

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Folder, HttpUrlOrEmpty, Prefix, S3Endpoint, Seconds

_PREFIX_HELP: Final = "Folder within the bucket; empty: the bucket's root."


class Local(Section):
    path: Folder = Field(
        default=Path("data/blocks"),
        description="Folder of the blocks. Where not set: `blocks` in `data_dir`. A relative path "
        "starts at the "
        "working directory.",
    )


class S3(Section):
    bucket: str = Field(default="", description="Name of the bucket. Needed with backend s3.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    endpoint: S3Endpoint = Field(
        default="",
        description="Host or host:port of a server other than AWS's, or its whole URL. Empty: AWS, by `region`.",
    )
    region: str = Field(default="", description="AWS region, as eu-central-1.")
    access_key: str = Field(
        default="",
        description="Access key id. Empty: taken from where AWS's own tools find it (AWS_… variables).",
    )
    secret_key: SecretStr = Field(default=SecretStr(""), description="Secret that belongs to `access_key`.")
    forcepathstyle: bool = Field(
        default=False,
        description="Write the bucket into the URL's path instead of the host name, as MinIO needs.",
    )
    insecure: bool = Field(default=False, description="Speak http, not https, to an `endpoint` that is a bare host.")

    @property
    def endpoint_url(self) -> str | None:
        """The endpoint as a URL with scheme; None: AWS's own."""
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
    bucket_name: str = Field(default="", description="Name of the bucket. Needed with backend gcs.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    endpoint: HttpUrlOrEmpty = Field(default="", description="URL of a server other than Google's. Empty: Google's.")


class Azure(Section):
    container_name: str = Field(default="", description="Name of the container. Needed with backend azure.")
    prefix: Prefix = Field(default="", description=_PREFIX_HELP)
    storage_account_name: str = Field(default="", description="Name of the storage account. Needed with backend azure.")
    storage_account_key: SecretStr = Field(
        default=SecretStr(""), description="Key of the storage account. Empty: taken from AZURE_… variables."
    )
    endpoint_suffix: str = Field(
        default="blob.core.windows.net", description="Domain below which the storage account's host lies."
    )


class Block(Section):
    attribute_columns_max: Annotated[int, Field(ge=16, le=20_000)] = Field(
        default=300,
        description="Attribute columns of a segment. The rarest attributes beyond share one list column; they are "
        "found as the others, more slowly.",
    )


class Trace(Section):
    backend: Literal["local", "s3", "gcs", "azure"] = Field(
        default="local", description="Kind of storage. The section of the same name says where in it."
    )
    local: Local = Local()
    s3: S3 = S3()
    gcs: GCS = GCS()
    azure: Azure = Azure()
    block: Block = Block()
    read_timeout_s: Seconds = Field(
        default=10,
        description="Seconds for a read from the storage, what is tried again included. Then the query fails with 503.",
    )
    blocklist_poll_s: Seconds = Field(
        default=30, description="Seconds between two looks at the storage for new and deleted blocks."
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
