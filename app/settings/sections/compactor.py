"""The section compactor: merging blocks, and deleting old ones. Names and spellings are Tempo's where it has them."""

from typing import Annotated

from pydantic import Field

from app.settings.base import Section
from app.settings.values import MIB, Bytes, Duration, DurationOrZero


class Compaction(Section):
    block_retention: Duration = Field(
        default=336 * 3600,
        description="How long blocks are kept. A block is deleted when the newest of its spans was received longer ago "
        "than that.",
    )
    compacted_block_retention: Duration = Field(
        default=3600,
        description="How long the objects of a block stay after it was merged or removed, for queries that read them. "
        "At least two `storage.trace.blocklist_poll_s` and one `query.timeout_s`.",
    )
    compaction_window: Duration = Field(
        default=3600,
        description="Length of the first window of time. When a window is over, its blocks become one. The blocks of "
        "24 such windows are merged next, of 7 of these, and of 4 of these, as far as `block_retention` is at least 8 "
        "times as long. Blocks of at most 256 KiB are merged every 4 windows, too.",
    )
    compaction_cycle: Duration = Field(default=30, description="Time between two looks for blocks to merge or delete.")
    max_block_bytes: Bytes = Field(
        default=5 * 1024 * MIB,
        description="Size of a merged block, in bytes. Blocks of this size are not merged any more.",
    )
    input_blocks_min: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=16,
        description="How many blocks of the current window are merged, without waiting for its end. A merge takes "
        "blocks that have been merged equally often.",
    )
    input_blocks_max: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=64, description="Most blocks that one merge reads."
    )
    dry_run: bool = Field(
        default=False,
        description="Delete nothing, and log what would be deleted: blocks that are too old, objects of merged blocks, "
        "old cuts, objects that belong to nothing. Blocks are merged all the same.",
    )


class Compactor(Section):
    disabled: bool = Field(
        default=False,
        description="Run no compactor inside target `all`. Then blocks are neither merged nor deleted, unless another "
        "process has target `compactor`.",
    )
    compaction: Compaction = Compaction()
    merges_max: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Merges that this process runs at once, each on a thread of its own."
    )
    niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        default=5,
        description="Niceness of the threads that merge, as of the command `nice` (Linux only). See `query.niceness` "
        "for what a high value costs.",
    )
    jobs_queued_max: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=100, description="Most merges that are planned ahead, for all compactors together."
    )
    checkpoint_interval: Duration = Field(
        default=3600,
        description="Time after which the blocks of new cuts are added to the indexes of their tenants, even if there "
        "are few. After 64 cuts of a partition it happens at once. Then the cuts can be deleted.",
    )
    audit_interval: DurationOrZero = Field(
        default=24 * 3600,
        description="Time between two listings of all blocks, which find objects that belong to nothing, and blocks "
        "that are missing. 0: never.",
    )
    orphan_age: Duration = Field(
        default=24 * 3600,
        description="Age at which objects in the folder of a block that belong to nothing are deleted: what is left of "
        "a merge that was interrupted.",
    )


class CompactionOverrides(Section):
    """What a tenant may override. Names are Tempo's."""

    block_retention: DurationOrZero = Field(default=0, description="0: as `compactor.compaction.block_retention`.")
    compaction_window: DurationOrZero = Field(default=0, description="0: as `compactor.compaction.compaction_window`.")
    compaction_disabled: bool = Field(default=False, description="Do not merge blocks of the tenant.")
