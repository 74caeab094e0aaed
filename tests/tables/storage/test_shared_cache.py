"""Caches that processes share save reads of the storage. They are trusted with nothing, and may be away."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tables.errors import DamagedError
from tables.storage.cache_servers import CacheServer, Memcached, MemcachedConfig, Redis, RedisConfig
from tables.storage.circuit_breaker import CircuitBreaker
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.storage.range_cache import RangeCache
from tables.storage.shared_cache import CacheKey, SharedCache, SharedCacheLimits
from tests.helpers.storage.cache_server import CacheStub, cache_stub, stop

DATA = bytes(range(256)) * 4
PATH = "blocks/t/b/data-0000.parquet"
TIMEOUT_S = 0.3


def memcached(port: int) -> CacheServer:
    return Memcached(MemcachedConfig((("127.0.0.1", port),), TIMEOUT_S, connections_max=2))


def redis(port: int) -> CacheServer:
    return Redis(RedisConfig("127.0.0.1", port, TIMEOUT_S, connections_max=2))


CLIENTS = pytest.mark.parametrize("client", [memcached, redis])
Client = Callable[[int], CacheServer]


@pytest.fixture
def stub() -> Iterator[CacheStub]:
    with cache_stub() as server:
        yield server


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    made = ObjectStore(StorageConfig("local", str(tmp_path)))
    made.put(PATH, DATA)
    return made


def shared(server: CacheServer, **limits: Any) -> SharedCache:
    return SharedCache("test", server, SharedCacheLimits(**limits))


def counted(name: str, result: str, role: str = "parquet-page") -> float:
    return REGISTRY.get_sample_value(f"stretto_shared_cache_{name}_total", {"role": role, "result": result}) or 0.0


def wait_for(condition: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


@CLIENTS
def test_another_process_need_not_read_the_storage(client: Client, stub: CacheStub, store: ObjectStore) -> None:
    first = RangeCache(store, 0, {"parquet-page": shared(client(stub.port))})
    ranges = [(0, 10), (100, 50), (0, 10)]
    expected = [DATA[:10], DATA[100:150], DATA[:10]]
    assert [bytes(part) for part in first.read("parquet-page", PATH, ranges)] == expected
    wait_for(lambda: len(stub.values) == 2)
    store.delete([PATH])
    hits = counted("lookups", "hit")
    second = RangeCache(store, 0, {"parquet-page": shared(client(stub.port))})
    assert [bytes(part) for part in second.read("parquet-page", PATH, ranges)] == expected
    assert counted("lookups", "hit") == hits + 2
    with pytest.raises(DamagedError, match="is missing"):
        second.read("parquet-footer", PATH, [(0, 10)])  # another role, which is not shared
    for cache in (first, second):
        cache.close()


@CLIENTS
@pytest.mark.parametrize("kind", ["away", "slow", "nonsense", "changed value", "short value", "another's value"])
def test_a_faulty_cache_costs_no_answer(client: Client, kind: str, stub: CacheStub, store: ObjectStore) -> None:
    key = CacheKey("parquet-page", f"local/{store.config.place}/", PATH, 0, 10)
    cache = shared(client(stub.port), failures_max=2, pause_s=60)
    reader = RangeCache(store, 0, {"parquet-page": cache})
    reader.read("parquet-page", PATH, [(0, 10)])
    wait_for(lambda: key.text.encode() in stub.values)
    value = stub.values[key.text.encode()]
    match kind:
        case "away":
            stop(stub)
        case "slow":
            stub.delay_s = 3 * TIMEOUT_S
        case "nonsense":
            stub.garbage = True
        case "changed value":
            stub.values[key.text.encode()] = value[:-1] + bytes([value[-1] ^ 1])
        case "short value":
            stub.values[key.text.encode()] = value[:-1]
        case _:
            stub.values[key.text.encode()] = b"1"
    errors, skipped = counted("lookups", "error"), counted("lookups", "skipped")
    for _ in range(6):
        assert bytes(reader.read("parquet-page", PATH, [(0, 10)])[0]) == DATA[:10]
    assert counted("lookups", "error") > errors
    if kind in ("away", "slow", "nonsense"):
        assert counted("lookups", "skipped") > skipped  # it is left alone
        began_s = time.monotonic()
        reader.read("parquet-page", PATH, [(0, 10)])
        assert time.monotonic() - began_s < TIMEOUT_S
    reader.close()


@CLIENTS
def test_connections_are_bounded(client: Client, stub: CacheStub, store: ObjectStore) -> None:
    stub.delay_s = 0.01
    reader = RangeCache(store, 0, {"parquet-page": shared(client(stub.port))})

    def read() -> None:
        for _ in range(5):
            assert bytes(reader.read("parquet-page", PATH, [(0, 10)])[0]) == DATA[:10]

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stub.connected_max <= 2
    reader.close()


class Keeping:
    """A server in memory, which may be held up."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.free = threading.Event()

    def get_many(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return {key: self.values[key] for key in keys if key in self.values}

    def put(self, key: str, value: bytes) -> None:
        self.free.wait(10)
        self.values[key] = value

    def close(self) -> None:
        return


def page(start: int, length: int) -> CacheKey:
    return CacheKey("parquet-page", "bucket", "path", start, length)


def test_large_values_are_not_sent() -> None:
    server = Keeping()
    server.free.set()
    cache, too_large = shared(server, item_bytes_max=100), counted("writes", "too_large")
    cache.put(page(0, 95), bytes(95))
    cache.put(page(0, 94), bytes(94))
    wait_for(lambda: len(server.values) == 1)
    assert counted("writes", "too_large") == too_large + 1
    cache.close()


def test_what_waits_is_bounded_in_number_and_bytes() -> None:
    server = Keeping()
    full = counted("writes", "queue_full")
    cache = shared(server, queue_max=3, queue_bytes_max=1000)
    for number in range(10):
        cache.put(page(number, 10), bytes(10))
    assert counted("writes", "queue_full") >= full + 6
    many = shared(server, queue_bytes_max=1000)
    for number in range(10):
        many.put(page(number, 400), bytes(400))
    assert counted("writes", "queue_full") >= full + 6 + 7
    server.free.set()
    for one in (cache, many):
        one.close()
    after = counted("writes", "queue_full")
    cache.put(page(0, 1), b"x")  # closed
    assert counted("writes", "queue_full") == after + 1


def test_circuit_breaker() -> None:
    now_s = [0.0]
    breaker = CircuitBreaker(2, 10.0, lambda: now_s[0])
    assert breaker.allows()
    assert not breaker.failed()
    assert breaker.allows()
    assert breaker.failed()
    assert not breaker.allows()
    now_s[0] = 10.0
    assert [breaker.allows(), breaker.allows()] == [True, False]  # one tries
    assert not breaker.failed()  # said once
    assert not breaker.allows()
    now_s[0] = 20.0
    assert breaker.allows()
    breaker.succeeded()
    assert [breaker.allows(), breaker.allows()] == [True, True]


def test_memory(store: ObjectStore) -> None:
    reader = RangeCache(store, 1 << 20, {})
    expected = DATA[5:25]
    assert bytes(reader.read("parquet-page", PATH, [(5, 20)])[0]) == expected
    store.delete([PATH])
    assert bytes(reader.read("parquet-page", PATH, [(5, 20)])[0]) == expected
    with pytest.raises(DamagedError):
        reader.read("parquet-page", PATH, [(6, 20)])


def test_damaged_bytes_do_not_stay(store: ObjectStore) -> None:
    """A reader that finds an object damaged says so, and reads the storage from then on."""
    reader = RangeCache(store, 1 << 20, {})
    assert bytes(reader.read("parquet-page", PATH, [(0, 4)])[0]) == DATA[:4]
    store.put(PATH, b"mend" + DATA[4:])
    assert bytes(reader.read("parquet-page", PATH, [(0, 4)])[0]) == DATA[:4]
    assert reader.distrust(PATH)
    assert not reader.distrust(PATH)  # now it is the storage that has it so
    assert bytes(reader.read("parquet-page", PATH, [(0, 4)])[0]) == b"mend"
    assert not RangeCache(store, 0, {}).distrust(PATH)  # without caches there is nothing to ask again
