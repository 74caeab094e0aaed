"""Checkpoints: what the cuts of a partition have led to, so that nobody needs to read old ones.

    checkpoints/<cluster id>/<partition>/<offset, 20 digits>.json
    {"tenants": {"<tenant>": <end of its last cut>, …}, "crc32": … (`tables.storage.checksum`)}

All blocks of cuts below the offset are in the indexes of their tenants. `tenants` says for each tenant with blocks
there up to which offset its index must cover them. An index that covers less is an old one, and blocks are missing.
"""

import itertools
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from tables.catalog.place import Place, place_folder, split_path
from tables.errors import DamagedError
from tables.storage.checksum import has_checksum, with_checksum
from tables.storage.object_store import ObjectStore, Stamp

log = logging.getLogger(__name__)

_DELETED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of one partition of one Kafka cluster, at an offset where a cut ends.

    tenants: for each tenant with blocks below the offset, the end of the last cut that names one
    """

    place: Place
    offset: int
    tenants: Mapping[str, int] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The object's path."""
        return checkpoint_path(self.place, self.offset)

    def encode(self) -> bytes:
        """The object's bytes."""
        return with_checksum(orjson.dumps({"tenants": dict(self.tenants)}, option=orjson.OPT_SORT_KEYS))


def checkpoint_path(place: Place, offset: int) -> str:
    """The path of a checkpoint."""
    return f"checkpoints/{place_folder(place)}/{offset:020d}.json"


def decode_checkpoint(path: str, data: bytes) -> Checkpoint:
    """The checkpoint from the bytes of the object at `path`. Raises: DamagedError"""
    named = split_path(path)
    try:
        body = orjson.loads(data)
        tenants = {str(tenant): int(end) for tenant, end in body["tenants"].items()}
        if named is None or not has_checksum(data):
            raise ValueError("it has no checksum")
    except (AttributeError, KeyError, TypeError, ValueError) as err:
        raise DamagedError(path, f"is not a checkpoint: {err}") from err
    return Checkpoint(*named, tenants)


class Checkpoints:
    """The checkpoints in one object store. All methods may raise StorageError."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def listed(self, place: Place | None = None) -> dict[Place, dict[int, Stamp]]:
        """The offsets of all checkpoints, or of those of one place."""
        found: dict[Place, dict[int, Stamp]] = {}
        for path, stamp in self._store.objects("checkpoints" + (f"/{place_folder(place)}" if place else "")):
            if named := split_path(path):
                found.setdefault(named[0], {})[named[1]] = stamp
        return found

    def newest_of(self, place: Place, offsets: Iterable[int]) -> Checkpoint | None:
        """The newest readable one of the listed checkpoints; None if they are gone.

        Raises: DamagedError if there are some, and none can be read
        """
        damage: DamagedError | None = None
        for offset in sorted(offsets, reverse=True):
            path = checkpoint_path(place, offset)
            data = self._store.get(path)
            if data is None:
                continue
            try:
                return decode_checkpoint(path, data)
            except DamagedError as err:
                log.error("%s", err)  # its text says all
                damage = damage or err
        if damage is not None:
            raise damage
        return None

    def latest(self, place: Place) -> Checkpoint | None:
        """The newest readable checkpoint of a partition; None without any. Raises: DamagedError as `newest_of`"""
        return self.newest_of(place, self.listed(place).get(place, {}))

    def write(self, checkpoint: Checkpoint) -> None:
        """Writes a checkpoint. One with the same offset stays as it is: both are true."""
        self._store.create(checkpoint.path, checkpoint.encode())

    def delete_covered(self, place: Place, grace_s: float) -> int:
        """Deletes the cuts below an older checkpoint, and the checkpoints before that one.

        grace_s: how long a checkpoint must have had a successor, by the storage's clock: longer than any reader needs
        from the listing of checkpoints to the reading of cuts
        Returns the number of deleted objects.
        """
        stamps = self.listed(place).get(place, {})
        offsets = sorted(stamps)
        if not offsets:
            return 0
        newest_s = stamps[offsets[-1]].modified_s
        pairs = itertools.pairwise(offsets)
        old = [offset for offset, after in pairs if newest_s - stamps[after].modified_s >= grace_s]
        if not old:
            return 0
        kept = old[-1]
        cuts = self._store.paths(f"cuts/{place_folder(place)}")
        below = [path for path in cuts if (named := split_path(path)) is not None and named[1] < kept]
        # Cuts before checkpoints: while cuts are there, a reader of any checkpoint finds all that follow it.
        gone = [*sorted(below), *(checkpoint_path(place, offset) for offset in old[:-1])]
        for first in range(0, len(gone), _DELETED_AT_ONCE):
            self._store.delete(gone[first : first + _DELETED_AT_ONCE])
        return len(gone)
