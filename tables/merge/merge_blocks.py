"""Merges blocks into one, in object storage.

Whoever merges the same blocks writes a block with the same id. The names of its files carry a checksum of their bytes:
if two processes of different versions merge the same blocks at once, each meta still names the files that it describes.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from tables.blocks.meta import BlockMeta, FileMeta, decode_meta, merged_block_id
from tables.blocks.write import BlockWriter, SegmentFile
from tables.columns.duplicates import DUPLICATES
from tables.errors import StorageError
from tables.merge.inputs import ParquetInput
from tables.merge.merge import FILE_ROWS, merge
from tables.storage.object_store import ObjectStore, RangeFile

_SAME: Final = ("tenant", "cluster_id", "partition", "partition_count")


class MergeCancelled(Exception):  # noqa: N818  # the caller's wish, not an error
    """A merge was cancelled between two files. Its block has no meta.json, so nobody sees it."""


class MergedBlock(NamedTuple):
    """meta: of the new block; repeated: how many spans were left out since others equal them in every field"""

    meta: BlockMeta
    repeated: int


def merge_blocks(
    store: ObjectStore,
    blocks: Sequence[BlockMeta],
    attribute_columns_max: int,
    *,
    file_rows: int = FILE_ROWS,
    folder: Path | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> MergedBlock:
    """Writes the block that replaces some blocks of one tenant and partition: its files, filters, then meta.json.

    folder: for rows that wait on local disk, see `tables.merge.merge.merge`; is_cancelled: asked before each file
    If the block is there already, nothing is written. The block is not visible before the caller has made it so.
    Raises: MergeCancelled; DamagedError if a block cannot be read; StorageError; OSError if the folder has no room;
    ValueError if the blocks are not of one tenant and partition
    """
    if len({tuple(getattr(block, name) for name in _SAME) for block in blocks}) != 1:
        raise ValueError(f"blocks of one tenant and partition are merged, not {[block.key for block in blocks]}")
    spans = sum(block.spans for block in blocks)
    if (done := _existing(store, blocks)) is not None:
        return MergedBlock(done, spans - done.spans)
    writer = BlockWriter(store, _draft(blocks))
    repeated = 0
    for merged in merge(_inputs(store, blocks), attribute_columns_max, file_rows, folder):
        if is_cancelled():
            raise MergeCancelled
        file = SegmentFile(merged.data, merged.spans, merged.start_min_ns, merged.end_max_ns, merged=True)
        writer.add(file, merged.trace_ids)
        repeated += merged.repeated
    if sum(file.spans for file in writer.files) + repeated != spans:
        target = _draft(blocks).folder
        raise RuntimeError(f"the merge of {spans} spans of {target} has lost some; its block is not written")
    meta = writer.finish()
    DUPLICATES.labels("compaction").inc(repeated)
    return MergedBlock(meta, repeated)


def _existing(store: ObjectStore, blocks: Sequence[BlockMeta]) -> BlockMeta | None:
    """The merged block, if somebody has written it."""
    path = _draft(blocks).path
    data = store.get(path)
    if data is None:
        return None
    try:
        return decode_meta(path, data)
    except StorageError:  # damaged: it is written again
        return None


def _draft(blocks: Sequence[BlockMeta]) -> BlockMeta:
    """The meta of the merged block without what its files say."""
    first = blocks[0]
    received = [block.received_min_ms for block in blocks]
    return BlockMeta(
        block_id=merged_block_id(block.block_id for block in blocks),
        tenant=first.tenant,
        cluster_id=first.cluster_id,
        partition=first.partition,
        partition_count=first.partition_count,
        first_offset=min(block.first_offset for block in blocks),
        last_offset=max(block.last_offset for block in blocks),
        spans=0,
        start_min_ns=0,
        end_max_ns=0,
        size_bytes=0,
        files=[],
        received_min_ms=min(received) if all(received) else 0,
        received_max_ms=max(block.newest_ms for block in blocks),
        level=1 + max(block.level for block in blocks),
        replaces=sorted(block.block_id for block in blocks),
        redactions=sorted(set.intersection(*(set(block.redactions) for block in blocks))),
    )


def _inputs(store: ObjectStore, blocks: Iterable[BlockMeta]) -> list[ParquetInput]:
    return [_input(store, block.path_of(file), file) for block in blocks for file in block.files]


def _input(store: ObjectStore, path: str, file: FileMeta) -> ParquetInput:
    return ParquetInput(
        path, file.spans, lambda: RangeFile(partial(store.get_ranges, path), file.size_bytes), tail=file.tail
    )
