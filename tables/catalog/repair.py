"""Makes anew what can be made anew: indexes, metas, filters. Nothing that is still needed is ever deleted."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from tables.blocks.bloom import BloomWriter, bloom_path
from tables.blocks.meta import BlockMeta
from tables.blocks.write import trace_ids_of
from tables.catalog.block_list import BlockList
from tables.catalog.changes import add_blocks, remove_blocks
from tables.catalog.check import Finding
from tables.catalog.index_store import IndexStore
from tables.catalog.known_index import commit_known
from tables.catalog.rebuild import CutRanges, rebuild_index, write_index
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError
from tables.redaction.rules import Redaction
from tables.storage.object_store import ObjectStore

_ORDER: Final = ("index", "meta", "bloom", "missing")


class Repair:
    """For one storage. redactions: those of a tenant that were asked for, wherever that is written"""

    def __init__(
        self,
        blocks: BlockList,
        cuts: CutRanges,
        redactions: Callable[[str], Sequence[Redaction]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._blocks, self._cuts, self._redactions, self._clock = blocks, cuts, redactions, clock
        self._indexes = IndexStore(blocks.store)

    def run(self, findings: Iterable[Finding], *, drop_missing: bool) -> Iterator[str]:
        """Repairs, and says what was done or why not. drop_missing: blocks that are not whole are not shown any more

        Raises: StorageError if the storage is away
        """
        seen: set[tuple[str, str, str]] = set()
        for finding in sorted(
            findings, key=lambda one: _ORDER.index(one.repair) if one.repair in _ORDER else len(_ORDER)
        ):
            what = (finding.repair, finding.tenant, "" if finding.repair == "index" else finding.block_id)
            if not finding.repair or what in seen or (finding.repair == "missing" and not drop_missing):
                continue
            seen.add(what)
            try:
                yield self._one(finding)
            except DamagedError as err:
                yield f"cannot repair {finding.path}: {err}"

    def _one(self, finding: Finding) -> str:
        match finding.repair:
            case "index":
                return self._index(finding.tenant)
            case "meta":
                meta = self._visible(finding)
                self._blocks.store.put(meta.path, meta.encode())
                return f"{meta.path} is written anew"
            case "bloom":
                return self._bloom(self._visible(finding))
            case _:
                return self._drop(finding)

    def _index(self, tenant: str) -> str:
        made = rebuild_index(self._blocks.store, tenant, self._cuts, self._redactions(tenant))
        write_index(self._blocks.store, made.index)
        self._blocks.poll([])
        left_out = "".join(f"\n  {block_id} is left out: {why}" for block_id, why in sorted(made.left_out.items()))
        return f"index/{tenant}: version {made.index.version} has {len(made.index)} blocks{left_out}"

    def _visible(self, finding: Finding) -> BlockMeta:
        for meta in self._blocks.snapshot(finding.tenant).blocks:
            if meta.block_id == finding.block_id:
                return meta
        raise DamagedError(finding.path, "has nothing left that says what it was")

    def _bloom(self, meta: BlockMeta) -> str:
        data = filters_of(self._blocks.store, meta)
        self._blocks.store.put(bloom_path(meta), data)
        return f"{bloom_path(meta)} is written anew"

    def _drop(self, finding: Finding) -> str:
        tenant, block_id = finding.tenant, finding.block_id
        fresh = self._blocks.uncovered(tenant)

        def change(index: TenantIndex) -> TenantIndex | None:
            shown = add_blocks(index, fresh.metas, fresh.covered, fresh.since)
            return None if shown is None else remove_blocks(shown, [block_id], self._clock())

        made = self._commit(tenant, change)
        if made is None or not any(one.block_id == block_id for one in made.removed):
            made = self._past_cut(tenant, block_id)
        if made is None:
            return f"cannot repair {finding.path}: no cut and no index names the block"
        return f"block {tenant}/{block_id} is not shown any more"

    def _past_cut(self, tenant: str, block_id: str) -> TenantIndex | None:
        """A block of a cut of which not even the meta is left: the index covers the cut without it."""
        damage = next((one for one in self._blocks.damaged() if (one.tenant, one.block_id) == (tenant, block_id)), None)
        if damage is None or damage.partition is None or damage.cluster_id is None:
            return None
        place = (damage.cluster_id, damage.partition)
        end = self._cuts.end_of(place, f"{tenant}/{block_id}")
        if end is None:
            return None
        made = self._commit(tenant, lambda index: replace(index, covered={**index.covered, place: end}))
        if made is not None:
            self._blocks.poll([])
        return made

    def _commit(self, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]) -> TenantIndex | None:
        return commit_known(self._blocks, self._indexes, tenant, change)


def filters_of(store: ObjectStore, meta: BlockMeta) -> bytes:
    """The object `bloom` from the block's files. Raises: DamagedError if they are not those that were written"""
    bloom = BloomWriter()
    for file in meta.files:
        path = meta.path_of(file)
        data = store.get(path)
        if data is None:
            raise DamagedError(path, "is missing")
        made = bloom.add(trace_ids_of(data))
        if (made.bloom_crc32, made.bloom_bytes) != (file.bloom_crc32, file.bloom_bytes):
            raise DamagedError(path, "has other trace ids than when its filter was made")
    return bloom.data()
