"""What meta.json says of a block, and where a block's objects lie.

blocks/<tenant>/<block id>/data-0000.parquet …   segments, verbatim
blocks/<tenant>/<block id>/meta.json             written last: a block without it does not exist
"""

import uuid
from typing import Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from tables.errors import DamagedError
from tables.storage.checksum import has_checksum, with_checksum

FORMAT: Final = "stretto1"
_NAMESPACE: Final = uuid.UUID("6f1c8a52-3f0e-5d2f-9f5b-7a3d0c2b9e11")
_FROZEN: Final = ConfigDict(frozen=True, extra="ignore")  # a later version may say more


class FileMeta(BaseModel):
    """One Parquet file of a block. tail: its end behind the pages, and the checksum of that; 0 bytes: not known."""

    model_config = _FROZEN
    name: str
    size_bytes: int
    spans: int
    start_min_ns: int
    end_max_ns: int
    tail_bytes: int = 0
    tail_crc32: int = 0


class BlockMeta(BaseModel):
    """A block: spans of one tenant from one partition's offsets first_offset … last_offset, both included."""

    model_config = _FROZEN
    format: str = FORMAT
    block_id: str
    tenant: str
    # The Kafka cluster whose offsets these are; `epoch` in blocks of before November 2026.
    cluster_id: str = Field(validation_alias=AliasChoices("cluster_id", "epoch"))
    partition: int
    partition_count: int
    first_offset: int
    last_offset: int
    spans: int
    start_min_ns: int
    end_max_ns: int
    size_bytes: int
    files: list[FileMeta]
    replaces: list[str] = []

    @property
    def folder(self) -> str:
        """Where the block's objects are."""
        return f"blocks/{self.tenant}/{self.block_id}"

    @property
    def path(self) -> str:
        """Where this meta is."""
        return f"{self.folder}/meta.json"

    @property
    def key(self) -> str:
        """As cuts name the block."""
        return f"{self.tenant}/{self.block_id}"

    def encode(self) -> bytes:
        """The object's bytes; equal blocks have equal bytes."""
        return with_checksum(self.model_dump_json(indent=1).encode())


def decode_meta(path: str, data: bytes) -> BlockMeta:
    """Raises: DamagedError naming the object if it is not a meta.json that this build reads, or is another block's."""
    try:
        meta = BlockMeta.model_validate_json(data)
    except ValidationError as err:
        raise DamagedError(path, f"is not a block's meta.json: {err.errors()[0]['msg']}") from err
    if meta.format != FORMAT:
        raise DamagedError(path, f"has format {meta.format!r}; this build reads {FORMAT!r}")
    try:
        checked = has_checksum(data)
    except ValueError as err:
        raise DamagedError(path, f"is damaged: {err}") from err
    if not checked and any(file.tail_bytes for file in meta.files):
        raise DamagedError(path, "has lost its checksum")
    if meta.path != path:
        raise DamagedError(path, f"is the meta.json of {meta.folder}")
    if meta.spans != sum(file.spans for file in meta.files) or any("/" in file.name for file in meta.files):
        raise DamagedError(path, "names files that are not the block's")
    return meta


def block_id(cluster_id: str, tenant: str, partition: int, first_offset: int, last_offset: int) -> str:
    """Follows from what is in the block, so that writing it twice writes the same object."""
    return str(uuid.uuid5(_NAMESPACE, f"{cluster_id}/{tenant}/{partition}/{first_offset}-{last_offset}"))
