"""The tenants of a worker: their configurations, counters, and pushes that wait for their interval."""

import logging
from dataclasses import dataclass, field, replace
from typing import Final, Protocol, Self

from agents.generator.config import GeneratorConfig, fingerprint
from agents.generator.journal.journal_format import SavedTenant
from agents.generator.own_metrics import (
    COLLECTIONS,
    COLLECTIONS_FAILED,
    NO_STATS,
    REGISTRY_FAILED,
    export_config,
    export_stats,
)
from agents.generator.processors.tenant import TenantGenerator, TenantStats
from agents.generator.push.push import Push, PushPart, end_of, folded, last_push_of, push_of
from tables.wall import is_fault

log = logging.getLogger(__name__)

# Clocks are not exact: a collection that comes a little early is still that of its interval.
_EARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class TenantConfig:
    """Configuration of a tenant. interval_s: seconds between two pushes"""

    generator: GeneratorConfig
    interval_s: float


class TenantConfigs(Protocol):
    """The configuration of each tenant; it may change at any time."""

    def of(self, tenant: str) -> TenantConfig:
        """The current configuration of a tenant."""

    def longest_wait_s(self) -> float:
        """The longest time that unpaired spans of any tenant wait, in seconds."""


@dataclass(eq=False, slots=True)
class Tenant:
    """A tenant's generator and its unsent push. held: collected, but not due yet; pushed_ms: time of the last push"""

    name: str
    config: TenantConfig
    generator: TenantGenerator
    held: Push | None = None
    pushed_ms: int = 0
    reported: TenantStats = field(default=NO_STATS)

    @classmethod
    def new(cls, name: str, config: TenantConfig) -> Self:
        """A tenant whose first span has arrived."""
        return cls(name, config, TenantGenerator(config.generator))

    @classmethod
    def restored(cls, name: str, config: TenantConfig, saved: SavedTenant) -> tuple[Self, Push | None]:
        """A tenant from the journal. Also returns a push that ends its series, if its configuration has changed."""
        tenant = cls.new(name, config)
        tenant.held, tenant.pushed_ms = saved.push if saved.held else None, saved.pushed_ms
        if saved.fingerprint == fingerprint(config.generator):
            tenant.generator.restore(saved.state)
            tenant.export_stats()
            return tenant, None
        snapshots = [replace(one.snapshot, stale=[]) for one in saved.push.tables]
        ends = end_of(saved.push.last + 1, snapshots, saved.push.time_ms + 1)
        if tenant.held is not None:
            tenant.held = folded(tenant.held, ends)
            return tenant, None
        return tenant, ends

    def saved(self, pushed: Push | None) -> SavedTenant:
        """The state for `restored`. pushed: the push of this collection; None: it is held back"""
        push = pushed if pushed is not None else self.held
        assert push is not None, "a collection is sent or held"
        return SavedTenant(
            fingerprint(self.config.generator), self.generator.saved(), push, pushed is None, self.pushed_ms
        )

    def collect(self, number: int, time_ms: int, created_ms: int, wanted: TenantConfig, *, due: bool) -> Push | None:
        """The push to send now, if any. due: send regardless of the interval.

        If the new configuration counts differently, the affected series end and start again; no count is lost.
        """
        part = PushPart(self.generator.collect(time_ms / 1000), time_ms, created_ms)
        COLLECTIONS.labels(self.name).inc()
        self.export_stats()
        push = push_of(number, part)
        if wanted.generator != self.config.generator and not self.generator.adopt(wanted.generator):
            self.generator, went_on = self.generator.successor(wanted.generator)
            push = last_push_of(number, part, went_on, time_ms + 1)
            self.reported = self.generator.stats()
        self.config = wanted
        push = push if self.held is None else folded(self.held, push)
        if not due and time_ms < self.pushed_ms + wanted.interval_s * 1000 * _EARLY:
            self.held = push
            return None
        self.held, self.pushed_ms = None, time_ms
        return push

    def collect_or_restart(
        self, number: int, time_ms: int, created_ms: int, wanted: TenantConfig, *, due: bool
    ) -> Push | None:
        """As `collect`. If that fails, the tenant's counters start at 0 again; other tenants are not affected."""
        try:
            return self.collect(number, time_ms, created_ms, wanted, due=due)
        except BaseException as err:
            if not is_fault(err):
                raise
            log.exception("what was counted of tenant %s cannot be collected; its counters begin anew", self.name)
            COLLECTIONS_FAILED.labels(self.name).inc()
            REGISTRY_FAILED.labels(self.name, "fault").inc()
        self.config, self.generator, self.reported = wanted, TenantGenerator(wanted.generator), NO_STATS
        return self.collect(number, time_ms, created_ms, wanted, due=due)

    def export_stats(self) -> None:
        """Updates the metrics of this tenant."""
        now = self.generator.stats()
        export_stats(self.name, now, self.reported)
        export_config(self.name, self.config.generator)
        self.reported = now
