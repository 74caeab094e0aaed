"""The tenant index: every visible block of a tenant in one object.

    index/<tenant>/<version, 20 digits>.arrow     an Arrow IPC file, zstd; the greatest version counts

It has a row per block, with all fields of `BlockMeta`. The schema's metadata, key `stretto`, is JSON: format, tenant,
version, what the index covers, and what was removed. The JSON ends with a CRC-32 of the whole object, in which the
checksum's own digits are zeros. The schema stands at the beginning and at the end of the file, so the digits do, too.

A large index is written whole only now and then; the versions between are deltas, see `index_delta`.
"""

import re
import types
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any, Final, NamedTuple, Protocol, TypeVar, Union, get_args, get_origin

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError

from tables.blocks.filter_pack import PackRef
from tables.blocks.meta import BlockMeta
from tables.catalog.place import Place, parse_place, place_name
from tables.errors import NEWER, DamagedError
from tables.redaction.rules import Redaction
from tables.turns import AT_ONCE

_KEY: Final = b"stretto"
_NO_DIGITS: Final = "00000000"
_NO_CRC: Final = b'"crc32":"00000000"}'
_CRC: Final = re.compile(rb'"crc32":"([0-9a-f]{8})"\}')
_TYPES: Final = {int: pa.int64(), str: pa.string(), float: pa.float64(), bool: pa.bool_(), bytes: pa.binary()}

Rows = npt.NDArray[np.int64]


class Removed(NamedTuple):
    """A block that is not visible any more, and whose objects are deleted some time after removed_s (Unix s)."""

    block_id: str
    removed_s: float


