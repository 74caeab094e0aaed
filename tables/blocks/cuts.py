"""Cuts: which offsets of a partition are in visible blocks.

A cut is one object per range of offsets, written after the blocks of all tenants in that range:

    cuts/<epoch>/<partition>/<first offset, 20 digits>.json   {"last_offset": …, "blocks": ["<tenant>/<block id>", …]}

The ranges of a partition follow each other; F, the end of the last, is what a query takes from blocks (offsets < F)
and from live stores (offsets ≥ F). The name holds the first offset only and is created, never replaced: of two
writers that cut the same range differently (a former owner, a replica) one wins, and the other learns of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from tables.blocks.object_store import ObjectStore
from tables.errors import StorageError


@dataclass(frozen=True, slots=True)
class Cut:
    """Offsets first_offset … last_offset (included) of a partition, and the blocks that hold them."""

    partition: int
    first_offset: int
    last_offset: int
    blocks: tuple[str, ...]  # "<tenant>/<block id>", ascending; none if the range held no readable span


class Cuts:
    """The cuts of one Kafka cluster (`epoch`) in one object store."""

    def __init__(self, store: ObjectStore, epoch: str) -> None:
        self._store = store
        self._root = f"cuts/{epoch}"

    def write(self, cut: Cut) -> Cut:
        """Makes the cut visible. Returns the cut that holds: this one, or another that was there before."""
        body = orjson.dumps({"last_offset": cut.last_offset, "blocks": list(cut.blocks)})
        path = self._path(cut.partition, cut.first_offset)
        if self._store.create(path, body):
            return cut
        there = self._store.get(path)
        if there is None:
            raise StorageError(f"{path} exists and cannot be read; is something deleting cuts?")
        return _decode(path, cut.partition, cut.first_offset, there)

    def read(self, partition: int, after: int | None = None) -> list[Cut]:
        """The cuts of a partition in order, from the one that begins at offset `after` (None: all)."""
        folder = f"{self._root}/{partition:05d}"
        names = sorted(path.rpartition("/")[2].removesuffix(".json") for path in self._store.paths(folder))
        cuts: list[Cut] = []
        for first in map(int, (name for name in names if name.isdecimal())):
            if after is not None and first < after:
                continue
            path = self._path(partition, first)
            data = self._store.get(path)
            if data is not None:
                cuts.append(_decode(path, partition, first, data))
        return cuts

    def _path(self, partition: int, first_offset: int) -> str:
        return f"{self._root}/{partition:05d}/{first_offset:020d}.json"


def _decode(path: str, partition: int, first_offset: int, data: bytes) -> Cut:
    try:
        body = orjson.loads(data)
        return Cut(partition, first_offset, int(body["last_offset"]), tuple(map(str, body["blocks"])))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as err:
        raise StorageError(f"{path} is not a cut: {err}") from err


def covered_end(cuts: Sequence[Cut]) -> int | None:
    """The first offset after the contiguous ranges of `cuts`; None without any.

    Raises: StorageError naming the gap, where a range is missing.
    """
    end: int | None = None
    for cut in cuts:
        if end is not None and cut.first_offset != end:
            raise StorageError(
                f"partition {cut.partition}: no cut begins at offset {end}, the next begins at {cut.first_offset}; "
                "was a cuts/… object deleted?"
            )
        end = cut.last_offset + 1
    return end
