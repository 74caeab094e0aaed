"""What the API knows of tenants: from the overrides, as these are now."""

from typing import Final

from app.api.limits import ApiLimits, CurrentLimits
from app.api.tenants import TenantApi
from app.process.overrides import OverridesFile
from app.process.own_overrides_reader import OwnOverridesReader
from app.settings.show import entry_yaml
from app.targets.shared import Shared

_TENANTS_KEPT_MAX: Final = 10_000


class QueryLimitsTable:
    """The limits of each tenant's queries. limits: of all"""

    def __init__(self, limits: CurrentLimits, overrides: OverridesFile) -> None:
        self._limits, self._overrides = limits, overrides
        self._version = (overrides.version, limits.version)
        self._known: dict[str, ApiLimits] = {}

    def of(self, tenant: str) -> ApiLimits:
        """The limits as they are now."""
        version = (self._overrides.version, self._limits.version)
        if self._version != version:
            self._version, self._known = version, {}
        found = self._known.get(tenant)
        if found is None:
            found = self._limits.now.of_tenant(self._overrides.of(tenant).read)
            if len(self._known) >= _TENANTS_KEPT_MAX:
                self._known = {}
            self._known[tenant] = found
        return found


def tenant_api(limits: CurrentLimits, shared: Shared, reader: OwnOverridesReader | None) -> TenantApi:
    """reader: of what tenants set themselves; None: they may not"""
    overrides = shared.overrides
    return TenantApi(
        limits_of=QueryLimitsTable(limits, overrides).of,
        overrides_of=lambda tenant: entry_yaml(overrides.of(tenant)),
        usage=shared.usage,
        own=lambda: None if reader is None else reader.own,
    )
