"""Cuts: which offsets of a partition are in visible blocks.

A cut is one object per range of offsets, written after the blocks of all tenants in that range:

    cuts/<cluster id>/<partition>/<first offset, 20 digits>.json
    {"last_offset": …, "blocks": ["<tenant>/<block id>", …], "metas": [<meta.json of each>, …],
     "crc32": … (`tables.storage.checksum`)}

The ranges of a partition follow each other. The end of the last is the partition's flushed offset: a query takes what
lies below it from blocks, and what lies from it on from live stores. The name holds the first offset only and is
created, never replaced: of two writers that cut the same range differently (a former owner, a replica) one wins, and
the other learns of it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import ValidationError

from tables.blocks.meta import BlockMeta, block_id, check_meta
from tables.catalog.place import Place, place_folder, split_path
from tables.errors import DamagedError, StorageError
from tables.storage.checksum import has_checksum, with_checksum
from tables.storage.object_store import ObjectStore
from tables.storage.read_many import read_many

FOLDER: Final = "cuts"


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut: offsets first_offset … last_offset (included) of a partition, and the blocks that hold them.

    metas: of these blocks; a cut of an earlier version has none. They follow from the blocks
    """

    partition: int
    first_offset: int
    last_offset: int
    blocks: tuple[str, ...]  # "<tenant>/<block id>", ascending; none if the range held no readable span
    metas: tuple[BlockMeta, ...] = field(default=(), compare=False, repr=False)

    @property
    def end(self) -> int:
        """The first offset after it."""
        return self.last_offset + 1


class Cuts:
    """The cuts in one object store. It reads those of all Kafka clusters, and writes those of `cluster_id`."""

    def __init__(self, store: ObjectStore, cluster_id: str) -> None:
        self._store = store
        self._cluster_id = cluster_id

    def write(self, cut: Cut) -> Cut:
        """Writes a cut. Returns the cut that is valid: this one, or another one that was there before.

        Raises: DamagedError if a cut is there that cannot be read
        """
        metas = [meta.model_dump() for meta in cut.metas]
        body = with_checksum(orjson.dumps({"last_offset": cut.last_offset, "blocks": list(cut.blocks), "metas": metas}))
        path = cut_path((self._cluster_id, cut.partition), cut.first_offset)
        if self._store.create(path, body):
            return cut
        there = self._store.get(path)
        if there is None:
            raise StorageError(f"{path} exists and cannot be read; is something deleting cuts?")
        return decode_cut(path, there)

    def clusters(self) -> list[str]:
        """The Kafka clusters of which there are cuts. One request."""
        return [path.rpartition("/")[2] for path in self._store.folders(FOLDER)]

    def partitions(self, cluster_id: str) -> list[Place]:
        """The partitions of a cluster of which there are cuts. One request."""
        numbers = [path.rpartition("/")[2] for path in self._store.folders(f"{FOLDER}/{cluster_id}")]
        return [(cluster_id, int(number)) for number in numbers if number.isdecimal()]

    def read(self, wanted: Mapping[Place, int], known: Mapping[Place, Mapping[int, Cut]]) -> dict[Place, "Entries"]:
        """Each cut of some partitions by its first offset, or the problem with it.

        wanted: by partition, the offset from which on cuts are listed: one request for each. known: cuts that need not
        be read again, because cuts never change
        Raises: StorageError if the storage is away, but not for a single object
        """
        listed = {place: self._firsts(place, start) for place, start in wanted.items()}
        missing = [
            (place, first) for place, firsts in listed.items() for first in firsts if first not in known.get(place, {})
        ]
        found: dict[Place, Entries] = {place: {} for place in wanted}
        for (place, first), cut in read_many(self._get, missing).items():
            if cut is not None:
                found[place][first] = cut if isinstance(cut, Cut) else str(cut)
        return found

    def _firsts(self, place: Place, start: int) -> Sequence[int]:
        after = cut_path(place, start - 1) if start > 0 else None
        paths = self._store.paths(f"{FOLDER}/{place_folder(place)}", after)
        return [named[1] for path in paths if (named := split_path(path)) is not None]

    def _get(self, named: tuple[Place, int]) -> Cut | None:
        path = cut_path(*named)
        data = self._store.get(path)
        return None if data is None else decode_cut(path, data)


Entries = dict[int, Cut | str]


def cut_path(place: Place, first_offset: int) -> str:
    """The path of a cut."""
    return f"{FOLDER}/{place_folder(place)}/{first_offset:020d}.json"


def decode_cut(path: str, data: bytes) -> Cut:
    """A cut from its JSON. Raises: DamagedError that names the object"""
    _, cluster_id, number, name = path.split("/")
    partition, first = int(number), int(name.removesuffix(".json"))
    try:
        body = orjson.loads(data)
        blocks, last = tuple(map(str, body["blocks"])), int(body["last_offset"])
        checked = has_checksum(data)
        metas = _metas(body.get("metas", []), blocks) if checked else ()
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise DamagedError(path, f"is not a cut: {err}") from err
    cut = Cut(partition, first, last, blocks, metas)
    if cut.last_offset < first:
        raise DamagedError(path, f"is not a cut: it ends at {cut.last_offset}, before it begins")
    # Cuts of earlier versions have no checksum; but a block's id follows from its offsets.
    for key in () if checked else cut.blocks:
        tenant, _, name = key.rpartition("/")
        if name != block_id(cluster_id, tenant, partition, first, cut.last_offset):
            raise DamagedError(path, f"is not a cut: block {name} has not these offsets")
    return cut


def _metas(items: Sequence[Any], blocks: Sequence[str]) -> tuple[BlockMeta, ...]:
    """The metas of blocks of the cut. One that this build cannot read is left out: the block's meta.json is read then,
    and says what is wrong with it.
    """
    named, found = set(blocks), []
    for item in items:
        try:
            meta = BlockMeta.model_validate(item)
            check_meta(meta.path, meta)
        except (ValidationError, DamagedError):
            continue
        if meta.key in named:
            found.append(meta)
    return tuple(found)
