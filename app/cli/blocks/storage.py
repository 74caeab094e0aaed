"""The storage that a command of `stretto blocks` works on, and what is visible in it."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.errors import StrettoError
from app.process.storage import storage_config
from app.settings import Settings
from tables.catalog.block_list import BlockList
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig

_CACHE_BYTES_MAX: Final = 1 << 26


class BlocksError(StrettoError):
    """The folder is wrong, or the storage cannot be read or written: what, and what to do."""


def storage_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which storage."""
    parser.add_argument(
        "--blocks",
        metavar="FOLDER",
        help="work on this folder, which contains a folder `blocks`, instead of the storage that the settings name",
    )


def chosen_storage(args: argparse.Namespace, settings: Callable[[], Settings]) -> StorageConfig:
    """The storage that the arguments or the settings name. Raises: BlocksError, SettingsError"""
    if not args.blocks:
        return storage_config(settings().storage.trace)
    if not (Path(args.blocks) / "blocks").is_dir():  # a mistyped name must not create a folder
        raise BlocksError(f"{args.blocks} has no folder `blocks`: give the folder that storage.trace.local.path names")
    return StorageConfig("local", args.blocks)


def read_blocks(config: StorageConfig) -> BlockList:
    """All blocks, of no Kafka cluster in particular: what cuts and indexes show. Raises: StorageError"""
    blocks = BlockList(ObjectStore(config), "", ByteCache("blocks-command", _CACHE_BYTES_MAX))
    blocks.poll([])
    return blocks
