"""Faust, adapted: offsets are committed and resumed by what is in blocks, not by acknowledgements."""

import asyncio
import hashlib
import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import faust
import faust.app
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.stream import kafka_batches
from agents.stream.faust_credentials import credentials
from agents.stream.kafka_client import KafkaClient
from agents.stream.partition_owner import NoOwner, PartitionOwner
from agents.stream.stream_consumer import Consumer

log = logging.getLogger(__name__)

_AGAIN_S = 0.5

# As good as never: a consumer that aiokafka takes for idle leaves its group, and never joins it again while nobody
# takes records from it. Faust takes none before it is in the group.
_POLL_INTERVAL_S_MAX = 10 * 365 * 86_400.0

# How soon a group learns of new partitions of its topic.
_METADATA_AGE_MS = 10_000


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with our consumer."""

    Consumer = Consumer


class Boot(faust.app.BootStrategy):  # type: ignore[misc]
    """Faust's boot step without its web server, whatever the command line says: Stretto has its own.

    It starts no producer of Faust's either: that one waits up to 20 minutes for the first answer of Kafka, and no agent
    starts meanwhile. Stretto writes with `agents/distributor/record_producer.py`.
    """

    enable_web = False
    enable_kafka_producer = False


class StreamApp(faust.App):  # type: ignore[misc]
    """A Faust app with hooks that run, and services that start, before it consumes."""

    BootStrategy = Boot

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.partition_owner: PartitionOwner = NoOwner()
        self.before_start: list[Callable[[], Awaitable[None]]] = []
        self.before_stop: list[Callable[[], Awaitable[None]]] = []
        self.leaving = False  # it was told to stop; `before_stop` may still be under way
        self.parts: list[faust.Service] = []
        self._empty_handed: asyncio.Task[None] | None = None

    def owned_by(self, owner: PartitionOwner) -> None:
        """Registers what does the work on the partitions, with the agent that brings it the records."""
        assert isinstance(self.partition_owner, NoOwner), "an app has one agent that keeps its partitions"
        self.partition_owner = owner

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Creates the data folder with its parents; Faust creates only the last level."""
        Path(self.conf.datadir).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once, before anything runs
        await super().on_first_start()

    async def on_start(self) -> None:
        """Runs the hooks, then Faust's start, then adds the parts."""
        for hook in self.before_start:
            await hook()
        await super().on_start()
        for part in self.parts:
            await self.add_runtime_dependency(part)

    async def stop(self) -> None:
        """Runs the hooks, while everything still works; then Faust's stop."""
        if not self.should_stop:
            self.leaving = True
            hooks, self.before_stop = self.before_stop, []
            for hook in hooks:
                try:
                    await hook()
                except Exception:
                    log.exception("%s stops without having done all that it should before", self.conf.id)
        await super().stop()

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Tells the owner also of an assignment without any partition: there are more members than partitions, or
        others have them all. Faust seeks nothing then, and so asks nobody.
        """
        await super()._on_partitions_assigned(assigned, generation_id)
        if not assigned and not self.should_stop:
            self._empty_handed = asyncio.ensure_future(self._tell_owner_of_nothing())

    async def _tell_owner_of_nothing(self) -> None:
        generation = self.consumer_generation_id
        while generation == self.consumer_generation_id and not self.should_stop:
            try:
                await self.partition_owner.emptied()
            except Exception as err:  # noqa: BLE001  # as in Consumer: it may not be open yet
                log.info("%s: has no partitions, but not yet let go of those before: %r", self.conf.id, err)
                await asyncio.sleep(_AGAIN_S)
            else:
                return


def _instance_id(datadir: Path) -> str:
    """A permanent name of this worker: its host and folder."""
    place = f"{socket.gethostname()}:{datadir.absolute()}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()


def rebalance_timeout_s(session_timeout_s: float) -> float:
    """How long the members of a group have to rejoin when the group changes."""
    return max(session_timeout_s, min(10.0, 1.7 * session_timeout_s))


def new_app(  # noqa: PLR0913 (settings by their names: keyword-only)
    name: str,
    *,
    kafka: KafkaClient,
    datadir: Path,
    session_timeout_s: float,
    message_bytes_max: int,
    keeps_partitions: bool,
    elects_leader: bool = False,
    buffer_records_max: int = 32,
    decompressed_bytes_max: int = 64 << 20,
) -> StreamApp:
    """A Faust app with one consumer group. The reasons for its settings are in docs/adr/0002-faust.md.

    decompressed_bytes_max: size limit of one decompressed Kafka batch, for all apps of this process
    elects_leader: one member of the group is the leader, see `app.is_leader()`. Topic f"{name}{LEADER_TOPIC_END}" must
    be there
    keeps_partitions: for workers with a data folder of their own. A killed worker that restarts with the same folder
    gets its partitions back at once, not after the session timeout. The partitions of one that stops for good stay
    unassigned for that time.
    """
    kafka_batches.install(decompressed_bytes_max)
    return StreamApp(
        name,
        broker=[f"kafka://{address}" for address in kafka.brokers],
        broker_credentials=credentials(kafka),
        store="memory://",
        datadir=str(datadir),
        web_enabled=False,
        autodiscover=False,
        topic_disable_leader=not elects_leader,
        topic_allow_declare=False,
        # A stop must not wait for records that are committed with their block, minutes later.
        stream_wait_empty=False,
        consumer_group_instance_id=f"{name}-{_instance_id(datadir)}" if keeps_partitions else None,
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=max(1.0, session_timeout_s / 6),
        broker_rebalance_timeout=rebalance_timeout_s(session_timeout_s),
        # A request that gets no answer holds up all that follow it, heartbeats too.
        broker_request_timeout=max(30.0, 10.0 + rebalance_timeout_s(session_timeout_s)),
        broker_max_poll_interval=_POLL_INTERVAL_S_MAX,
        broker_commit_interval=1.0,
        # Kafka away for minutes is not a live lock.
        broker_commit_livelock_soft_timeout=86_400.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=_METADATA_AGE_MS,
        # Records are large: a few dozen are tens of megabytes.
        stream_buffer_maxsize=buffer_records_max,
        broker_max_poll_records=buffer_records_max,
        consumer_max_fetch_size=message_bytes_max,
        producer_max_request_size=message_bytes_max,
        producer_acks=-1,
    )
