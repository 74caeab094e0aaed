"""The versions of tenants' indexes in object storage: read, and replaced without a lost update.

A large index is written whole now and then (a base). The versions between are deltas: see `index_delta`. Who knows a
version reads only the deltas behind it; who knows none reads the base and its deltas.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from prometheus_client import Counter

from tables.catalog.index_delta import IndexDelta, applied, decode_delta, encode_delta, is_delta
from tables.catalog.tenant_index import Lineage, TenantIndex, checked_crc, decode_index, index_path
from tables.errors import DamagedError, StorageError
from tables.storage.object_store import ObjectStore, Stamp
from tables.storage.read_many import read_many

log = logging.getLogger(__name__)

COMMITS = Counter(
    "stretto_blocklist_index_commits_total",
    "Attempts to write a new version of a tenant's index, by result: committed, raced (another writer was first), "
    "stale (the change does not fit the newest version), unchanged.",
    ["result"],
)

WRITTEN = Counter(
    "stretto_blocklist_index_written_bytes_total",
    "Bytes of the versions of tenants' indexes that were written, by form: whole, delta (only what has changed).",
    ["form"],
)

# A version stays this long after the next one, for readers that have just listed it; the last one before stays always.
_KEPT_S: Final = 300.0
# Between listing and creating. Together with the time limit of a write far less than _KEPT_S: when a writer creates
# version n + 1 because it has seen n, nobody can have created, replaced and deleted n + 1 meanwhile.
_FRESH_S: Final = 60.0
_ATTEMPTS_MAX: Final = 100
_LISTINGS_MAX: Final = 5

Versions = dict[int, Stamp]


class Folding(NamedTuple):
    """When an index is written whole: always below whole_bytes_min; else when its deltas would be more than deltas_max,
    or larger than that share of it together. A first reader reads all of them.
    """

    whole_bytes_min: int = 64 << 10
    share: float = 0.25
    deltas_max: int = 128


@dataclass(frozen=True, slots=True)
class _Made:
    """A version to write. index: as who reads its object has it"""

    data: bytes
    index: TenantIndex


_FOLDING: Final = Folding()


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """An index, and what is wrong with the newer version that should have been read instead."""

    index: TenantIndex
    damage: DamagedError | None


class IndexStore:
    """Compare-and-swap over one object store: a version is created, never replaced, and the greatest one counts.

    Thread-safe. All methods may raise StorageError.
    """

    def __init__(self, store: ObjectStore, kept_s: float = _KEPT_S, folding: Folding = _FOLDING) -> None:
        """kept_s: how long a version stays after the next one was written"""
        self._store, self._kept_s, self._folding = store, kept_s, folding

    def versions(self) -> dict[str, int]:
        """The newest version of every tenant's index. One listing."""
        return {tenant: max(versions) for tenant, versions in self.listed().items()}

    def listed(self, tenant: str = "") -> dict[str, Versions]:
        """All versions that are there, of every tenant or of one."""
        found: dict[str, Versions] = {}
        for path, stamp in self._store.objects(f"index/{tenant}" if tenant else "index"):
            _, _, rest = path.partition("/")
            of, _, name = rest.partition("/")
            number = name.removesuffix(".arrow")
            if number.isdecimal() and name.endswith(".arrow"):
                found.setdefault(of, {})[int(number)] = stamp
        return found

    def read(self, tenant: str, version: int) -> TenantIndex | None:
        """A version; None if it is not there. Raises: DamagedError, also if what it consists of is not there"""
        return self._read(tenant, version, (), None)

    @staticmethod
    def check_object(path: str, data: bytes) -> None:
        """Checks the bytes of one version's object alone, without what it consists of besides. Raises: DamagedError"""
        (decode_delta if is_delta(data) else decode_index)(path, data)

    def _read(
        self, tenant: str, version: int, listed: Collection[int], known: TenantIndex | None
    ) -> TenantIndex | None:
        """As `read`. None also if some of the listed versions are deleted since: then a newer one has been written.

        known: a version of the same index; what it consists of need not be read
        """
        path = index_path(tenant, version)
        data = self._store.get(path)
        if data is None:
            return None
        if not is_delta(data):
            return decode_index(path, data)
        last = decode_delta(path, data)
        if known is not None and known.lineage.base == last.base and known.version <= version:
            if known.version == version and known.lineage.crc32 == last.crc32:
                return known
            between = self._deltas(tenant, range(known.version + 1, version), listed)
            if between is not None:
                try:
                    return applied(known, [*between, last])
                except DamagedError:
                    log.warning("%s does not follow from what is known of it: all of it is read again", path)
        return self._read_whole(tenant, last, listed)

    def _read_whole(self, tenant: str, last: IndexDelta, listed: Collection[int]) -> TenantIndex | None:
        path = index_path(tenant, last.base)
        data = self._store.get(path)
        if data is None:
            return self._missing(path, last.base, listed)
        base = decode_index(path, data)
        between = self._deltas(tenant, range(last.base + 1, last.version), listed)
        return None if between is None else applied(base, [*between, last])

    def _deltas(self, tenant: str, versions: Sequence[int], listed: Collection[int]) -> list[IndexDelta] | None:
        """None: one of them is deleted since it was listed."""

        def read(version: int) -> IndexDelta | None:
            path = index_path(tenant, version)
            data = self._store.get(path)
            return self._missing(path, version, listed) if data is None else decode_delta(path, data)

        found = []
        for delta in read_many(read, versions).values():
            if isinstance(delta, StorageError):
                raise delta
            if delta is None:
                return None
            found.append(delta)
        return found

    @staticmethod
    def _missing(path: str, version: int, listed: Collection[int]) -> None:
        if version not in listed:
            raise DamagedError(path, "is missing; later versions of the index consist of it")

    def latest(self, tenant: str, known: TenantIndex | None = None) -> TenantIndex | None:
        """The newest version; None without any. If that is damaged, the one before it.

        known: a version that need not be read again
        Raises: DamagedError if there are versions, and none can be read
        """
        for _ in range(_LISTINGS_MAX):
            versions = self.listed(tenant).get(tenant)
            if not versions:
                return None
            if (found := self.newest_of(tenant, versions, known=known)) is not None:
                return found.index
        raise StorageError(f"the versions of index/{tenant} change faster than they can be read")

    def newest_of(
        self, tenant: str, versions: Iterable[int], above: int = 0, known: TenantIndex | None = None
    ) -> FoundIndex | None:
        """The newest readable one of the listed versions above a number; None if they are gone, or there is none.

        known: a version that need not be read again
        Raises: DamagedError if none can be read
        """
        listed = frozenset(versions)
        damage: DamagedError | None = None
        for version in sorted((version for version in listed if version > above), reverse=True):
            try:
                index = self._read(tenant, version, listed, known)
            except DamagedError as err:
                damage = damage or err
                continue
            if index is not None:
                return FoundIndex(index, damage)
            if damage is None:
                return None  # replaced and deleted since the listing
        if damage is not None:
            raise damage
        return None

    def commit(
        self,
        tenant: str,
        change: Callable[[TenantIndex], TenantIndex | None],
        known: TenantIndex | None = None,
    ) -> TenantIndex | None:
        """Applies a change to the newest version and writes the result as the next one. If another writer was first,
        it applies the change to that writer's version, and so on.

        change: pure; see `tables.catalog.changes`. known: a version that need not be read again
        Returns the new version; the newest one if there was nothing to change; None if the change does not fit.
        Raises: DamagedError if the newest version cannot be read: an older one may name blocks that are deleted by now
        """
        for _ in range(_ATTEMPTS_MAX):
            began_s = time.monotonic()
            versions = self.listed(tenant).get(tenant, {})
            newest = max(versions, default=0)
            index = self._newest(tenant, newest, versions, known)
            if index is None:
                continue
            changed = change(index)
            if changed is None or changed is index:
                COMMITS.labels("stale" if changed is None else "unchanged").inc()
                return changed
            made = self._made(index, replace(changed, version=newest + 1), versions)
            if time.monotonic() - began_s > _FRESH_S:
                continue
            if self._store.create(index_path(tenant, newest + 1), made.data):
                COMMITS.labels("committed").inc()
                WRITTEN.labels("delta" if is_delta(made.data) else "whole").inc(len(made.data))
                self._delete_old(tenant, versions, made.index.lineage.bases)
                return made.index
            COMMITS.labels("raced").inc()
            known = index
        raise StorageError(f"index/{tenant} could not be replaced: other writers were first {_ATTEMPTS_MAX} times")

    def _newest(self, tenant: str, newest: int, versions: Versions, known: TenantIndex | None) -> TenantIndex | None:
        if not newest:
            return TenantIndex(tenant)
        usable = known if known is not None and known.lineage.base in versions else None
        return self._read(tenant, newest, versions, usable)

    def _made(self, before: TenantIndex, after: TenantIndex, versions: Collection[int]) -> _Made:
        folding, lineage = self._folding, before.lineage
        path = index_path(after.tenant, after.version)
        if lineage.base and lineage.whole_bytes >= folding.whole_bytes_min:
            data = encode_delta(before, after) if before.version - lineage.base < folding.deltas_max else None
            if data is not None and lineage.delta_bytes + len(data) <= folding.share * lineage.whole_bytes:
                return _Made(data, applied(before, [decode_delta(path, data)]))
        bases = (*(base for base in lineage.bases if base in versions), after.version)
        data = replace(after, lineage=Lineage(bases)).encode()
        return _Made(data, replace(after, lineage=Lineage(bases, checked_crc(path, data), len(data))))

    def _delete_old(self, tenant: str, versions: Versions, bases: Sequence[int]) -> None:
        """Deletes the versions before a base that is old enough: no reader needs them. What the version before the last
        base consists of stays always. By the storage's clock, which wrote all of these times.

        versions: those before the one that was just written; bases: of that one
        """
        if not versions:
            return
        newest_s = versions[max(versions)].modified_s
        old = [base for base in bases[:-1] if base in versions and newest_s - versions[base].modified_s > self._kept_s]
        gone = [number for number in sorted(versions) if number < max(old, default=0)]
        if not gone:
            return
        try:
            self._store.delete([index_path(tenant, number) for number in gone])
        except StorageError as err:
            log.warning("old versions of an index stay until the next one is written: %s", err)
