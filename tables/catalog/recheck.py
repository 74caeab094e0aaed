"""Damaged blocks are looked at again: somebody may have repaired them."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from tables.blocks.meta import BlockMeta
from tables.catalog.damage import Damage
from tables.errors import StorageError
from tables.parquet.read import ParquetSource
from tables.storage.object_store import Stamp
from tables.storage.read_many import read_many

# A damaged block with unchanged files is read again after this time: the damage may have happened in transit.
_AGAIN_S: Final = 300.0
# So many damaged blocks are looked at with each poll: a lost bucket has thousands.
_LOOKED_AT_MAX: Final = 32


def files_of(meta: BlockMeta) -> list[str]:
    """The paths of a block's data files."""
    return [meta.path_of(file) for file in meta.files]


def stamped(damage: Damage, stamps: Mapping[str, Stamp | None]) -> Damage:
    """The damage with current stamps. In: stamps of all its files"""
    return replace(damage, stamps=dict(stamps), since_s=time.monotonic())


def recheck(
    damaged: Mapping[str, Damage],
    stamp: Callable[[str], Stamp | None],
    sources: Callable[[BlockMeta], Sequence[ParquetSource]],
) -> dict[str, Damage]:
    """The blocks whose data still counts as damaged. If a file has changed, the block is given to readers again. Of the
    unchanged ones it reads one again, if the last check was long ago.

    Raises: StorageError if the storage is away
    """
    oldest = sorted(damaged.items(), key=lambda item: item[1].looked_at_s)[:_LOOKED_AT_MAX]
    looked_at = {key: (damage, damage.meta) for key, damage in oldest if damage.meta is not None}
    stamps = read_many(stamp, [path for _, meta in looked_at.values() for path in files_of(meta)])
    left = dict(damaged)
    again = True
    for key, (damage, meta) in looked_at.items():
        now = {path: stamps[path] for path in files_of(meta)}
        if any(isinstance(one, StorageError) for one in now.values()):
            continue
        if now != damage.stamps:
            del left[key]
            continue
        left[key] = replace(damage, looked_at_s=time.monotonic())
        if again and time.monotonic() - damage.since_s > _AGAIN_S:
            again = False
            try:
                for source in sources(meta):
                    source.verify()
                del left[key]
            except StorageError:
                left[key] = replace(damage, since_s=time.monotonic(), looked_at_s=time.monotonic())
    return left
