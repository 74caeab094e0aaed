"""Opens the storage for a process without a live store, and keeps its list of blocks up to date."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import faust
from aiokafka.errors import KafkaError

from agents.stream.kafka_client import KafkaClient
from app.process.caches import range_cache
from app.process.storage import storage_config
from app.process.storage_probe import probe_storage
from app.settings import Settings
from app.targets.kafka_state import cluster_and_partitions
from tables.catalog.block_list import BlockList
from tables.errors import StorageError
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tables.storage.probe import StorageProbe
from tables.storage.range_cache import RangeCache
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0
_PARTITIONS_S: Final = 10.0


class BlockOpener(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process. blocks: None until they are known"""

    def __init__(self, settings: Settings, kafka: KafkaClient, *, polls: bool, **kwargs: Any) -> None:
        """polls: whether to know which blocks there are; no, for a querier, which is told

        Raises: SettingsError if what the settings of the storage rely on is missing
        """
        super().__init__(**kwargs)
        self._settings, self._kafka, self._polls = settings, kafka, polls
        self._storage = storage_config(settings.storage.trace)
        self._executor = ThreadPoolExecutor(1, "blocklist")
        self._ranges: RangeCache | None = None
        self._opened: BlockList | None = None
        self._known = False
        self.partitions = self.partitions_at_start = 0  # of the topic of spans

    @property
    def blocks(self) -> BlockList | None:
        """The list, with the blocks that there are; None: not known yet."""
        return self._opened if self._known or not self._polls else None

    def not_ready(self) -> Sequence[str]:
        """Why queries cannot be answered yet."""
        return () if self.blocks is not None else ["blocks: the list of blocks is not read yet"]

    async def on_start(self) -> None:
        """Opens the storage. It may be away: then it is tried again."""
        settings = self._settings
        cluster_id, self.partitions = await cluster_and_partitions(self._kafka, settings.kafka.topic)
        self.partitions_at_start = self.partitions
        await probe_storage(StorageProbe(self._storage, writes=False), self._executor)
        columns: ByteCache[Any, Any] = ByteCache("columns", settings.query.column_cache_bytes_max)
        store = ObjectStore(self._storage)
        self._ranges = range_cache(settings, store)
        small_files = settings.query.small_file_cache_bytes_max
        self._opened = BlockList(store, cluster_id, columns, small_files_bytes_max=small_files, ranges=self._ranges)
        if self._polls:
            await self._poll(self._opened)

    @faust.Service.task
    async def _poll_blocks(self) -> None:
        while self._polls and not self.should_stop:
            await self.sleep(self._settings.storage.trace.blocklist_poll_s if self._known else _AGAIN_S)
            if self._opened is not None and not self.should_stop:
                await self._poll(self._opened)

    async def _poll(self, blocks: BlockList) -> None:
        work = partial(blocks.poll, range(self.partitions))
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, walled, work)
        except (StorageError, OSError, NativePanic) as err:
            log.warning("the list of blocks is as it was: %s", err)
        else:
            self._known = True

    @faust.Service.task
    async def _count_partitions(self) -> None:
        """The topic may get more while the process runs."""
        while not self.should_stop:
            await self.sleep(_PARTITIONS_S)
            try:
                _, count = await cluster_and_partitions(self._kafka, self._settings.kafka.topic)
                self.partitions = max(self.partitions, count)
            except (KafkaError, OSError, TimeoutError) as err:
                log.warning("Kafka did not say how many partitions there are: %r", err)

    async def on_stop(self) -> None:
        """Closes the connections to caches."""
        if self._ranges is not None:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._ranges.close)
