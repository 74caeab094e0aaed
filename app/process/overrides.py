"""Settings of single tenants while the process runs: reloads the file, and keeps the last good one."""

import asyncio
import hashlib
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import faust
from prometheus_client import Counter, Gauge

from app.errors import SettingsError
from app.settings import Settings
from app.settings.overrides import TenantOverrides
from app.settings.tenant_file import ANY_TENANT, read_tenants

log = logging.getLogger(__name__)

GOOD = Gauge(
    "tempo_runtime_config_last_reload_successful", "Whether the last load of the overrides file succeeded (1 or 0)."
)
FAILED = Counter(
    "tempo_runtime_config_reload_failures_total", "Failed loads of the overrides file. The last good one stays in use."
)

_FILE_BYTES_MAX: Final = 16 << 20
_NOTHING: Final = TenantOverrides()


class OverridesFile:
    """The content of the overrides file. version: changes with the content"""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Reads the file. Raises: SettingsError if it exists and is invalid"""
        self._settings, self._environ = settings, environ
        self._name = settings.overrides.per_tenant_override_config
        self._tenants: Mapping[str, TenantOverrides] = {}
        self._digest = b""
        self.version = 0
        if self._name:
            self._read()

    def of(self, tenant: str) -> TenantOverrides:
        """A tenant's entry: its own, or else the entry of `*`."""
        return self._tenants.get(tenant) or self._tenants.get(ANY_TENANT, _NOTHING)

    def tenants(self) -> Mapping[str, TenantOverrides]:
        """All entries by tenant name, including `*`."""
        return self._tenants

    def all(self) -> list[TenantOverrides]:
        """The overrides of all tenants, without the names of the tenants."""
        return list(self._tenants.values())

    def reload(self) -> None:
        """Reads the file again if it has changed. If it is invalid, the previous content stays in use."""
        if not self._name:
            return
        try:
            self._read()
        except SettingsError as err:
            FAILED.inc()
            GOOD.set(0)
            log.error("overrides.per_tenant_override_config: what was read before holds:\n%s", err)

    def _read(self) -> None:
        try:
            with Path(self._name).open("rb") as file:
                data = file.read(_FILE_BYTES_MAX + 1)
            digest = hashlib.blake2b(data).digest()
            if digest == self._digest:
                return
            if len(data) > _FILE_BYTES_MAX:
                raise SettingsError(f"{self._name}: is larger than {_FILE_BYTES_MAX >> 20} MiB")
            text = data.decode("utf-8-sig")
        except OSError as err:
            self._digest = b""
            raise SettingsError(
                f"{self._name}: cannot be read: {err.strerror or err}; overrides.per_tenant_override_config names it"
            ) from err
        except UnicodeDecodeError as err:
            raise SettingsError(f"{self._name}: not UTF-8 text; save the file as UTF-8") from err
        # A wrong file is logged once, not every few seconds.
        self._digest = digest
        tenants = read_tenants(text, self._name, self._environ, self._check)
        if tenants != self._tenants:
            self._tenants, self.version = tenants, self.version + 1
            log.info("overrides of %d tenants from %s", len(tenants), self._name)
        GOOD.set(1)

    def _check(self, entry: TenantOverrides) -> None:
        """Raises: ValidationError if the entry does not fit the settings"""
        defaults = self._settings.overrides.defaults.metrics_generator.over(self._settings.metrics_generator)
        entry.metrics_generator.over(defaults)


class OverridesReader(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Reloads the file periodically."""

    def __init__(self, file: OverridesFile, period_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file, self._period_s = file, period_s

    @faust.Service.task
    async def _reload(self) -> None:
        while not self.should_stop:
            await self.sleep(self._period_s)
            await asyncio.to_thread(self._file.reload)  # thousands of tenants take a second
