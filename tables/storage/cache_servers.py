"""Clients of memcached and Redis: the few calls that a shared cache needs. Any of them may raise any exception."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from tables.errors import StorageError

_NOT_INSTALLED: Final = "a shared cache needs the package {}: pip install 'stretto[caches]'"


class CacheServer(Protocol):
    """A server, or several, that keep values by key for a while."""

    def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """The values of those keys that are there."""
        ...

    def put(self, key: str, value: bytes) -> None:
        """Keeps a value."""
        ...

    def close(self) -> None:
        """Closes all connections."""
        ...


@dataclass(frozen=True, slots=True)
class MemcachedConfig:
    """servers: host and port of each; ttl_s: 0: until the server needs the room; connections_max: to each server"""

    servers: tuple[tuple[str, int], ...]
    timeout_s: float
    connections_max: int
    ttl_s: int = 0


class Memcached:
    """memcached through pymemcache; keys are spread over the servers by hashing."""

    def __init__(self, config: MemcachedConfig) -> None:
        """Raises: StorageError if the client is not installed"""
        try:
            from pymemcache.client.hash import HashClient  # type: ignore[import-untyped]
        except ImportError as err:
            raise StorageError(_NOT_INSTALLED.format("pymemcache")) from err
        self._ttl_s = config.ttl_s
        self._client: Any = HashClient(
            list(config.servers),
            timeout=config.timeout_s,
            connect_timeout=config.timeout_s,
            use_pooling=True,
            max_pool_size=config.connections_max,
            # Whether to ask a server again is the circuit breaker's business.
            retry_attempts=0,
            dead_timeout=0,
            ignore_exc=False,
            no_delay=True,
        )

    def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        found: Mapping[str, bytes] = self._client.get_many(list(keys))
        return found

    def put(self, key: str, value: bytes) -> None:
        self._client.set(key, value, expire=self._ttl_s, noreply=False)

    def close(self) -> None:
        self._client.close()


@dataclass(frozen=True, slots=True)
class RedisConfig:
    """A single Redis. ttl_s: 0: until the server needs the room, which its eviction policy must allow"""

    host: str
    port: int
    timeout_s: float
    connections_max: int
    db: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    tls_insecure: bool = False
    ttl_s: int = 0


class Redis:
    """Redis, or what speaks its protocol, through redis-py."""

    def __init__(self, config: RedisConfig) -> None:
        """Raises: StorageError if the client is not installed"""
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as err:
            raise StorageError(_NOT_INSTALLED.format("redis")) from err
        tls = {"ssl_cert_reqs": "none" if config.tls_insecure else "required"} if config.tls else {}
        pool = redis.BlockingConnectionPool(  # type: ignore[no-untyped-call]
            host=config.host,
            port=config.port,
            db=config.db,
            username=config.username or None,
            password=config.password or None,
            socket_timeout=config.timeout_s,
            socket_connect_timeout=config.timeout_s,
            max_connections=config.connections_max,
            timeout=config.timeout_s,
            protocol=2,  # which every server speaks
            retry=Retry(NoBackoff(), 0),
            connection_class=redis.SSLConnection if config.tls else redis.Connection,
            **tls,
        )
        self._ttl_s = config.ttl_s or None
        self._client: Any = redis.Redis(connection_pool=pool)

    def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        values = self._client.mget(list(keys))
        return {key: value for key, value in zip(keys, values, strict=True) if value is not None}

    def put(self, key: str, value: bytes) -> None:
        self._client.set(key, value, ex=self._ttl_s)

    def close(self) -> None:
        self._client.close()
        self._client.connection_pool.disconnect()
