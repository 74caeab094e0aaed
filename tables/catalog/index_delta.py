"""What one version of a tenant's index changes in the version before it.

It is an object in the place of a version (`index/<tenant>/<version>.arrow`): an Arrow IPC stream, zstd, with the rows
that are new. Its head, the schema's metadata as in `tenant_index`, says which rows are gone, and which blocks were
removed or forgotten; what else an index says it has in full. It names the checksum of the version before, so it is
never applied to another one.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from tables.blocks.filter_pack import PackRef
from tables.catalog.place import Place, place_name
from tables.catalog.tenant_index import IndexForm, Removed, TenantIndex, covered_of, index_path, removed_of
from tables.errors import DamagedError
from tables.redaction.rules import Redaction

_DELTA: Final = IndexForm("stretto-index-delta1", "a change of a tenant's index", pa.ipc.new_stream, pa.ipc.open_stream)
# An Arrow IPC stream begins so. A version that is written whole is an IPC file, which begins otherwise.
_STREAM: Final = b"\xff\xff\xff\xff"


@dataclass(frozen=True, slots=True)
class IndexDelta:
    """A version as a change of the one before.

    base: the version, written whole, that this one and those between are changes of
    before_crc32: checksum of the object of the version before; crc32, size_bytes: of this one's object
    gone: ids of rows that are no rows any more; rows: those that are new, behind the others
    forgotten: ids that `removed` does not have any more; removed: what it has besides
    """

    tenant: str
    version: int
    base: int
    before_crc32: int
    crc32: int
    size_bytes: int
    gone: frozenset[str]
    rows: pa.Table
    covered: Mapping[Place, int]
    forgotten: frozenset[str]
    removed: tuple[Removed, ...]
    redactions: tuple[Redaction, ...]
    filter_packs: tuple[PackRef, ...]


def is_delta(data: bytes) -> bool:
    """Whether the object of a version is a delta."""
    return data.startswith(_STREAM)


def encode_delta(before: TenantIndex, after: TenantIndex) -> bytes | None:
    """The object's bytes; None if no delta says exactly what `after` is: a row has changed, or rows changed places.

    In: versions n, as it was read or written, and n + 1
    """
    gone = _without(before.table, after.table)["block_id"].to_pylist()
    rows = _without(after.table, before.table)
    known, kept = set(before.removed), set(after.removed)
    forgotten = [one.block_id for one in before.removed if one not in kept]
    removed = [one for one in after.removed if one not in known]
    if not _changed_rows(before.table, [(gone, rows)]).equals(after.table):
        return None
    if _changed_removed(before.removed, forgotten, removed) != after.removed:
        return None
    head = {
        "tenant": after.tenant,
        "version": after.version,
        "base": before.lineage.base,
        "before_crc32": before.lineage.crc32,
        "gone": gone,
        "covered": {place_name(place): offset for place, offset in sorted(after.covered.items())},
        "forgotten": forgotten,
        "removed": [list(one) for one in removed],
        "redactions": [one.model_dump() for one in after.redactions],
        "filter_packs": [one.model_dump() for one in after.filter_packs],
    }
    return _DELTA.encode(head, rows)


def decode_delta(path: str, data: bytes) -> IndexDelta:
    """The delta from the bytes of the object at `path`.

    Raises: DamagedError if they differ from what was written, belong to another object, or this build cannot read them
    """
    return _DELTA.decode(path, data, _delta)


def _delta(head: Mapping[str, Any], rows: pa.Table, crc32: int, size_bytes: int) -> IndexDelta:
    delta = IndexDelta(
        tenant=str(head["tenant"]),
        version=int(head["version"]),
        base=int(head["base"]),
        before_crc32=int(head["before_crc32"]),
        crc32=crc32,
        size_bytes=size_bytes,
        gone=frozenset(map(str, head["gone"])),
        rows=rows,
        covered=covered_of(head),
        forgotten=frozenset(map(str, head["forgotten"])),
        removed=removed_of(head),
        redactions=tuple(Redaction.model_validate(one) for one in head["redactions"]),
        filter_packs=tuple(PackRef.model_validate(one) for one in head["filter_packs"]),
    )
    if not 0 < delta.base < delta.version:
        raise ValueError(f"version {delta.version} cannot follow from version {delta.base}")
    return delta


def applied(index: TenantIndex, deltas: Sequence[IndexDelta]) -> TenantIndex:
    """The version of the last delta. In: a version, as it was read or written, and the deltas behind it, in order

    The rows are copied once, however many deltas there are.
    Raises: DamagedError if a delta follows another version than the one before it
    """
    lineage, removed = index.lineage, index.removed
    for number, delta in enumerate(deltas, index.version + 1):
        if (delta.version, delta.base, delta.before_crc32) != (number, lineage.base, lineage.crc32):
            path = index_path(delta.tenant, delta.version)
            raise DamagedError(
                path, "follows another version than the one before it; were objects of index/ exchanged?"
            )
        lineage = lineage._replace(crc32=delta.crc32, delta_bytes=lineage.delta_bytes + delta.size_bytes)
        removed = _changed_removed(removed, delta.forgotten, delta.removed)
    if not deltas:
        return index
    last = deltas[-1]
    return TenantIndex(
        tenant=index.tenant,
        version=last.version,
        table=_changed_rows(index.table, [(delta.gone, delta.rows) for delta in deltas]),
        covered=last.covered,
        removed=removed,
        redactions=last.redactions,
        filter_packs=last.filter_packs,
        lineage=lineage,
    )


def _changed_rows(table: pa.Table, changes: Sequence[tuple[Collection[str], pa.Table]]) -> pa.Table:
    """The rows after some changes, each of ids that go and rows that come."""
    gone: set[str] = set()
    parts = []
    for ids, rows in reversed(changes):
        parts.append(_without_ids(rows, gone))
        gone.update(ids)
    parts.append(_without_ids(table, gone))
    return pa.concat_tables(reversed(parts)).combine_chunks()


def _without_ids(table: pa.Table, ids: Collection[str]) -> pa.Table:
    if not ids or not table.num_rows:
        return table
    return table.filter(pc.invert(pc.is_in(table["block_id"], pa.array(sorted(ids), pa.string()))))


def _without(table: pa.Table, other: pa.Table) -> pa.Table:
    """The rows of blocks that are no rows of the other table."""
    return table.filter(pc.invert(pc.is_in(table["block_id"], other["block_id"].combine_chunks())))


def _changed_removed(
    removed: Sequence[Removed], forgotten: Collection[str], new: Sequence[Removed]
) -> tuple[Removed, ...]:
    gone = set(forgotten)
    return (*(one for one in removed if one.block_id not in gone), *new)
