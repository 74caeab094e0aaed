"""The content of meta.json, and the paths of a block's objects.

blocks/<tenant>/<block id>/data-0000.parquet …   segments, verbatim; merged files have a checksum in their names, too
blocks/<tenant>/<block id>/bloom                 filters of trace ids, where they are not in meta.json
blocks/<tenant>/<block id>/meta.json             written last: a block without it does not exist
"""

import uuid
import zlib
from collections.abc import Iterable
from typing import Annotated, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from tables.columns.trace_facts import TracePeriod
from tables.errors import NEWER, DamagedError
from tables.storage.checksum import Tail, has_checksum, with_checksum
from tables.units import NS_PER_MS

FORMAT: Final = "stretto1"
_NAMESPACE: Final = uuid.UUID("6f1c8a52-3f0e-5d2f-9f5b-7a3d0c2b9e11")
# As in Parquet and Arrow, where these numbers go.
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
_FROZEN: Final = ConfigDict(frozen=True, extra="ignore")  # a later version may say more


class FileMeta(BaseModel):
    """One Parquet file of a block.

    tail: size and checksum of its end after the pages; size 0: unknown. crc32: checksum of the whole file; 0: unknown
    traces: how many it has spans of; 0: unknown
    trace_id_min, trace_id_max: least and greatest trace id, 32 hex digits each; "": unknown
    bloom_bytes: size of the file's filter in the block's object `bloom` (`tables.blocks.bloom`); 0: it is not there
    bloom_inline: a small filter itself, base64; "": none. bloom_crc32: of either one
    trace_start_max_ns: when the last of its traces begins, if each has a time and lies within start_min_ns and
        end_max_ns; 0: one does not, or it is unknown
    """

    model_config = _FROZEN
    name: str
    size_bytes: Int64
    spans: Int64
    start_min_ns: Int64
    end_max_ns: Int64
    tail_bytes: Int64 = 0
    tail_crc32: Int64 = 0
    crc32: Int64 = 0
    traces: Int64 = 0
    trace_id_min: str = ""
    trace_id_max: str = ""
    bloom_bytes: Int64 = 0
    bloom_crc32: Int64 = 0
    bloom_inline: str = ""
    trace_start_max_ns: Int64 = 0

    @property
    def trace_period(self) -> TracePeriod | None:
        """When its traces lie; None: unknown, so that only the file says it."""
        if not self.trace_start_max_ns:
            return None
        return TracePeriod(self.start_min_ns, self.trace_start_max_ns, self.end_max_ns)

    @property
    def trace_ids(self) -> tuple[bytes, bytes] | None:
        """The least and the greatest trace id; None: unknown."""
        return (bytes.fromhex(self.trace_id_min), bytes.fromhex(self.trace_id_max)) if self.trace_id_min else None

    @property
    def tail(self) -> Tail | None:
        """What the end of the file must be; None: unknown."""
        return Tail(self.tail_bytes, self.tail_crc32) if self.tail_bytes else None

    def difference(self, data: bytes) -> str:
        """How the bytes of the whole file differ from those that were written; "" if they do not."""
        if len(data) != self.size_bytes:
            return f"has {len(data)} bytes, not {self.size_bytes}"
        if self.crc32 and zlib.crc32(data) != self.crc32:
            return "is damaged: its checksum is another one"
        tail = self.tail
        return "" if tail is None else tail.problem(data[-tail.size_bytes :])


class BlockMeta(BaseModel):
    """A block: spans of one tenant from one partition's offsets first_offset … last_offset, both included.

    received_min_ms, received_max_ms: Kafka's timestamps of its records, Unix ms; 0: unknown
    level: 0 as flushed; a merged block is one above the highest of those that it replaces
    replaces: block ids
    redactions: ids of the redactions (`tables.redaction`) that have been applied to it
    """

    model_config = _FROZEN
    format: str = FORMAT
    block_id: str
    tenant: str
    # The Kafka cluster whose offsets these are; `epoch` in blocks of before November 2026.
    cluster_id: str = Field(validation_alias=AliasChoices("cluster_id", "epoch"))
    partition: Int64
    partition_count: Int64
    first_offset: Int64
    last_offset: Int64
    spans: Int64
    start_min_ns: Int64
    end_max_ns: Int64
    size_bytes: Int64
    files: list[FileMeta]
    received_min_ms: Int64 = 0
    received_max_ms: Int64 = 0
    level: Int64 = 0
    replaces: list[str] = []
    redactions: list[str] = []

    @property
    def newest_ms(self) -> int:
        """When the newest of its records was received, Unix ms: what windows and retention count from.

        Where that is unknown it is the latest end of a span, which is the client's word.
        """
        return self.received_max_ms or self.end_max_ns // NS_PER_MS

    @property
    def bloom_bytes(self) -> int:
        """The size of the block's object `bloom`; 0: there is none."""
        return sum(file.bloom_bytes for file in self.files)

    @property
    def place(self) -> tuple[str, int]:
        """The Kafka cluster and the partition of its offsets."""
        return self.cluster_id, self.partition

    @property
    def folder(self) -> str:
        """The path of the block's folder."""
        return f"blocks/{self.tenant}/{self.block_id}"

    @property
    def path(self) -> str:
        """The path of this meta.json."""
        return f"{self.folder}/meta.json"

    def path_of(self, file: FileMeta) -> str:
        """The path of one of the block's files."""
        return f"{self.folder}/{file.name}"

    @property
    def key(self) -> str:
        """The block's name in cuts."""
        return f"{self.tenant}/{self.block_id}"

    def encode(self) -> bytes:
        """The object's bytes; equal blocks have equal bytes."""
        return with_checksum(self.model_dump_json(indent=1).encode())


def decode_meta(path: str, data: bytes) -> BlockMeta:
    """The meta from its JSON. Raises: DamagedError if this build cannot read it, or if it belongs to another block"""
    try:
        meta = BlockMeta.model_validate_json(data)
    except ValidationError as err:
        raise DamagedError(path, f"is not a block's meta.json: {err.errors()[0]['msg']}") from err
    _check_format(path, meta)
    try:
        checked = has_checksum(data)
    except ValueError as err:
        raise DamagedError(path, f"is damaged: {err}") from err
    if not checked and any(file.tail_bytes for file in meta.files):
        raise DamagedError(path, "has lost its checksum")
    check_meta(path, meta)
    return meta


def check_meta(path: str, meta: BlockMeta) -> None:
    """Whether it is the meta of the block at this path. Raises: DamagedError if not, or if this build cannot read it"""
    _check_format(path, meta)
    if meta.path != path:
        raise DamagedError(path, f"is the meta.json of {meta.folder}")
    if meta.spans != sum(file.spans for file in meta.files) or any("/" in file.name for file in meta.files):
        raise DamagedError(path, "names files that are not the block's")


def _check_format(path: str, meta: BlockMeta) -> None:
    if meta.format != FORMAT:
        raise DamagedError(path, f"has format {meta.format!r}; this build reads {FORMAT!r}; {NEWER}")


def block_id(cluster_id: str, tenant: str, partition: int, first_offset: int, last_offset: int) -> str:
    """The id of a block. It follows from the arguments, so that a second write writes the same objects."""
    return str(uuid.uuid5(_NAMESPACE, f"{cluster_id}/{tenant}/{partition}/{first_offset}-{last_offset}"))


def merged_block_id(replaced: Iterable[str]) -> str:
    """The id of the block that replaces these blocks: whoever merges them writes the same objects."""
    return str(uuid.uuid5(_NAMESPACE, "/".join(sorted(replaced))))
