"""Small segments of a block share one file: a file of few spans costs its readers as much as one of many."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from tables.blocks.write import SegmentFile
from tables.live.segment_table import SegmentInfo
from tables.merge.inputs import ParquetInput
from tables.merge.merge import MergedFile, merge
from tables.storage.object_store import RangeFile

# A segment of so many spans has a file of its own. Merging smaller ones costs a hundredth of what sealing them did.
_SMALL_SPANS: Final = 32_768
_FILE_SPANS: Final = 65_536


@dataclass(frozen=True, slots=True)
class MergedSegments:
    """Which segments a file of a block is made of.

    number: of the file among those that these segments became
    """

    infos: tuple[SegmentInfo, ...]
    attribute_columns_max: int
    number: int
    size_bytes: int

    def again(self, parts: Sequence[Any]) -> Any:
        """The file's bytes, made of those of its segments; None if they are others now. In: Arrow buffers"""
        files = list(merge_segments(self.infos, parts, self.attribute_columns_max))
        data = files[self.number].data if self.number < len(files) else None
        return data if data is not None and data.size == self.size_bytes else None


def small_segments(infos: Sequence[SegmentInfo]) -> list[SegmentInfo]:
    """Those of a block's segments that are to share files: none, if it would be one only."""
    small = [info for info in infos if info.spans < _SMALL_SPANS]
    return small if len(small) > 1 else []


def merge_segments(
    infos: Sequence[SegmentInfo], parts: Sequence[Any], attribute_columns_max: int
) -> Iterator[MergedFile]:
    """The files that segments become. The same segments become the same bytes. parts: the bytes of each, as buffers

    Raises: DamagedError, OSError
    """
    inputs = [
        ParquetInput(_name(info), info.spans, partial(_file, data), is_own=True)
        for info, data in zip(infos, parts, strict=True)
    ]
    return merge(inputs, attribute_columns_max, _FILE_SPANS)


def segment_file(merged: MergedFile, infos: Sequence[SegmentInfo]) -> SegmentFile:
    """A merged file as a file of a block."""
    known = all(info.last_timestamp_ms for info in infos)
    received_ms = max(info.last_timestamp_ms for info in infos) if known else 0
    first_ms = min(info.first_timestamp_ms for info in infos)
    times = (merged.start_min_ns, merged.end_max_ns)
    return SegmentFile(merged.data, merged.spans, *times, first_ms, received_ms, merged=True)


def _name(info: SegmentInfo) -> str:
    return f"segment {info.partition}/{info.tenant}/{info.first_offset}-{info.last_offset}"


def _file(data: Any) -> RangeFile:
    return RangeFile(lambda ranges: [data.slice(*one) for one in ranges], data.size)
