"""Runs the metrics generator: its configurations, its clock, and one more push at the end."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import faust

from agents.generator.agent import MetricsGenerator
from agents.generator.tenants import TenantConfig
from app.process.overrides import OverridesFile
from app.remote_write.client import RemoteWriter
from app.settings import Settings
from app.settings.overrides import TenantOverrides

log = logging.getLogger(__name__)

_PUSH_AT_STOP_S: Final = 3.0
_CLOSE_S: Final = 1.0


class GeneratorConfigs:
    """Each tenant's configuration: the settings, with the overrides over them."""

    def __init__(self, settings: Settings, overrides: OverridesFile, instance: str) -> None:
        self._overrides, self._instance = overrides, instance
        self._below = settings.overrides.defaults.metrics_generator.over(settings.metrics_generator)
        self._known: dict[str, TenantConfig] = {}
        self._version = overrides.version

    def of(self, tenant: str) -> TenantConfig:
        """The tenant's, as of now."""
        if self._version != self._overrides.version:
            self._known, self._version = {}, self._overrides.version
        found = self._known.get(tenant)
        if found is None:
            merged = self._overrides.of(tenant).metrics_generator.over(self._below)
            found = TenantConfig(merged.config(self._instance), merged.registry.collection_interval_s)
            self._known[tenant] = found
        return found

    def shortest_interval_s(self) -> float:
        """Of all tenants: how far apart collections are."""
        return min(
            [
                self._below.registry.collection_interval_s,
                *(one.metrics_generator.collection_interval_s for one in self._overrides.all() if _sets_interval(one)),
            ]
        )

    def longest_wait_s(self) -> float:
        """Of all tenants: how long unpaired spans wait."""
        own = (one.metrics_generator.processor.service_graphs.wait_s for one in self._overrides.all())
        return max([self._below.processor.service_graphs.wait_s, *own])


def _sets_interval(one: TenantOverrides) -> bool:
    return "collection_interval_s" in one.metrics_generator.model_fields_set


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
        """Before any partition is assigned."""
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
