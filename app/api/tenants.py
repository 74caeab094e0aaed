"""What the API knows of tenants besides their spans: limits, overrides, usage."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from agents.distributor.usage import UsageTracker
from app.api.limits import LimitsOf
from app.process.own_overrides import OwnOverrides


def nothing_set(_: str) -> str:
    """Where no tenant has overrides."""
    return "{}\n"


@dataclass(frozen=True, slots=True)
class TenantApi:
    """limits_of: of each tenant's queries; None: all have the same
    overrides_of: what counts for a tenant, as YAML; usage: None: costs are not attributed
    own: what tenants set themselves; None: they may not
    """

    limits_of: LimitsOf | None = None
    overrides_of: Callable[[str], str] = nothing_set
    usage: UsageTracker | None = None
    own: Callable[[], OwnOverrides | None] = lambda: None


TENANTS: Final = web.AppKey("tenants", TenantApi)
