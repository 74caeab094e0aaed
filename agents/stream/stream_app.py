"""Faust as Stretto uses it: offsets are committed and resumed by what is in blocks, not by acknowledgements."""

import hashlib
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import faust
import faust.app
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from agents.stream import kafka_batches
from agents.stream.stream_consumer import Consumer, Resume

# As good as never: a consumer that aiokafka takes for idle leaves its group, and never joins it again while nobody
# takes records from it. Faust takes none before it is in the group.
_POLL_INTERVAL_S_MAX = 10 * 365 * 86_400.0


class Transport(driver.Transport):  # type: ignore[misc]
    """Kafka with our consumer."""

    Consumer = Consumer


class Boot(faust.app.BootStrategy):  # type: ignore[misc]
    """Without Faust's own web server, whatever the command line says: Stretto has its own. So it has a producer
    (agents/record_producer.py); Faust's waits 20 minutes for the first answer of Kafka, and no agent starts meanwhile.
    """

    enable_web = False
    enable_kafka_producer = False


class StreamApp(faust.App):  # type: ignore[misc]
    """A Faust app with hooks for what must be done, and parts that must run, before it consumes."""

    BootStrategy = Boot

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resume: Resume | None = None
        self.before_start: list[Callable[[], Awaitable[None]]] = []
        self.parts: list[faust.Service] = []
        # For the watchdog: the first offset of each partition that the agent has not taken yet; why it takes none now,
        # by partition (None: of all).
        self.progress: Callable[[], Mapping[TP, int]] = dict
        self.waits: Callable[[], Mapping[int | None, str]] = dict

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self)

    async def on_first_start(self) -> None:
        """Faust makes its folder, but not the folders above it."""
        Path(self.conf.datadir).mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240  # once, before anything runs
        await super().on_first_start()

    async def on_start(self) -> None:
        """Runs the hooks, then what Faust does. Parts start before records flow and stop before they end."""
        for hook in self.before_start:
            await hook()
        await super().on_start()
        for part in self.parts:
            await self.add_runtime_dependency(part)


def _instance_id(datadir: Path) -> str:
    """Names this worker for good: its host and its folder."""
    place = f"{socket.gethostname()}:{datadir.absolute()}"
    return hashlib.blake2b(place.encode(), digest_size=8).hexdigest()


def rebalance_timeout_s(session_timeout_s: float) -> float:
    """How long the members of a group have to join it again when it changes."""
    return max(session_timeout_s, min(10.0, 1.7 * session_timeout_s))


def new_app(
    name: str,
    *,
    broker: Iterable[str],
    datadir: Path,
    session_timeout_s: float,
    message_bytes_max: int,
    keeps_partitions: bool,
    buffer_records_max: int = 32,
    decompressed_bytes_max: int = 64 << 20,
) -> StreamApp:
    """A Faust app: one consumer group. TenantStats and reasons are in docs/adr/0002-faust.md.

    decompressed_bytes_max: of one compressed batch of Kafka when it is decompressed, for all apps of this process
    keeps_partitions: a worker that was killed and is started again with the same data folder takes up its partitions
    at once, not after the session timeout; one that stops for good leaves them alone for so long. For workers that
    have their data folder to themselves.
    """
    kafka_batches.install(decompressed_bytes_max)
    return StreamApp(
        name,
        broker=[f"kafka://{address}" for address in broker],
        store="memory://",
        datadir=str(datadir),
        web_enabled=False,
        autodiscover=False,
        topic_disable_leader=True,
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
        # Records are large: a few dozen are tens of megabytes.
        stream_buffer_maxsize=buffer_records_max,
        broker_max_poll_records=buffer_records_max,
        consumer_max_fetch_size=message_bytes_max,
        producer_max_request_size=message_bytes_max,
        producer_acks=-1,
    )
