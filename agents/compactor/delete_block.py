"""Deletes the objects of a block that nobody sees any more."""

from tables.storage.object_store import ObjectStore

_META = "/meta.json"


def delete_block(store: ObjectStore, tenant: str, block_id: str) -> int:
    """Deletes all objects of a block, its meta.json first: without it a block does not exist. Returns how many.

    Raises: StorageError; what is left is deleted by the next call
    """
    paths = list(store.paths(f"blocks/{tenant}/{block_id}"))
    for some in (
        [path for path in paths if path.endswith(_META)],
        [path for path in paths if not path.endswith(_META)],
    ):
        if some:
            store.delete(some)
    return len(paths)