def _arrow_type(annotation: Any) -> pa.DataType:
    if annotation in _TYPES:
        return _TYPES[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return pa.list_(_arrow_type(arguments[0]))
    if origin in (Union, types.UnionType):  # of something and None
        (some,) = (one for one in arguments if one is not type(None))
        return _arrow_type(some)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return pa.struct(_fields(annotation))
    raise TypeError(f"no Arrow type for {annotation}")


def _fields(model: type[BaseModel]) -> list[pa.Field]:
    return [pa.field(name, _arrow_type(one.annotation)) for name, one in model.model_fields.items()]


@cache
def index_schema() -> pa.Schema:
    """The columns of an index: the fields of `BlockMeta`."""
    return pa.schema(_fields(BlockMeta))


def rows_of(metas: Iterable[BlockMeta]) -> pa.Table:
    """Blocks as rows of an index."""
    return pa.Table.from_pylist([meta.model_dump() for meta in metas], schema=index_schema())


class Lineage(NamedTuple):
    """How a version was written.

    bases: the versions that were written whole and may still be there, ascending; this one consists of the last of them
    and the deltas up to its own number
    crc32: of its own object; whole_bytes, delta_bytes: sizes of the last base, and of the deltas behind it together
    """

    bases: tuple[int, ...] = ()
    crc32: int = 0
    whole_bytes: int = 0
    delta_bytes: int = 0

    @property
    def base(self) -> int:
        """The version, written whole, that this one begins with; 0: unknown."""
        return self.bases[-1] if self.bases else 0


@dataclass(frozen=True, slots=True)
class TenantIndex:
    """One version of a tenant's index. It never changes; `tables.catalog.changes` makes the next one from it.

    version: 0: there is none yet
    table: a row per visible block, in the order in which blocks were added
    covered: by place, the end of a cut. Each of the tenant's blocks in cuts below it is accounted for: it is a row, or
    it was replaced or removed
    removed: blocks that are not rows any more, and whose objects may still exist
    redactions: those in force; a row says which of them have been applied to its block
    filter_packs: objects with the filters of many blocks. They save requests: what they lack is in blocks' own objects
    lineage: of the object that it was read from, or written to
    """

    tenant: str
    version: int = 0
    table: pa.Table = field(default_factory=lambda: index_schema().empty_table())
    covered: Mapping[Place, int] = field(default_factory=dict)
    removed: tuple[Removed, ...] = ()
    redactions: tuple[Redaction, ...] = ()
    filter_packs: tuple[PackRef, ...] = ()
    lineage: Lineage = field(default=Lineage(), compare=False)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def metas(self, rows: Rows | None = None) -> list[BlockMeta]:
        """The blocks of some rows (of all, if None) as objects. That costs about 20 µs each: choose rows first."""
        table = self.table if rows is None else self.table.take(pa.array(rows, pa.int64()))
        return [
            BlockMeta.model_validate(row)
            for first in range(0, table.num_rows, AT_ONCE)
            for row in table.slice(first, AT_ONCE).to_pylist()
        ]

    def numbers(self, column: str) -> Rows:
        """An integer column of the index as an array, one value per block."""
        found: Rows = self.table[column].to_numpy()
        return found

    def overlapping(self, start_ns: int | None, end_ns: int | None) -> Rows:
        """The rows of blocks with spans in the time range, both ends included. None: open"""
        wanted = np.ones(len(self), bool)
        if start_ns is not None:
            wanted &= self.numbers("end_max_ns") >= start_ns
        if end_ns is not None:
            wanted &= self.numbers("start_min_ns") <= end_ns
        return np.flatnonzero(wanted)

    def rows_with(self, block_ids: Sequence[str]) -> Rows:
        """The rows of blocks with these ids; fewer than ids where some are not rows."""
        found = pc.is_in(self.table["block_id"], pa.array(block_ids, pa.string()))
        return np.flatnonzero(found.to_numpy())

    def meta_of(self, block_id: str) -> BlockMeta | None:
        """The block, if it is visible."""
        found = self.metas(self.rows_with([block_id]))
        return found[0] if found else None

    def names(self, block_id: str) -> bool:
        """Whether readers may know the block: it is a row, or was one not long ago. Its objects must stay."""
        return len(self.rows_with([block_id])) > 0 or any(one.block_id == block_id for one in self.removed)

    def partition_counts(self, cluster_id: str) -> set[int]:
        """Numbers of partitions that the topic had when blocks of the Kafka cluster were written."""
        of_cluster = self.table.filter(pc.equal(self.table["cluster_id"], cluster_id))
        return set(pc.unique(of_cluster["partition_count"]).to_pylist())

    def encode(self) -> bytes:
        """The object's bytes; equal indexes have equal bytes."""
        head = {
            "tenant": self.tenant,
            "version": self.version,
            "covered": {place_name(place): offset for place, offset in sorted(self.covered.items())},
            "removed": [list(one) for one in self.removed],
            "redactions": [one.model_dump() for one in self.redactions],
            "filter_packs": [one.model_dump() for one in self.filter_packs],
            "bases_before": [base for base in self.lineage.bases if base != self.version],
        }
        return INDEX.encode(head, self.table)


def index_path(tenant: str, version: int) -> str:
    """The path of a version of a tenant's index."""
    return f"index/{tenant}/{version:020d}.arrow"


def decode_index(path: str, data: bytes) -> TenantIndex:
    """The index from the bytes of the object at `path`.

    Raises: DamagedError if they differ from what was written, belong to another object, or this build cannot read them
    """
    return INDEX.decode(path, data, _index)


def _index(head: Mapping[str, Any], rows: pa.Table, crc32: int, size_bytes: int) -> TenantIndex:
    return TenantIndex(
        tenant=str(head["tenant"]),
        version=int(head["version"]),
        table=rows,
        covered=covered_of(head),
        removed=removed_of(head),
        redactions=tuple(Redaction.model_validate(one) for one in head.get("redactions", [])),
        filter_packs=tuple(PackRef.model_validate(one) for one in head.get("filter_packs", [])),
        lineage=Lineage(_bases(head), crc32, size_bytes),
    )


def covered_of(head: Mapping[str, Any]) -> dict[Place, int]:
    """What an index covers, as its object has it."""
    return {parse_place(name): int(offset) for name, offset in head["covered"].items()}


def removed_of(head: Mapping[str, Any]) -> tuple[Removed, ...]:
    """Blocks that were removed, as an object of the index has them."""
    return tuple(Removed(str(name), float(at_s)) for name, at_s in head["removed"])


def _bases(head: Mapping[str, Any]) -> tuple[int, ...]:
    """Earlier builds did not say which versions are whole: all were."""
    found = (*map(int, head.get("bases_before", [])), int(head["version"]))
    if any(later <= base for base, later in pairwise(found)):
        raise ValueError(f"versions {found} are not in order")
    return found


class _Version(Protocol):
    """What an object of an index says which it is."""

    @property
    def tenant(self) -> str: ...

    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=_Version)
