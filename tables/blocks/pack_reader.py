"""Asks packs of filters for a trace. Their heads and slices are kept in the cache of filters."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from tables.blocks.bloom import FilterQuestion
from tables.blocks.filter_pack import FilterKey, PackHead, PackRef, decode_head, pack_path
from tables.blocks.meta import BlockMeta
from tables.errors import DamagedError, StorageError
from tables.storage.byte_cache import ByteCache

# The number of a head in the cache; those of slices begin at 0.
_HEAD: Final = -1
# To begin with a pack takes two requests, the filters of a block one.
_BLOCKS_MIN: Final = 3
# What an entry of the cache takes besides its bytes.
_ENTRY_BYTES: Final = 400

Answers = dict[FilterKey, bool]


class PackReader:
    """Thread-safe.

    cache: of heads and slices. unusable: told why a pack cannot be used, with the reason's name for the metric
    """

    def __init__(self, cache: ByteCache[FilterKey, Any], unusable: Callable[[str, StorageError], None]) -> None:
        self._cache, self._unusable = cache, unusable

    def known(self, packs: Sequence[PackRef], question: FilterQuestion) -> Answers:
        """What packs say that need no request."""
        found: Answers = {}
        for pack in packs:
            head: PackHead | None = self._cache.get(FilterKey(pack.id, _HEAD, 0))
            if head is None:
                continue
            data: bytes | None = self._cache.get(FilterKey(pack.id, head.slice_of(question), 0))
            if data is not None:
                found |= head.answers(question, data)
        return found

    def worth_reading(self, packs: Sequence[PackRef], metas: Sequence[BlockMeta]) -> list[PackRef]:
        """The packs that may have filters of the blocks, where those have more filters than a pack takes requests."""
        blocks = Counter(meta.place for meta in metas)
        return [pack for pack in packs if blocks[pack.place] >= _BLOCKS_MIN]

    def head(self, store: Any, tenant: str, pack: PackRef, question: FilterQuestion) -> PackHead | None:
        """The head; None: it cannot be used. What most likely answers the question is read with it, and kept."""
        key = FilterKey(pack.id, _HEAD, 0)
        known: PackHead | None = self._cache.get(key)
        if known is not None:
            return known
        about = pack.about(question)
        parts = self._read(store, pack_path(tenant, pack.id), [(0, pack.head_bytes), *([about] if about else [])])
        if parts is None:
            return None
        head: PackHead | None = self._checked(partial(decode_head, tenant, pack), parts[0])
        if head is None:
            return None
        self._cache.put(key, head, head.nbytes + _ENTRY_BYTES)
        if about is not None:
            self._keep_slice(pack, head, head.slice_of(question), about[0], parts[1])
        return head

    def _keep_slice(self, pack: PackRef, head: PackHead, number: int, begin: int, part: Any) -> None:
        start, size = head.range_of(number)
        if start < begin or start + size > begin + len(memoryview(part)):
            return  # it is read by itself
        data = self._checked(partial(head.checked, number), memoryview(part)[start - begin : start - begin + size])
        if data is not None:
            self._cache.put(FilterKey(pack.id, number, 0), data, len(data) + _ENTRY_BYTES)

    def ask(self, store: Any, pack: PackRef, head: PackHead, question: FilterQuestion) -> Answers:
        """What a pack says, in one request; nothing if it cannot be used."""
        number = head.slice_of(question)
        key = FilterKey(pack.id, number, 0)
        data: bytes | None = self._cache.get(key)
        if data is None:
            parts = self._read(store, head.path, [head.range_of(number)])
            data = None if parts is None else self._checked(partial(head.checked, number), parts[0])
            if data is None:
                return {}
            self._cache.put(key, data, len(data) + _ENTRY_BYTES)
        return head.answers(question, data)

    def _read(self, store: Any, path: str, parts: Sequence[tuple[int, int]]) -> Sequence[Any] | None:
        try:
            found: Sequence[Any] = store.get_ranges(path, parts)
        except DamagedError as err:
            self._unusable("missing", err)
            return None
        except StorageError as err:
            self._unusable("unreadable", err)
            return None
        return found

    def _checked(self, decode: Callable[[Any], Any], data: Any) -> Any | None:
        try:
            return decode(data)
        except DamagedError as err:
            self._unusable("damaged", err)
            return None
