"""TARGET=all: every other target in one process."""

from app.settings import Settings
from app.targets import compactor, distributor, live_store, metrics_generator
from app.targets.shared import Shared, Target


def build(settings: Settings, shared: Shared) -> Target:
    """The live store is the worker, the others run beside it; metrics are made where there is somebody to take them."""
    live, receiving = live_store.build(settings, shared), distributor.build(settings, shared)
    apps = {**live.apps, **receiving.apps}
    if settings.metrics_generator.storage.remote_write:
        apps |= metrics_generator.build(settings, shared).apps
    if not settings.compactor.disabled:
        apps |= compactor.build(settings, shared, live.live).apps
    return Target(
        apps=apps,
        topics=receiving.topics,
        servers=receiving.servers,
        backend=live.backend,
        live=live.live,
        partitions_written=receiving.partitions_written,
    )
