"""The label `tenant` of metrics, with a bound on how many tenants have series of their own."""

from typing import Final

OTHERS: Final = "__other__"
TENANTS_MAX: Final = 1000


class TenantLabels:
    """The label of each tenant: its name for the first ones that come, and one label for all further ones."""

    def __init__(self, tenants_max: int = TENANTS_MAX) -> None:
        self.tenants_max = tenants_max
        self._known: dict[str, str] = {}

    def of(self, tenant: str) -> str:
        """The tenant's label."""
        found = self._known.get(tenant)
        if found is None:
            if len(self._known) >= self.tenants_max:
                return OTHERS
            found = self._known[tenant] = tenant
        return found
