"""Cuts: which offsets of a partition are in visible blocks.

A cut is one object per range of offsets, written after the blocks of all tenants in that range:

    cuts/<cluster id>/<partition>/<first offset, 20 digits>.json
    {"last_offset": …, "blocks": ["<tenant>/<block id>", …], "crc32": … (`tables.storage.checksum`)}

The ranges of a partition follow each other. The end of the last is the partition's flushed offset: a query takes what
lies below it from blocks, and what lies from it on from live stores. The name holds the first offset only and is
created, never replaced: of two writers that cut the same range differently (a former owner, a replica) one wins, and
the other learns of it.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import orjson

from tables.blocks.meta import block_id
from tables.catalog.place import Place
from tables.errors import DamagedError, StorageError
from tables.storage.checksum import has_checksum, with_checksum
from tables.storage.object_store import ObjectStore

# How many cuts may fail to be read, one after the other, before the storage counts as away.
_FAILURES_MAX: Final = 3


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut: offsets first_offset … last_offset (included) of a partition, and the blocks that hold them."""

    partition: int
    first_offset: int
    last_offset: int
    blocks: tuple[str, ...]  # "<tenant>/<block id>", ascending; none if the range held no readable span


class Cuts:
    """The cuts in one object store. It reads those of all Kafka clusters, and writes those of `cluster_id`."""

    def __init__(self, store: ObjectStore, cluster_id: str) -> None:
        self._store = store
        self._cluster_id = cluster_id
        # Cuts never change: a cut that was read stays valid, whatever happens to the object.
        self._known: dict[Place, dict[int, Cut]] = defaultdict(dict)

    def write(self, cut: Cut) -> Cut:
        """Writes a cut. Returns the cut that is valid: this one, or another one that was there before.

        Raises: DamagedError if a cut is there that cannot be read
        """
        body = with_checksum(orjson.dumps({"last_offset": cut.last_offset, "blocks": list(cut.blocks)}))
        path = _path((self._cluster_id, cut.partition), cut.first_offset)
        if self._store.create(path, body):
            return cut
        there = self._store.get(path)
        if there is None:
            raise StorageError(f"{path} exists and cannot be read; is something deleting cuts?")
        return decode_cut(path, there)

    def read(self, wanted: Callable[[Place], bool]) -> dict[Place, dict[int, Cut | str]]:
        """Each cut of the wanted partitions by its first offset, or the problem with it.

        Raises: StorageError if the storage is away, but not for a single object
        """
        listed: dict[Place, set[int]] = {place: set() for place in self._known if wanted(place)}
        for path in self._store.paths("cuts"):
            folder, _, name = path.removeprefix("cuts/").rpartition("/")
            cluster_id, _, number = folder.rpartition("/")
            first = name.removesuffix(".json")
            if number.isdecimal() and first.isdecimal() and wanted((cluster_id, int(number))):
                listed.setdefault((cluster_id, int(number)), set()).add(int(first))
        return {place: self._of(place, firsts) for place, firsts in sorted(listed.items())}

    def _of(self, place: Place, firsts: set[int]) -> dict[int, Cut | str]:
        known = self._known[place]
        if firsts:
            # Old cuts are deleted, from the first on. A later one that vanishes stays known.
            for gone in [first for first in known if first < min(firsts)]:
                del known[gone]
        found: dict[int, Cut | str] = {**known}
        failures = 0
        for first in sorted(firsts - known.keys()):
            path = _path(place, first)
            try:
                data = self._store.get(path)
                if data is not None:
                    found[first] = known[first] = decode_cut(path, data)
            except DamagedError as err:
                found[first] = str(err)
            except StorageError as err:
                failures += 1
                if failures > _FAILURES_MAX:
                    raise
                found[first] = str(err)
        return found


def _path(place: Place, first_offset: int) -> str:
    cluster_id, partition = place
    return f"cuts/{cluster_id}/{partition:05d}/{first_offset:020d}.json"


def decode_cut(path: str, data: bytes) -> Cut:
    """A cut from its JSON. Raises: DamagedError that names the object"""
    _, cluster_id, number, name = path.split("/")
    partition, first = int(number), int(name.removesuffix(".json"))
    try:
        body = orjson.loads(data)
        cut = Cut(partition, first, int(body["last_offset"]), tuple(map(str, body["blocks"])))
        checked = has_checksum(data)
    except (KeyError, TypeError, ValueError) as err:
        raise DamagedError(path, f"is not a cut: {err}") from err
    if cut.last_offset < first:
        raise DamagedError(path, f"is not a cut: it ends at {cut.last_offset}, before it begins")
    # Cuts of earlier versions have no checksum; but a block's id follows from its offsets.
    for key in () if checked else cut.blocks:
        tenant, _, name = key.rpartition("/")
        if name != block_id(cluster_id, tenant, partition, first, cut.last_offset):
            raise DamagedError(path, f"is not a cut: block {name} has not these offsets")
    return cut
