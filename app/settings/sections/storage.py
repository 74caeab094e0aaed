"""The section storage: where blocks are stored. Names are Tempo's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from app.settings.base import Section, conflict
from app.settings.sections.buckets import GCS, S3, Azure, Bucket
from app.settings.sections.iceberg import Iceberg
from app.settings.values import Folder, Seconds


class Local(Section):
    path: Folder = Field(
        default=Path("data/blocks"),
        description="Folder of the blocks. If it is not set: `blocks` in `data_dir`. A relative path starts at the "
        "working directory.",
    )


_POLLS: Final = "is not supported, and not needed: a poll reads an index and what is new, and lists no blocks"
_CACHES: Final = "is not a setting of the storage; the caches have settings of their own"
_COLUMNS: Final = "is not supported, and not needed: every attribute has a column, up to attribute_columns_max"


class Block(Section):
    not_supported: ClassVar[Mapping[str, str]] = {
        "version": "is not supported: Stretto has one format, which docs/parquet.md describes",
        "parquet_dedicated_columns": _COLUMNS,
        "parquet_row_group_size_bytes": "is not supported: a file has one row group",
    }

    attribute_columns_max: Annotated[int, Field(ge=16, le=20_000)] = Field(
        default=300,
        description="Most attribute columns in a segment. The rarest attributes beyond it share one list column. "
        "Queries find them as they find others, but more slowly.",
    )


class Trace(Section):
    not_supported: ClassVar[Mapping[str, str]] = {
        "blocklist_poll": "is called blocklist_poll_s here, in seconds",
        "blocklist_poll_concurrency": _POLLS,
        "blocklist_poll_fallback": _POLLS,
        "blocklist_poll_tenant_concurrency": _POLLS,
        "blocklist_poll_tenant_index_builders": _POLLS,
        "blocklist_poll_stale_tenant_index": _POLLS,
        "blocklist_poll_jitter_ms": _POLLS,
        "pool": "is not supported: set concurrent_requests_max",
        "wal": "is not supported, and not needed: Kafka keeps what is not in blocks yet",
        "cache": _CACHES,
        "background_cache": _CACHES,
        "memcached": _CACHES,
        "redis": _CACHES,
    }

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
    write_timeout_s: Seconds = Field(
        default=60,
        description="Seconds that a write of an object, or a delete, may take, retries included. Then it is tried "
        "again later.",
    )
    concurrent_requests_max: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most requests to a bucket in flight from this process; others wait."
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

    @model_validator(mode="after")
    def _hedging_comes_in_time(self) -> Self:
        bucket = getattr(self, self.backend)
        if isinstance(bucket, Bucket) and bucket.hedge_requests_at >= self.read_timeout_s:
            key = f"{self.backend}.hedge_requests_at"
            raise conflict(key, "has no effect, because read_timeout_s ends the read before", "read_timeout_s")
        return self


class Storage(Section):
    trace: Trace = Trace()
    iceberg: Iceberg = Iceberg()
