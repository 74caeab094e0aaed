"""Compares storage with the known blocks: finds new blocks, deleted ones, and damaged ones that a cut names."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tables.blocks.meta import BlockMeta, decode_meta
from tables.catalog.damage import Damage
from tables.catalog.place import Place
from tables.errors import DamagedError, StorageError
from tables.parquet.read import ParquetSource
from tables.storage.object_store import ObjectStore, Stamp

# How many objects may fail to be read before the storage counts as away.
_FAILURES_MAX: Final = 3
# A damaged block with unchanged files is read again after this time: the damage may have happened in transit.
_AGAIN_S: Final = 300.0
_META: Final = "meta.json"


@dataclass(slots=True)
class Inspection:
    """known: keys of blocks that cuts name or that exist; damaged: by key, blocks with a bad meta.json; stamps: of all
    objects of blocks with damaged data
    """

    new: list[BlockMeta] = field(default_factory=list)
    gone: list[BlockMeta] = field(default_factory=list)
    known: set[str] = field(default_factory=set)
    damaged: dict[str, Damage] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)


def inspect(
    store: ObjectStore,
    known: Mapping[str, BlockMeta],
    named: Mapping[Place, set[str]],
    damaged: Mapping[str, Damage],
) -> Inspection:
    """Inspects storage. In: blocks by key, and the keys that cuts name. Raises: StorageError if the storage is away"""
    found, there = Inspection(), set[str]()
    for path, stamp in store.objects("blocks"):
        parts = path.split("/")
        if len(parts) != 4:
            continue
        key = f"{parts[1]}/{parts[2]}"
        if parts[3] == _META:
            there.add(key)
        if key in damaged and damaged[key].reason == "data":
            found.stamps[path] = stamp
    places = {key: place for place, keys in named.items() for key in keys}
    _read_new(store, found, there - known.keys(), places)
    replaced = {f"{meta.tenant}/{name}" for meta in [*known.values(), *found.new] for name in meta.replaces}
    for key in places.keys() - there - replaced:
        meta = known.get(key)
        problem = "its meta.json is missing" + (", and is known here still" if meta else "")
        found.damaged[key] = _damage(key, problem, places.get(key), meta)
    found.gone = [meta for key, meta in known.items() if key not in there and key not in found.damaged]
    found.known = there | found.damaged.keys()
    return found


def _read_new(store: ObjectStore, found: Inspection, keys: set[str], places: Mapping[str, Place]) -> None:
    failures = 0
    for key in sorted(keys):
        path = f"blocks/{key}/{_META}"
        try:
            data = store.get(path)
            if data is not None:
                found.new.append(decode_meta(path, data))
        except DamagedError as err:
            found.damaged[key] = _damage(key, f"its meta.json {err.problem}", places.get(key))
        except StorageError as err:
            failures += 1
            if failures > _FAILURES_MAX:
                raise
            found.damaged[key] = _damage(key, f"its meta.json cannot be read now: {err}", places.get(key))


def _damage(key: str, problem: str, place: Place | None, meta: BlockMeta | None = None) -> Damage:
    tenant, _, name = key.rpartition("/")
    cluster_id, partition = (None, None) if place is None else place
    return Damage(tenant, name, "meta", problem, cluster_id, partition, meta, readable=meta is not None)


def stamped(damage: Damage, stamps: Mapping[str, Stamp | None]) -> Damage:
    """The damage with current stamps. In: stamps of all its files"""
    return replace(damage, stamps=dict(stamps), since_s=time.monotonic())


def recheck(
    damaged: Mapping[str, Damage],
    stamps: Mapping[str, Stamp],
    sources: Callable[[BlockMeta], list[ParquetSource]],
) -> dict[str, Damage]:
    """The blocks whose data still counts as damaged. If a file has changed, the block is given to readers again. Of the
    unchanged ones it reads one again, if the last check was long ago.
    """
    left: dict[str, Damage] = {}
    again = True
    for key, damage in sorted(damaged.items(), key=lambda item: item[1].since_s):
        meta = damage.meta
        if meta is None:
            continue
        now = {f"{meta.folder}/{file.name}": stamps.get(f"{meta.folder}/{file.name}") for file in meta.files}
        if now != damage.stamps:
            continue
        left[key] = damage
        if again and time.monotonic() - damage.since_s > _AGAIN_S:
            again = False
            try:
                for source in sources(meta):
                    source.verify()
                del left[key]
            except StorageError:
                left[key] = stamped(damage, now)
    return left
