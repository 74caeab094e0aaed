"""The section cache: caches that several processes share. Names are Tempo's."""

from collections.abc import Callable
from typing import Annotated, Any, Final, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from app.settings.base import Section, conflict
from app.settings.values import Bytes, Count, CountOrZero, Duration, DurationOrZero
from tables.storage.shared_cache import ROLES

_MIB: Final = 1 << 20
_MEMCACHED_PORT: Final = 11211
_REDIS_PORT: Final = 6379

# All of Tempo's, so that its configuration can be taken over. Stretto has nothing for the others.
RoleName = Literal[
    "bloom",
    "parquet-footer",
    "parquet-page",
    "trace-id-index",
    "parquet-column-idx",
    "parquet-offset-idx",
    "frontend-search",
    "none",
]


def _texts(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _address(text: str, port: int) -> tuple[str, int]:
    host, colon, number = text.rpartition(":")
    if not colon or number.endswith("]"):
        return text.strip("[]"), port
    if not host or not number.isdecimal() or not 0 < int(number) < 1 << 16:
        raise ValueError(f"{text[:100]!r} is not host:port")
    return host.strip("[]"), int(number)


def _checked(address: Callable[[], Any], key: str) -> None:
    try:
        address()
    except ValueError as err:
        raise conflict(key, str(err)) from None


class CacheServerSettings(Section):
    timeout: Duration = Field(default=0.1, description="Time that a call may take. Slower answers count as none.")
    max_idle_conns: Count = Field(default=16, description="Most connections to a server.")
    ttl: DurationOrZero = Field(
        default=0, description="Time after which the server forgets a value. 0: when it needs the room."
    )
    max_item_size: Bytes = Field(
        default=_MIB, description="Largest value that is sent, in bytes. memcached takes 1 MiB unless it is told more."
    )
    circuit_breaker_consecutive_failures: CountOrZero = Field(
        default=10, description="After so many failures in a row nobody asks the server for a while. 0: never so."
    )
    circuit_breaker_timeout: Duration = Field(default=10, description="How long nobody asks, then one call tries.")


class MemcachedCache(CacheServerSettings):
    host: str = Field(default="", description="Host, or host:port, of a memcached. Port 11211 if it has none.")
    addresses: Annotated[tuple[str, ...], BeforeValidator(_texts), Field(strict=False)] = Field(
        default=(), description="Hosts, each with or without a port, instead of `host`; keys are spread over them."
    )

    @property
    def is_set(self) -> bool:
        """Whether there is a server."""
        return bool(self.host or self.addresses)

    @property
    def servers(self) -> tuple[tuple[str, int], ...]:
        """Host and port of each."""
        return tuple(_address(one, _MEMCACHED_PORT) for one in self.addresses or (self.host,))

    @model_validator(mode="after")
    def _has_a_host(self) -> Self:
        if self.host and self.addresses:
            raise conflict("host", "addresses is set, too; set one of them", "addresses")
        _checked(lambda: self.servers, "addresses" if self.addresses else "host")
        return self


class RedisCache(CacheServerSettings):
    endpoint: str = Field(default="", description="Host, or host:port, of a Redis. Port 6379 if it has none.")
    timeout: Duration = Field(default=0.5, description="Time that a call may take. Slower answers count as none.")
    db: CountOrZero = Field(default=0, description="Number of the database.")
    username: str = Field(default="", description="User name. Empty: none.")
    password: SecretStr = Field(default=SecretStr(""), description="Password. Empty: none.")
    tls_enabled: bool = Field(default=False, description="Connect with TLS.")
    tls_insecure_skip_verify: bool = Field(default=False, description="Do not verify the server's certificate.")

    @property
    def is_set(self) -> bool:
        """Whether there is a server."""
        return bool(self.endpoint)

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        return _address(self.endpoint, _REDIS_PORT)

    @model_validator(mode="after")
    def _has_an_endpoint(self) -> Self:
        _checked(lambda: self.server, "endpoint")
        return self


class SharedCacheSettings(Section):
    roles: Annotated[tuple[RoleName, ...], BeforeValidator(_texts), Field(strict=False, min_length=1)] = Field(
        description=f"What the cache holds: {', '.join(ROLES)}. Other roles of Tempo have no effect."
    )
    memcached: MemcachedCache = MemcachedCache()
    redis: RedisCache = RedisCache()

    @model_validator(mode="after")
    def _one_server(self) -> Self:
        if self.memcached.is_set == self.redis.is_set:
            text = "a cache is in memcached (host or addresses) or in redis (endpoint); set one of them"
            raise conflict("memcached", text, "redis")
        return self


class Background(Section):
    writeback_goroutines: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Threads that write values to a shared cache."
    )
    writeback_buffer: Count = Field(
        default=10_000, description="Most values that wait to be written to a shared cache; more are not written."
    )


class Cache(Section):
    background: Background = Background()
    caches: Annotated[tuple[SharedCacheSettings, ...], Field(strict=False)] = Field(
        default=(), description="Caches that several processes share. Empty: none."
    )

    @model_validator(mode="after")
    def _a_role_once(self) -> Self:
        seen: set[str] = set()
        for one in self.caches:
            if again := seen & {*one.roles} - {"none"}:
                raise conflict("caches", f"the role {min(again)} is in two caches")
            seen |= {*one.roles}
        return self
