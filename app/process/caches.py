"""Makes the caches that the settings describe."""

import logging
from typing import Final

from app.settings import Settings
from app.settings.sections.cache import Background, MemcachedCache, RedisCache, SharedCacheSettings
from tables.storage.cache_servers import CacheServer, Memcached, MemcachedConfig, Redis, RedisConfig
from tables.storage.object_store import ObjectStore
from tables.storage.range_cache import RangeCache
from tables.storage.shared_cache import ROLES, Role, SharedCache, SharedCacheLimits

log = logging.getLogger(__name__)

FRONTEND_SEARCH: Final[Role] = "frontend-search"


def range_cache(settings: Settings, store: ObjectStore) -> RangeCache:
    """What reads block files. Connects to shared caches when it first needs them. Raises: StorageError if the client
    of one is not installed
    """
    remote = settings.storage.trace.backend != "local"
    memory_bytes_max = settings.query.range_cache_bytes_max if remote else 0
    shared: dict[Role, SharedCache] = {}
    for one in settings.cache.caches:
        roles = [role for role in ROLES if role in one.roles and role != FRONTEND_SEARCH]
        if unused := sorted({*one.roles} - {*ROLES, "none"}):
            log.info("cache: the roles %s have no effect here", ", ".join(unused))
        if roles:
            shared |= dict.fromkeys(roles, _shared(one, settings.cache.background))
    return RangeCache(store, memory_bytes_max, shared, settings.query.read_ahead_bytes_max)


def shared_result_cache(settings: Settings) -> SharedCache | None:
    """Where frontends share what queriers have answered; None: nowhere. Raises: as `range_cache`"""
    for one in settings.cache.caches:
        if FRONTEND_SEARCH in one.roles:
            return _shared(one, settings.cache.background)
    return None


def _shared(one: SharedCacheSettings, background: Background) -> SharedCache:
    server: CacheServer
    described: MemcachedCache | RedisCache
    if one.memcached.is_set:
        described = one.memcached
        name = "memcached " + ",".join(f"{host}:{port}" for host, port in described.servers)
        server = Memcached(
            MemcachedConfig(described.servers, described.timeout, described.max_idle_conns, round(described.ttl))
        )
    else:
        described = one.redis
        host, port = described.server
        name = f"redis {host}:{port}"
        server = Redis(
            RedisConfig(
                host=host,
                port=port,
                timeout_s=described.timeout,
                connections_max=described.max_idle_conns,
                db=described.db,
                username=described.username,
                password=described.password.get_secret_value(),
                tls=described.tls_enabled,
                tls_insecure=described.tls_insecure_skip_verify,
                ttl_s=round(described.ttl),
            )
        )
    limits = SharedCacheLimits(
        item_bytes_max=described.max_item_size,
        queue_max=background.writeback_buffer,
        writers=background.writeback_goroutines,
        failures_max=described.circuit_breaker_consecutive_failures,
        pause_s=described.circuit_breaker_timeout,
    )
    return SharedCache(name, server, limits)
