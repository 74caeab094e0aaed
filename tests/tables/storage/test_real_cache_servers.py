"""The clients of shared caches against a real memcached and a real Redis."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest
from prometheus_client import REGISTRY

from tables.storage.cache_servers import CacheServer, Memcached, MemcachedConfig, Redis, RedisConfig
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.range_cache import RangeCache
from tables.storage.shared_cache import SharedCache, SharedCacheLimits
from tests.helpers.storage.cache_servers import real_cache_server

ROLE: Final = "parquet-page"
PATH: Final = "blocks/t/b/data-0000.parquet"
TIMEOUT_S: Final = 5.0


def memcached(port: int, ttl_s: int = 0) -> CacheServer:
    return Memcached(MemcachedConfig((("127.0.0.1", port),), TIMEOUT_S, connections_max=2, ttl_s=ttl_s))


def redis(port: int, ttl_s: int = 0) -> CacheServer:
    return Redis(RedisConfig("127.0.0.1", port, TIMEOUT_S, connections_max=2, ttl_s=ttl_s))


Connect = Callable[..., CacheServer]
MAKERS: Final[dict[str, Connect]] = {"memcached": memcached, "redis-server": redis}


@pytest.fixture(scope="module", params=list(MAKERS))
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Opens a client of a running server."""
    with real_cache_server(request.param) as port:
        yield lambda **options: MAKERS[request.param](port, **options)


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def counted(result: str) -> float:
    labels = {"role": ROLE, "result": result}
    return REGISTRY.get_sample_value("stretto_shared_cache_lookups_total", labels) or 0.0


def test_values_come_back_whole(connect: Connect) -> None:
    server = connect()
    values = {
        f"whole-{size}": bytes(range(256)) * (size // 256) + b"\r\n\0" * 3 for size in (0, 256, 1 << 10, 500 << 10)
    }
    for key, value in values.items():
        server.put(key, value)
    assert server.get_many([*values, "whole-none"]) == values
    assert server.get_many(["none"]) == {}
    server.close()


def test_a_value_ends_with_its_time(connect: Connect) -> None:
    server = connect(ttl_s=1)
    server.put("short", b"x")
    assert server.get_many(["short"]) == {"short": b"x"}
    wait_for(lambda: server.get_many(["short"]) == {})
    server.close()


def test_another_process_need_not_read_the_storage(connect: Connect, tmp_path: Path) -> None:
    store = ObjectStore(StorageConfig("local", str(tmp_path)))
    data = bytes(range(256)) * 400
    store.put(PATH, data)
    ranges = [(0, 10), (100, 50_000), (100_000, 256)]
    expected = [data[start : start + length] for start, length in ranges]
    limits = SharedCacheLimits()
    first, second = (RangeCache(store, 0, {ROLE: SharedCache("real", connect(), limits)}) for _ in range(2))
    assert [bytes(part) for part in first.read(ROLE, PATH, ranges)] == expected
    hits = counted("hit")

    def all_hit() -> bool:
        before = counted("hit")
        assert [bytes(part) for part in second.read(ROLE, PATH, ranges)] == expected
        return counted("hit") == before + len(ranges)

    wait_for(all_hit)
    store.delete([PATH])
    assert [bytes(part) for part in second.read(ROLE, PATH, ranges)] == expected
    assert counted("hit") >= hits + 2 * len(ranges)
    for cache in (first, second):
        cache.close()


def test_a_full_server_drops_the_oldest(connect: Connect) -> None:
    server = connect()
    keys = [f"full-{number}" for number in range(200)]
    for key in keys:
        server.put(key, key.encode() * 8000)
    left = server.get_many(keys)
    assert 0 < len(left) < len(keys)
    assert keys[-1] in left
    assert all(value == key.encode() * 8000 for key, value in left.items())
    server.close()
