"""Settings of single tenants while the process runs: reloads the file, and keeps the last good one."""

import asyncio
import hashlib
import logging
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import faust
from prometheus_client import Counter, Gauge
from pydantic import ValidationError

from app.errors import SettingsError
from app.process.limit_metrics import show_limits
from app.settings import Settings
from app.settings.tenants.overrides import TenantOverrides, layered
from app.settings.tenants.tenant_file import ANY_TENANT, check_entry, check_forwarders, read_tenants

log = logging.getLogger(__name__)

GOOD = Gauge(
    "tempo_runtime_config_last_reload_successful", "Whether the last load of the overrides file succeeded (1 or 0)."
)
FAILED = Counter(
    "tempo_runtime_config_reload_failures_total", "Failed loads of the overrides file. The last good one stays in use."
)
WITHOUT_EFFECT = Gauge(
    "stretto_overrides_keys_without_effect",
    "Keys of Tempo in the overrides file that have no counterpart here; the log says which, and why.",
)

_FILE_BYTES_MAX: Final = 16 << 20
_TENANTS_KEPT_MAX: Final = 10_000
_NOTHING: Final = TenantOverrides()


class OverridesFile:
    """What is set for single tenants: by the operator's file, and by tenants themselves. version: changes with it"""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Reads the file. Raises: SettingsError if it exists and is invalid"""
        self._settings, self._environ = settings, environ
        self._name = settings.overrides.per_tenant_override_config
        self._tenants: Mapping[str, TenantOverrides] = {}
        self._own: Mapping[str, TenantOverrides] = {}
        self._known: dict[str, TenantOverrides] = {}
        self._digest = b""
        self._reading = threading.Lock()
        self.version = 0
        if self._name:
            self._read()
        self._show()

    def of(self, tenant: str) -> TenantOverrides:
        """What counts for a tenant: `overrides.defaults`, over these its entry, or else that of `*`, and over that what
        it has set itself. Only what is set there is set.
        """
        known = self._known  # this one: a thread may replace it meanwhile, when the file has changed
        found = known.get(tenant)
        if found is None:
            found = self._over_file(tenant, self._own.get(tenant, _NOTHING))
            if len(known) >= _TENANTS_KEPT_MAX:
                known.clear()
            known[tenant] = found
        return found

    def entry(self, tenant: str) -> TenantOverrides:
        """The operator's entry for a tenant: its own, or else that of `*`."""
        return self._tenants.get(tenant) or self._tenants.get(ANY_TENANT, _NOTHING)

    def tenants(self) -> Mapping[str, TenantOverrides]:
        """All entries by tenant name, including `*`, with what tenants have set over them."""
        found = dict(self._tenants)
        for tenant, own in self._own.items():
            found[tenant] = layered(self.entry(tenant), own)
        return found

    def all(self) -> list[TenantOverrides]:
        """What counts for all tenants with overrides, and for all others, without the names of the tenants."""
        return [self.of(tenant) for tenant in {*self._tenants, *self._own, ANY_TENANT}]

    def check_own(self, tenant: str, own: TenantOverrides) -> None:
        """Raises: ValidationError if what a tenant sets itself does not fit to what the operator has set"""
        check_forwarders(self._settings, own)
        self._over_file(tenant, own).metrics_generator.over(self._settings.metrics_generator)

    def set_own(self, own: Mapping[str, TenantOverrides]) -> None:
        """Replaces what tenants have set themselves. An entry that does not fit to the file any more does not count."""
        good = {tenant: entry for tenant, entry in own.items() if self._fits(tenant, entry)}
        if good != self._own:
            self._own = good
            self._changed()

    def use(self, settings: Settings) -> None:
        """Reads the file anew, by other settings: its name may be another, and so may the defaults.

        Raises: SettingsError if the file is invalid; what was before then stays in use
        """
        with self._reading:
            before = (self._settings, self._name, self._digest, self._tenants, self._own)
            self._settings, self._name, self._digest = settings, settings.overrides.per_tenant_override_config, b""
            try:
                if self._name:
                    self._read()
                else:
                    self._tenants = {}
                    GOOD.set(1)
                    WITHOUT_EFFECT.set(0)
                self._own = {tenant: entry for tenant, entry in self._own.items() if self._fits(tenant, entry)}
            except SettingsError:
                FAILED.inc()
                GOOD.set(0)
                self._settings, self._name, self._digest, self._tenants, self._own = before
                raise
            finally:
                self._changed()

    def reload(self) -> None:
        """Reads the file again if it has changed. If it is invalid, the previous content stays in use."""
        try:
            with self._reading:
                if self._name:
                    self._read()
        except SettingsError as err:
            FAILED.inc()
            GOOD.set(0)
            log.error("overrides.per_tenant_override_config: what was read before holds:\n%s", err)

    def _over_file(self, tenant: str, own: TenantOverrides) -> TenantOverrides:
        return layered(layered(self._settings.overrides.defaults, self.entry(tenant)), own)

    def _fits(self, tenant: str, entry: TenantOverrides) -> bool:
        try:
            self.check_own(tenant, entry)
        except ValidationError as err:
            (first, *_) = err.errors(include_url=False)
            log.error("what tenant %s has set at /api/overrides does not count: %s", tenant, first["msg"])
            return False
        return True

    def _changed(self) -> None:
        self._known, self.version = {}, self.version + 1
        self._show()

    def _show(self) -> None:
        """Sets the metrics of limits."""
        named = {*self._tenants, *self._own} - {ANY_TENANT}
        show_limits(self._settings, self.of(ANY_TENANT), {tenant: self.of(tenant) for tenant in named})

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
        tenants, warnings = read_tenants(text, self._name, self._environ, partial(check_entry, self._settings))
        for warning in warnings:
            log.warning("%s", warning)
        WITHOUT_EFFECT.set(len(warnings))
        if tenants != self._tenants:
            self._tenants = tenants
            self._own = {tenant: entry for tenant, entry in self._own.items() if self._fits(tenant, entry)}
            self._changed()
            log.info("overrides of %d tenants from %s", len(tenants), self._name)
        GOOD.set(1)


class OverridesReader(faust.Service):  # type: ignore[misc]  # Faust has no types here
    """Reloads the file periodically."""

    def __init__(self, file: OverridesFile, period_s: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._file, self.period_s = file, period_s

    @faust.Service.task
    async def _reload(self) -> None:
        while not self.should_stop:
            await self.sleep(self.period_s)
            await asyncio.to_thread(self._file.reload)  # thousands of tenants take a second
