"""A slow look at the bucket: are the files of the visible blocks there, and as long as they were?

Polls do not list blocks, and queries read only what they need. So somebody has to notice that blocks of last month have
vanished before somebody needs them.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, NamedTuple

import pyarrow.compute as pc

from tables.blocks.meta import BlockMeta
from tables.catalog.tenant_index import TenantIndex
from tables.errors import DamagedError
from tables.storage.object_store import ObjectStore

_PAGE: Final = 1000
_FOLDER: Final = "blocks"


class ListedPage(NamedTuple):
    """The objects with paths above `after` and not above `until`; None: open. sizes: bytes, by path"""

    after: str | None
    until: str | None
    sizes: Mapping[str, int]


class Auditor:
    """Goes through the bucket, a page at a time, and begins again at its end. One thread at a time."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._after: str | None = None
        self._pages_ahead = 0

    def next_page(self) -> ListedPage | None:
        """The next objects; None: not now. Raises: StorageError"""
        if self._pages_ahead > 0:
            self._pages_ahead -= 1
            return None
        # A disk lists a folder as a whole: so it is looked at as a whole, and not again for as many calls.
        size = None if self._store.config.backend == "local" else _PAGE
        sizes = {path: stamp.size_bytes for path, stamp in islice(self._store.objects(_FOLDER, self._after), size)}
        ended = size is None or len(sizes) < size
        if size is None:
            self._pages_ahead = len(sizes) // _PAGE
        page = ListedPage(self._after, None if ended else max(sizes), sizes)
        self._after = page.until
        return page

    def damaged(
        self, page: ListedPage, indexes: Iterable[TenantIndex], cut_metas: Mapping[str, Mapping[str, BlockMeta]]
    ) -> Iterator[DamagedError]:
        """Files of blocks that are missing, or too short. Raises: StorageError

        indexes, cut_metas: of the visible blocks
        """
        metas = [meta for index in indexes for meta in _between(page, index)]
        metas += [meta for of_tenant in cut_metas.values() for meta in of_tenant.values()]
        for meta in metas:
            for file in meta.files:
                path = meta.path_of(file)
                if _is_in(page, path) and page.sizes.get(path, -1) < file.size_bytes:
                    # Again: it may have been written after the listing.
                    stamp = self._store.stamp(path)
                    if stamp is None:
                        yield DamagedError(path, "is missing")
                    elif stamp.size_bytes < file.size_bytes:
                        yield DamagedError(path, "is shorter than what was written")
                    else:
                        continue
                    break


def _is_in(page: ListedPage, path: str) -> bool:
    return (page.after is None or path > page.after) and (page.until is None or path <= page.until)


def _between(page: ListedPage, index: TenantIndex) -> list[BlockMeta]:
    """Blocks of an index that may have files in the page."""
    folder = f"{_FOLDER}/{index.tenant}/"
    ids = index.table["block_id"]
    wanted = pc.is_valid(ids)
    if page.after is not None:
        if page.after.startswith(folder):
            wanted = pc.and_(wanted, pc.greater_equal(ids, page.after.split("/")[2]))
        elif page.after > folder:
            return []
    if page.until is not None:
        if page.until.startswith(folder):
            wanted = pc.and_(wanted, pc.less_equal(ids, page.until.split("/")[2]))
        elif page.until < folder:
            return []
    return index.metas(wanted.to_numpy().nonzero()[0])
