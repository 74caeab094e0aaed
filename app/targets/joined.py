"""The targets of a process, joined to one."""

from collections.abc import Callable, Mapping
from typing import Final

from app.errors import SettingsError
from app.settings import Settings
from app.settings.models import EVERYTHING
from app.targets import compactor, distributor, live_store, metrics_generator, queries
from app.targets.shared import Shared, Target

Build = Callable[[Settings, Shared], Target]

# Targets with a consumer group of their own, in the order in which they start: the first is the worker.
_CONSUMERS: Final[Mapping[str, Build]] = {
    "live-store": live_store.build,
    "distributor": distributor.build,
    "metrics-generator": metrics_generator.build,
}
_QUERIES: Final = ("live-store", "query-frontend", "querier")


def build(settings: Settings, shared: Shared) -> Target:
    """What the process runs. Where it runs everything, metrics are made only if somebody takes them, and blocks merged
    only if that is not switched off.
    """
    wanted, everything = set(settings.targets), settings.target in EVERYTHING
    if everything and not settings.metrics_generator.storage.remote_write:
        wanted.discard("metrics-generator")
    if everything and settings.compactor.disabled:
        wanted.discard("compactor")
    target = Target(apps={})
    for name, make in _CONSUMERS.items():
        if name in wanted:
            target = _joined(target, make(settings, shared))
    if "compactor" in wanted:
        target = _joined(target, compactor.build(settings, shared, target.live))
    if wanted.intersection(_QUERIES):
        target = _joined(target, queries.build(settings, shared, target.live))
    return target


def _joined(one: Target, other: Target) -> Target:
    if one.backend is not None and other.backend is not None:
        raise SettingsError("two targets of a process would answer its queries")
    return Target(
        apps={**one.apps, **other.apps},
        servers=[*one.servers, *other.servers],
        backend=one.backend or other.backend,
        live=one.live or other.live,
        further=[*one.further, *other.further],
        topics={**one.topics, **other.topics},
        partitions_written=lambda: max(one.partitions_written(), other.partitions_written()),
    )
