"""Changes of a tenant's index that concern redactions: pure functions, as those of `tables.catalog.changes`."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from tables.catalog.tenant_index import Rows, TenantIndex
from tables.redaction.rules import Redaction

_COLUMN = "redactions"


def add_redaction(index: TenantIndex, redaction: Redaction) -> TenantIndex:
    """Puts a redaction in force. One that is in force stays so, until the later of both ends."""
    held = next((one for one in index.redactions if one.id == redaction.id), None)
    if held is not None and held.kept_until_s >= redaction.kept_until_s:
        return index
    others = tuple(one for one in index.redactions if one.id != redaction.id)
    return replace(index, redactions=(*others, redaction))


def unredacted(index: TenantIndex, redactions: Sequence[Redaction]) -> Rows:
    """The rows of blocks to which one of the redactions has not been applied."""
    wanted = {redaction.id for redaction in redactions}
    applied = index.table[_COLUMN].to_pylist()
    return np.flatnonzero([not wanted.issubset(ids or ()) for ids in applied])


def mark_redacted(index: TenantIndex, block_ids: Collection[str], redactions: Sequence[Redaction]) -> TenantIndex:
    """Records that the redactions have nothing to remove from some blocks. Ids of others are ignored."""
    rows = set(index.rows_with(sorted(set(block_ids))).tolist())
    if not rows:
        return index
    added = [redaction.id for redaction in redactions]
    table = index.table
    applied = [
        sorted({*(ids or ()), *added}) if row in rows else ids or []
        for row, ids in enumerate(table[_COLUMN].to_pylist())
    ]
    at = table.schema.get_field_index(_COLUMN)
    return replace(
        index, table=table.set_column(at, table.schema.field(at), pa.array(applied, table.schema.field(at).type))
    )


def end_redactions(index: TenantIndex, now_s: float) -> TenantIndex:
    """Forgets redactions that nothing needs any more: Kafka has no span from before them, all blocks are redacted."""
    over = [one for one in index.redactions if one.kept_until_s <= now_s and not len(unredacted(index, [one]))]
    if not over:
        return index
    gone = {one.id for one in over}
    return replace(index, redactions=tuple(one for one in index.redactions if one.id not in gone))
