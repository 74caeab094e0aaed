"""Which files of which blocks make a job: about as many bytes each, newest first, and the same ones for every query.

Where jobs begin and end follows from the blocks alone, not from how many there are: so a new block changes only the job
of the newest, and a querier that has the others in its caches gets them again.
"""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from app.querying.blocks.block_messages import BlockFiles
from query.scan.pieces import UNKNOWN_NS
from tables.blocks.meta import BlockMeta

# On average so many blocks lie between two whose ids end a job, however small they are.
_BLOCKS_BETWEEN_ENDS: Final = 64
# Metas travel with the job.
_BLOCKS_MAX: Final = 512


@dataclass(frozen=True, slots=True)
class BlockJob:
    """files: in the order of time

    place: where in the sequence of blocks; stays the same while newer blocks join, so that caches hit
    content: different for different files
    latest_ns: no trace or span in the files begins later; `UNKNOWN_NS`: not known
    """

    files: Sequence[BlockFiles]
    place: str
    content: str
    latest_ns: int


def plan_jobs(metas: Sequence[BlockMeta], bytes_per_job: int) -> list[BlockJob]:
    """The jobs for some blocks, the newest first. In: blocks of one tenant"""
    jobs = [_job(files) for files in _groups(metas, bytes_per_job)]
    return sorted(jobs, key=lambda job: -job.latest_ns)


def _groups(metas: Sequence[BlockMeta], bytes_per_job: int) -> Iterator[list[BlockFiles]]:
    group: list[BlockFiles] = []
    size = 0
    for meta in sorted(metas, key=lambda meta: (meta.start_min_ns, meta.block_id)):
        if meta.size_bytes > bytes_per_job:
            if group:
                yield group
                group, size = [], 0
            yield from ([part] for part in _parts(meta, bytes_per_job))
            continue
        if group and (size + meta.size_bytes > bytes_per_job or len(group) >= _BLOCKS_MAX):
            yield group
            group, size = [], 0
        group.append(BlockFiles(meta, 0, len(meta.files)))
        size += meta.size_bytes
        ends = zlib.crc32(meta.block_id.encode()) % _BLOCKS_BETWEEN_ENDS == 0
        if ends and (4 * size > bytes_per_job or len(group) >= _BLOCKS_BETWEEN_ENDS):
            yield group
            group, size = [], 0
    if group:
        yield group


def _parts(meta: BlockMeta, bytes_per_job: int) -> Iterator[BlockFiles]:
    """Ranges of the files of a large block; a file is one row group, and never parted."""
    first = size = 0
    for number, file in enumerate(meta.files):
        if number > first and size + file.size_bytes > bytes_per_job:
            yield BlockFiles(meta, first, number)
            first, size = number, 0
        size += file.size_bytes
    yield BlockFiles(meta, first, len(meta.files))


def _job(files: Sequence[BlockFiles]) -> BlockJob:
    names = "\n".join(one.name for one in files)
    known = all(one.meta.start_min_ns > 0 for one in files)
    latest_ns = max(_end(one) for one in files) if known else UNKNOWN_NS
    return BlockJob(files, files[0].name, blake2b(names.encode(), digest_size=16).hexdigest(), latest_ns)


def _end(files: BlockFiles) -> int:
    if files.is_whole:
        return files.meta.end_max_ns
    return max(file.end_max_ns for file in files.meta.files[files.first : files.end])
