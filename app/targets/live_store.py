"""Opens the live store when the worker starts, watches the storage while it runs, seals when it stops."""

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import faust
from aiokafka.admin import AIOKafkaAdminClient

from agents.live_store.agent import PartitionManager
from agents.stream.kafka_start import ATTEMPT_S, reached
from agents.stream.stream_app import StreamApp
from app.process.storage import storage_config
from app.settings import Settings
from tables.blocks.block_list import BlockList
from tables.errors import StorageError
from tables.live.partition import CutPolicy
from tables.live.segment_table import SegmentTable
from tables.live.store import LiveStore
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore
from tables.wall import NativePanic, walled

log = logging.getLogger(__name__)

_SEAL_AT_STOP_S = 2.0


class LiveOpener(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One for a process that has a live store."""

    def __init__(self, settings: Settings, app: StreamApp, manager: PartitionManager, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._manager = settings, manager
        self._table = SegmentTable(app, settings.data_dir / "live")
        self._executor = ThreadPoolExecutor(1, "blocklist")

    async def on_start(self) -> None:
        """Before any partition is assigned."""
        settings, kafka = self._settings, self._settings.kafka
        cluster_id, partitions = await cluster_and_partitions(kafka.address, kafka.topic)
        await self.add_runtime_dependency(self._table)
        live = settings.live_store
        policy = CutPolicy(
            partitions=partitions,
            segment_rows_max=live.segment_rows_max,
            segment_age_ms=round(live.segment_age_s * 1000),
            block_rows_max=live.block_rows_max,
            block_age_ms=round(live.block_age_s * 1000),
            attribute_columns_max=settings.storage.trace.block.attribute_columns_max,
            head_reuse_s=live.head_reuse_ms / 1000,
        )
        columns: ByteCache[Any, Any] = ByteCache("columns", settings.query.column_cache_bytes_max)
        store = ObjectStore(storage_config(settings.storage.trace))
        blocks = BlockList(store, cluster_id, columns)
        segments = self._table.open(cluster_id)
        self._manager.store = LiveStore(segments, blocks, policy, live.segment_cache_bytes_max, columns)

    @faust.Service.task
    async def _poll_blocks(self) -> None:
        """Blocks of others: compactors, other live stores."""
        while not self.should_stop:
            await self.sleep(self._settings.storage.trace.blocklist_poll_s)
            store = self._manager.store
            if store is None or self.should_stop:
                continue
            work = partial(store.blocks.poll, range(store.policy.partitions))
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, walled, work)
            except (StorageError, OSError, NativePanic) as err:
                log.warning("the list of blocks is as it was: %s", err)

    async def on_stop(self) -> None:
        """Seals what is in the heads, so that a restart reads less again."""
        try:
            async with asyncio.timeout(_SEAL_AT_STOP_S):
                await self._manager.seal_all()
        except TimeoutError:
            log.warning("heads were not sealed in time; they are read again from Kafka")


async def cluster_and_partitions(brokers: Sequence[str], topic: str) -> tuple[str, int]:
    """The Kafka cluster's id, which tells its offsets from another cluster's, and the topic's partition count.

    Raises: KafkaError, OSError, TimeoutError
    """

    async def ask() -> tuple[str, int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=list(brokers), request_timeout_ms=int(ATTEMPT_S * 1000))
        try:
            await admin.start()
            cluster = await admin.describe_cluster()
            (found,) = await admin.describe_topics([topic])
            return str(cluster["cluster_id"]), len(found["partitions"])
        finally:
            await admin.close()

    return await reached("ask Kafka for its cluster and topics", ask)
