"""Files of blocks as Iceberg's data files: their columns and bounds, from their footers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from tables.blocks.meta import BlockMeta, FileMeta
from tables.parquet.open_file import open_parquet, read_tail
from tables.storage.object_store import ObjectStore, RangeFile

# Columns whose bounds let engines skip files.
_BOUNDED: Final = (
    "trace_id",
    "name",
    "kind",
    "start_ns",
    "duration_ns",
    "status_code",
    "trace_start_ns",
    "trace_duration_ns",
    "resource.service.name",
)
# A longer text is no bound: engines expect them short.
_TEXT_BYTES_MAX: Final = 64
_FIRST_PAGE: Final = 4  # behind Parquet's magic word


@dataclass(frozen=True, slots=True, eq=False)
class DataFileFooter:
    """What the footer of a file says.

    types: of its columns, as Arrow's; bounds: (least, greatest) of a column
    """

    url: str
    size_bytes: int
    rows: int
    types: Mapping[str, Any]
    bounds: Mapping[str, tuple[Any, Any]]


def read_footer(store: ObjectStore, url: str, meta: BlockMeta, file: FileMeta) -> DataFileFooter:
    """Reads the footer of a block's file. Raises: DamagedError, StorageError"""
    path = meta.path_of(file)
    opener = _opener(store, path, file.size_bytes)
    opened = open_parquet(path, opener, None if file.tail is None else read_tail(path, opener, file.tail))
    group = opened.file.metadata.row_group(0)
    bounds = {}
    for name in _BOUNDED:
        leaves = opened.leaves.get(name)
        found = group.column(leaves[0]).statistics if leaves else None
        if found is not None and found.has_min_max:
            low, high = found.min, found.max
            if all(not isinstance(bound, str | bytes) or len(bound) <= _TEXT_BYTES_MAX for bound in (low, high)):
                bounds[name] = low, high
    return DataFileFooter(url, file.size_bytes, file.spans, opened.types, bounds)


def _opener(store: ObjectStore, path: str, size_bytes: int) -> Callable[[], RangeFile]:
    return lambda: RangeFile(lambda ranges: store.get_ranges(path, ranges), size_bytes)


def data_file(footer: DataFileFooter, schema: Any, spec_id: int) -> Any:
    """A pyiceberg DataFile. schema: the table's, as pyiceberg's"""
    from pyiceberg.conversions import to_bytes
    from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
    from pyiceberg.typedef import Record

    fields = {field.name: field for field in schema.fields}
    lower, upper = {}, {}
    for name, (low, high) in footer.bounds.items():
        field = fields[name]
        lower[field.field_id] = to_bytes(field.field_type, low)
        upper[field.field_id] = to_bytes(field.field_type, high)
    made = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=footer.url,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=footer.rows,
        file_size_in_bytes=footer.size_bytes,
        lower_bounds=lower,
        upper_bounds=upper,
        split_offsets=[_FIRST_PAGE],
        sort_order_id=None,
        equality_ids=None,
        key_metadata=None,
    )
    made.spec_id = spec_id  # as of one that was read: it may be deleted later
    return made
