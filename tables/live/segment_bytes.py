"""The bytes of sealed segments: recent ones in memory, all others on the worker's disk."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tables.live.merged_segments import MergedSegments
from tables.live.segment_table import SegmentInfo, Segments
from tables.storage.byte_cache import ByteCache


class SegmentBytes:
    """Reads segments, and the files of blocks that are the same byte by byte. Safe for threads.

    Recent bytes stay in memory, so that a query does not copy megabytes out of RocksDB for each segment.
    """

    def __init__(self, segments: Segments, memory_bytes_max: int) -> None:
        self._segments = segments
        self._recent: ByteCache[SegmentInfo | str, Any] = ByteCache("segments", memory_bytes_max)
        self._copies: dict[str, SegmentInfo] = {}  # by the path of the block's file
        self._merged: dict[str, MergedSegments] = {}  # the same

    def keep(self, info: SegmentInfo, data: Any) -> None:
        """Holds the bytes of a new segment in memory for a while. data: a pyarrow.Buffer"""
        self._recent.put(info, data, data.size)

    def data(self, info: SegmentInfo) -> Any:
        """The bytes of a segment, as a pyarrow.Buffer (disk). Raises: StorageError"""
        data = self._recent.get(info)
        if data is None:
            data = pa.py_buffer(self._segments.data(info))
            self._recent.put(info, data, data.size)
        return data

    def ranges(self, info: SegmentInfo, ranges: Sequence[tuple[int, int]]) -> list[Any]:
        """Parts of a segment, each given as (first byte, number of bytes) (disk). Raises: StorageError"""
        data = self.data(info)
        return [data.slice(*one) for one in ranges]

    def add_copies(self, copies: Mapping[str, SegmentInfo]) -> None:
        """Files of blocks that are segments, byte by byte, under their paths."""
        self._copies |= copies

    def add_merged(self, path: str, merged: MergedSegments, data: Any) -> None:
        """A file of a block that is made of segments, and its bytes, which stay in memory for a while."""
        self._merged[path] = merged
        self._recent.put(path, data, data.size)

    def block_file(self, path: str) -> Any:
        """The bytes of a block's file, if they are still here (disk); else None."""
        info = self._copies.get(path)
        if info is not None:
            return self._kept(info)
        return self._recent.get(path) if path in self._merged else None

    def remade_block_file(self, path: str) -> Any:
        """The bytes of a block's file, made again of its segments if those are all still here (disk); else None. It
        takes as long as making the block did.
        """
        merged = self._merged.get(path)
        if merged is None:
            return None
        parts = [self._kept(info) for info in merged.infos]
        if any(part is None for part in parts):
            return None
        data = merged.again(parts)
        if data is not None:
            self._recent.put(path, data, data.size)
        return data

    def _kept(self, info: SegmentInfo) -> Any:
        data = self._recent.get(info)
        if data is None and (kept := self._segments.copy(info)) is not None:
            data = pa.py_buffer(kept)
            self._recent.put(info, data, data.size)
        return data

    def discard(self, info: SegmentInfo) -> None:
        """Drops a segment from memory; it stays on disk."""
        self._recent.discard(info)

    def delete(self, infos: Sequence[SegmentInfo]) -> None:
        """Deletes segments (disk); the files of blocks that were the same are read from the storage then."""
        gone = set(infos)
        for path in [path for path, info in self._copies.copy().items() if info in gone]:
            self._copies.pop(path, None)
        for path in [path for path, one in self._merged.copy().items() if not gone.isdisjoint(one.infos)]:
            self._merged.pop(path, None)
            self._recent.discard(path)
        for info in infos:
            self._recent.discard(info)
        self._segments.delete(list(infos))
