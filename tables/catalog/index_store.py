"""The versions of tenants' indexes in object storage: read, and replaced without a lost update."""

import itertools
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import Counter

from tables.catalog.tenant_index import TenantIndex, decode_index, index_path
from tables.errors import DamagedError, StorageError
from tables.storage.object_store import ObjectStore, Stamp

log = logging.getLogger(__name__)

COMMITS = Counter(
    "stretto_blocklist_index_commits_total",
    "Attempts to write a new version of a tenant's index, by result: committed, raced (another writer was first), "
    "stale (the change does not fit the newest version), unchanged.",
    ["result"],
)

# A version stays this long after the next one, for readers that have just listed it; the last one before stays always.
_KEPT_S: Final = 300.0
# Between listing and creating. Together with the time limit of a write far less than _KEPT_S: when a writer creates
# version n + 1 because it has seen n, nobody can have created, replaced and deleted n + 1 meanwhile.
_FRESH_S: Final = 60.0
_ATTEMPTS_MAX: Final = 100
_LISTINGS_MAX: Final = 5

Versions = dict[int, Stamp]


@dataclass(frozen=True, slots=True)
class FoundIndex:
    """An index, and what is wrong with the newer version that should have been read instead."""

    index: TenantIndex
    damage: DamagedError | None


class IndexStore:
    """Compare-and-swap over one object store: a version is created, never replaced, and the greatest one counts.

    Thread-safe. All methods may raise StorageError.
    """

    def __init__(self, store: ObjectStore, kept_s: float = _KEPT_S) -> None:
        """kept_s: how long a version stays after the next one was written"""
        self._store, self._kept_s = store, kept_s

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
        """A version; None if it is not there. Raises: DamagedError"""
        path = index_path(tenant, version)
        data = self._store.get(path)
        return None if data is None else decode_index(path, data)

    def latest(self, tenant: str) -> TenantIndex | None:
        """The newest version; None without any. If that is damaged, the one before it.

        Raises: DamagedError if there are versions, and none can be read
        """
        for _ in range(_LISTINGS_MAX):
            versions = self.listed(tenant).get(tenant)
            if not versions:
                return None
            if (found := self.newest_of(tenant, versions)) is not None:
                return found.index
        raise StorageError(f"the versions of index/{tenant} change faster than they can be read")

    def newest_of(self, tenant: str, versions: Iterable[int], above: int = 0) -> FoundIndex | None:
        """The newest readable one of the listed versions above a number; None if they are gone, or there is none.

        Raises: DamagedError if none can be read
        """
        damage: DamagedError | None = None
        for version in sorted((version for version in versions if version > above), reverse=True):
            try:
                index = self.read(tenant, version)
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

    def commit(self, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]) -> TenantIndex | None:
        """Applies a change to the newest version and writes the result as the next one. If another writer was first,
        it applies the change to that writer's version, and so on.

        change: pure; see `tables.catalog.changes`
        Returns the new version; the newest one if there was nothing to change; None if the change does not fit.
        Raises: DamagedError if the newest version cannot be read: an older one may name blocks that are deleted by now
        """
        for _ in range(_ATTEMPTS_MAX):
            began_s = time.monotonic()
            versions = self.listed(tenant).get(tenant, {})
            newest = max(versions, default=0)
            index = self.read(tenant, newest) if newest else TenantIndex(tenant)
            if index is None:
                continue
            changed = change(index)
            if changed is None or changed is index:
                COMMITS.labels("stale" if changed is None else "unchanged").inc()
                return changed
            made = replace(changed, version=newest + 1)
            data = made.encode()
            if time.monotonic() - began_s > _FRESH_S:
                continue
            if self._store.create(index_path(tenant, made.version), data):
                COMMITS.labels("committed").inc()
                self._delete_old(tenant, versions)
                return made
            COMMITS.labels("raced").inc()
        raise StorageError(f"index/{tenant} could not be replaced: other writers were first {_ATTEMPTS_MAX} times")

    def _delete_old(self, tenant: str, versions: Versions) -> None:
        """Deletes versions whose next one is old enough. By the storage's clock, which wrote all of these times.

        versions: those before the one that was just written; the last of them stays
        """
        numbers = sorted(versions)
        if not numbers:
            return
        newest_s = versions[numbers[-1]].modified_s
        pairs = itertools.pairwise(numbers)
        old = [number for number, after in pairs if newest_s - versions[after].modified_s > self._kept_s]
        if not old:
            return
        try:
            self._store.delete([index_path(tenant, number) for number in old])
        except StorageError as err:
            log.warning("old versions of an index stay until the next one is written: %s", err)
