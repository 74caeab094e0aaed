"""TARGET=metrics-generator: its configurations, its clock, and one more push at the end."""

import asyncio
import hashlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import faust

from agents.generator.agent import MetricsGenerator
from agents.generator.journal.journal_file import JournalFile
from agents.generator.register import register
from agents.generator.tenants import TenantConfig
from app.errors import SettingsError
from app.net.tenant import SINGLE_TENANT
from app.process.overrides import OverridesFile
from app.remote_write.client import RemoteWriter, remote_writers
from app.settings import Settings
from app.settings.sections.generator import MetricsGenerator as MetricsGeneratorSettings
from app.targets.kafka_state import cluster_and_partitions
from app.targets.shared import Shared, Target, stream_app

log = logging.getLogger(__name__)

_PUSH_AT_STOP_S: Final = 3.0
_CLOSE_S: Final = 1.0


class GeneratorConfigs:
    """Each tenant's configuration: the settings, with the overrides over them."""

    def __init__(self, settings: Settings, overrides: OverridesFile, instance: str) -> None:
        self._overrides, self._instance = overrides, instance
        self._below = settings.metrics_generator
        self._known: dict[str, TenantConfig] = {}
        self._version = overrides.version
        self._all = self._of_all()

    def of(self, tenant: str) -> TenantConfig:
        """The configuration of a tenant, as the file of overrides says it now."""
        self._see_changes()
        found = self._known.get(tenant)
        if found is None:
            merged = self._overrides.of(tenant).metrics_generator.over(self._below)
            found = TenantConfig(merged.config(self._instance), merged.registry.collection_interval_s)
            self._known[tenant] = found
        return found

    def shortest_interval_s(self) -> float:
        """The shortest time between two collections that any tenant has."""
        self._see_changes()
        return min(one.registry.collection_interval_s for one in self._all)

    def longest_wait_s(self) -> float:
        """Of all tenants: how long unpaired spans wait."""
        self._see_changes()
        return max(one.processor.service_graphs.wait_s for one in self._all)

    def _see_changes(self) -> None:
        if self._version != self._overrides.version:
            self._version = self._overrides.version
            self._known, self._all = {}, self._of_all()

    def _of_all(self) -> list[MetricsGeneratorSettings]:
        return [one.metrics_generator.over(self._below) for one in self._overrides.all()]


class Pusher(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """A part of the generator's Faust app. cluster_id: tells this Kafka's offsets from another one's."""

    def __init__(
        self,
        generator: MetricsGenerator,
        targets: Sequence[RemoteWriter],
        configs: GeneratorConfigs,
        cluster_id: Callable[[], Awaitable[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._generator, self._targets, self._configs, self._cluster_id = generator, targets, configs, cluster_id

    async def on_start(self) -> None:
        """Reads the journal, before any partition is assigned."""
        await self._generator.restore(await self._cluster_id())

    @faust.Service.task
    async def _collect(self) -> None:
        collected_s = time.monotonic()
        while not self.should_stop:
            # Collections are so far apart, however long they take.
            await self.sleep(max(0.0, collected_s + self._configs.shortest_interval_s() - time.monotonic()))
            collected_s = time.monotonic()
            if not self.should_stop:
                await self._generator.collect()

    @faust.Service.task
    async def _commit(self) -> None:
        await self._generator.commit_forever()

    async def on_stop(self) -> None:
        """So that whoever takes over, or a restart, need not count the last seconds again."""
        await self._generator.push_now(within_s=_PUSH_AT_STOP_S)
        self._generator.stop()
        try:
            async with asyncio.timeout(_CLOSE_S):
                await asyncio.gather(*(target.close() for target in self._targets))
        except TimeoutError:
            log.warning("connections to remote-write targets were not closed in time")


def build(settings: Settings, shared: Shared) -> Target:
    """Metrics of spans, pushed by Prometheus remote write. Raises: SettingsError where nobody takes them."""
    storage, kafka = settings.metrics_generator.storage, settings.kafka
    if not storage.remote_write:
        raise SettingsError("target metrics-generator needs a receiver: set REMOTE_WRITE_URL")
    app = stream_app(settings, shared, "metrics-generator")
    targets = remote_writers(storage.remote_write, SINGLE_TENANT)
    instance = _instance(settings.own_dir)
    configs = GeneratorConfigs(settings, shared.overrides, instance)
    journal = JournalFile(settings.own_dir / "metrics-generator")
    generator = MetricsGenerator(
        app, kafka.topic, configs, targets, instance, journal, queue_bytes_max=storage.queue_bytes_max
    )
    register(app, generator)

    async def cluster_id() -> str:
        return (await cluster_and_partitions(shared.kafka, kafka.topic))[0]

    app.parts.append(Pusher(generator, targets, configs, cluster_id))
    return Target(apps={"metrics-generator": app})


def _instance(data_dir: Path) -> str:
    """Names this worker for good. Workers of one machine have folders of their own."""
    folder = hashlib.blake2b(str(data_dir.absolute()).encode(), digest_size=4).hexdigest()
    return f"{socket.gethostname()}-{folder}"
