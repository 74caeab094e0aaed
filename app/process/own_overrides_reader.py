"""Reads what tenants have set themselves, again and again, while the process runs."""

import asyncio
import logging
from typing import Any, Final

import faust
from prometheus_client import Counter

from app.process.overrides import OverridesFile
from app.process.own_overrides import OwnOverrides
from app.process.storage import storage_config
from app.settings import Settings
from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.wall import NativePanic, walled

RELOAD_FAILED: Final = Counter(
    "tempo_overrides_user_configurable_overrides_reload_failed_total",
    "Times that what tenants have set could not be read; it stays as it was.",
)

log = logging.getLogger(__name__)


class OwnOverridesReader(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """One per process, where tenants may set overrides. own: None before the start."""

    def __init__(self, settings: Settings, overrides: OverridesFile, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._settings, self._overrides = settings, overrides
        self.own: OwnOverrides | None = None

    async def on_start(self) -> None:
        """Opens the storage, and reads. If it is away, the process goes on, and tries again."""
        self.own = OwnOverrides(ObjectStore(storage_config(self._settings.storage.trace)), self._overrides)
        await self._poll(self.own)

    @faust.Service.task
    async def _poll_forever(self) -> None:
        while not self.should_stop:
            await self.sleep(self._settings.overrides.user_configurable_overrides.poll_interval)
            if self.own is not None and not self.should_stop:
                await self._poll(self.own)

    async def _poll(self, own: OwnOverrides) -> None:
        try:
            await asyncio.to_thread(walled, own.poll)
        except (StorageError, OSError, NativePanic) as err:
            RELOAD_FAILED.inc()
            log.warning("the overrides that tenants have set are as they were: %s", err)
