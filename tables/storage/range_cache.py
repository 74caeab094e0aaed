"""Reads of block files through caches: memory, then what processes share, then the storage."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tables.storage.read_ahead import AheadBytes, ReadAhead, current_read_ahead, reading_ahead
from tables.storage.shared_cache import CacheKey, Role, SharedCache

_ENTRY_BYTES: Final = 400  # of an entry in memory, besides its data
# Parts larger than this are not kept in memory: one of them would push out thousands of small ones.
_PART_BYTES_MAX: Final = 8 << 20
# Data that is read once does not evict data that was used this recently.
_IN_USE_S: Final = 60.0
_DISTRUSTED_MAX: Final = 10_000
READ_AHEAD_BYTES_MAX: Final = 64 << 20
# Reads ahead of all queries that a process makes at once.
_READS_AT_ONCE: Final = 32

Range = tuple[int, int]  # start and length
RoleOf = Callable[[Range], Role]  # the role of each part


class RangeCache:
    """Parts of immutable objects. Thread-safe.

    A part is kept under its path and range: readers ask for the same column chunks again and again. What is kept is
    what was read; readers check it (checksums of pages and footers), wherever it came from.
    """

    def __init__(
        self,
        store: ObjectStore,
        memory_bytes_max: int,
        shared: Mapping[Role, SharedCache],
        read_ahead_bytes_max: int = READ_AHEAD_BYTES_MAX,
    ) -> None:
        """memory_bytes_max: 0: nothing is kept in memory; shared: by role; a role that is not there is not shared
        read_ahead_bytes_max: what all queries may have read ahead; 0: nothing
        """
        self._store, self._shared = store, shared
        self._memory: ByteCache[CacheKey, Any] | None = None
        if memory_bytes_max:
            self._memory = ByteCache("storage_ranges", memory_bytes_max)
        self._lock = threading.Lock()
        self._distrusted: OrderedDict[str, None] = OrderedDict()
        config = store.config
        self._bucket = f"{config.backend}/{config.place}/{config.prefix}"
        # What lies on a local disk comes as soon as it is asked for.
        self._ahead: ThreadPoolExecutor | None = None
        if config.backend != "local" and read_ahead_bytes_max:
            self._ahead = ThreadPoolExecutor(_READS_AT_ONCE, "read-ahead")
        self._ahead_bytes = AheadBytes(read_ahead_bytes_max)

    def reading_ahead(self) -> AbstractContextManager[None]:
        """Inside, what this thread evaluates may be read ahead (`tables.storage.read_ahead`)."""
        return nullcontext() if self._ahead is None else reading_ahead(ReadAhead(self._ahead, self._ahead_bytes))

    def read(self, role: Role | RoleOf, path: str, ranges: Sequence[Range]) -> Sequence[Any]:
        """The parts as buffers, as `ObjectStore.get_ranges`: all at once, also where they have several roles.

        Raises: DamagedError, StorageError
        """
        ahead = current_read_ahead()
        if ahead is not None and ahead.has_begun(path):
            come = ahead.take(path, ranges)
            missing = [one for one in ranges if one not in come]
            if missing:
                come |= zip(missing, self._read(role, path, missing), strict=True)
            return [come[one] for one in ranges]
        return self._read(role, path, ranges)

    def _read(self, role: Role | RoleOf, path: str, ranges: Sequence[Range]) -> Sequence[Any]:
        if (self._memory is None and not self._shared) or path in self._distrusted:
            return self._store.get_ranges(path, ranges)
        keys = [CacheKey(role(one) if callable(role) else role, self._bucket, path, *one) for one in ranges]
        found: dict[CacheKey, Any] = {}
        if self._memory is not None:
            for key in keys:
                if (data := self._memory.get(key)) is not None:
                    found[key] = data
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        for each in {key.role for key in missing}.intersection(self._shared):
            for key, data in self._shared[each].get_many([key for key in missing if key.role == each]).items():
                self._keep(key, data)
                found[key] = data
        missing = [key for key in missing if key not in found]
        if missing:
            parts = self._store.get_ranges(path, [(key.start, key.length) for key in missing])
            for key, data in zip(missing, parts, strict=True):
                self._keep(key, data)
                if (shared := self._shared.get(key.role)) is not None:
                    shared.put(key, data)
                found[key] = data
        return [found[key] for key in keys]

    def distrust(self, path: str) -> bool:
        """From now on reads the object from the storage: what a reader found damaged may have been damaged on its way
        here, and then lies in caches. Out: whether it came from caches until now
        """
        if self._memory is None and not self._shared:
            return False
        with self._lock:
            if path in self._distrusted:
                return False
            self._distrusted[path] = None
            while len(self._distrusted) > _DISTRUSTED_MAX:
                self._distrusted.popitem(last=False)
            return True

    def close(self) -> None:
        """Closes the connections to shared caches."""
        for shared in {id(each): each for each in self._shared.values()}.values():
            shared.close()

    def _keep(self, key: CacheKey, data: Any) -> None:
        if self._memory is not None and key.length <= _PART_BYTES_MAX:
            self._memory.put(key, data, key.length + _ENTRY_BYTES, spares_s=_IN_USE_S)


class RoleReader:
    """Reads objects of one role."""

    def __init__(self, cache: RangeCache, role: Role) -> None:
        self._cache, self._role = cache, role

    def get_ranges(self, path: str, ranges: Sequence[Range]) -> Sequence[Any]:
        """Reads ranges of an object as `ObjectStore.get_ranges` does, through the cache."""
        return self._cache.read(self._role, path, ranges)
