"""A tenant's index as this process knows it: what is known of it is not read again."""

from collections.abc import Callable

from tables.catalog.block_list import BlockList
from tables.catalog.index_store import IndexStore
from tables.catalog.tenant_index import TenantIndex


def latest_known(blocks: BlockList, indexes: IndexStore, tenant: str) -> TenantIndex | None:
    """The newest version; None without any. Raises: as of `IndexStore.latest`"""
    return indexes.latest(tenant, blocks.index(tenant))


def commit_known(
    blocks: BlockList, indexes: IndexStore, tenant: str, change: Callable[[TenantIndex], TenantIndex | None]
) -> TenantIndex | None:
    """Writes the next version, which `blocks` takes over at once. Arguments, result and errors: `IndexStore.commit`."""
    made = indexes.commit(tenant, change, blocks.index(tenant))
    if made is not None:
        blocks.take_index(made)
    return made