# From the JSON, the rows, the checksum and the size of an object.
Make = Callable[[Mapping[str, Any], pa.Table, int, int], V]


@dataclass(frozen=True, slots=True)
class IndexForm:
    """How objects of an index are written: rows in Arrow IPC, with JSON that begins with `format`.

    what: an object of this form, in errors; new, open: Arrow's functions that begin to write, and to read
    """

    format: str
    what: str
    new: Callable[..., Any]
    open: Callable[..., Any]

    def encode(self, head: Mapping[str, Any], rows: pa.Table) -> bytes:
        """The object's bytes, with the checksum."""
        json = orjson.dumps({"format": self.format, **head, "crc32": _NO_DIGITS})
        table = rows.combine_chunks().replace_schema_metadata({_KEY: json})
        sink = pa.BufferOutputStream()
        with self.new(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        data: bytes = sink.getvalue().to_pybytes()
        return data.replace(_NO_CRC, b'"crc32":"%08x"}' % zlib.crc32(data))

    def decode(self, path: str, data: bytes, make: Make[V]) -> V:
        """What `make` makes of the object at `path`.

        Raises: DamagedError if the bytes differ from what was written, belong to another object, or this build cannot
        read them
        """
        crc32 = checked_crc(path, data)
        try:
            # Copied: Arrow needs aligned bytes, and so nothing else keeps the object's bytes in memory.
            table = self.open(pa.py_buffer(data)).read_all()
            table.validate(full=True)
            head = orjson.loads(table.schema.metadata[_KEY])
            if head["format"] != self.format:
                raise DamagedError(path, f"has format {head['format']!r}; this build reads {self.format!r}; {NEWER}")
            made = make(head, _as_now(table.replace_schema_metadata(None)), crc32, len(data))
        except DamagedError:
            raise
        except (pa.ArrowException, OSError, KeyError, TypeError, ValueError, AttributeError) as err:
            raise DamagedError(path, f"is not {self.what}: {err}") from err
        if index_path(made.tenant, made.version) != path:
            raise DamagedError(path, f"is version {made.version} of the index of tenant {made.tenant}")
        return made


INDEX: Final = IndexForm("stretto-index1", "a tenant's index", pa.ipc.new_file, pa.ipc.open_file)


def checked_crc(path: str, data: bytes) -> int:
    """The checksum of the object. Raises: DamagedError if its bytes are others than those that were written"""
    found = set(_CRC.findall(data))
    if len(found) != 1:
        raise DamagedError(path, "is not a tenant's index: it has no checksum")
    (digits,) = found
    if zlib.crc32(data.replace(b'"crc32":"%b"}' % digits, _NO_CRC)) != int(digits, 16):
        raise DamagedError(path, "is damaged: its checksum is another one")
    return int(digits, 16)


def _as_now(table: pa.Table) -> pa.Table:
    """The rows with the columns of this build. Indexes of other builds have others, for a while."""
    if table.schema.equals(index_schema()):
        return table.combine_chunks()
    try:
        return rows_of(BlockMeta.model_validate(row) for row in table.to_pylist())
    except ValidationError as err:
        raise ValueError(f"a row is not a block: {err.errors()[0]['msg']}") from err
