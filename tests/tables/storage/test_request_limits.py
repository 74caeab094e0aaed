"""The number of requests in flight, and what is counted of them."""

import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from prometheus_client import REGISTRY

from tables.errors import StorageError
from tables.storage.object_store import ObjectStore
from tables.storage.request_metrics import RequestMetrics
from tables.storage.request_slots import RequestSlots
from tables.storage.request_usage import RequestUsage
from tests.helpers.storage.fault_proxy import Delay, FaultProxy
from tests.helpers.storage.storage_servers import StorageServer


@pytest.fixture
def proxy(s3: StorageServer) -> Iterator[FaultProxy]:
    with FaultProxy(s3.address) as running:
        yield running


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_others_wait(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    store = ObjectStore(s3.config(prefix, proxy.address, concurrent_requests_max=2))
    store.put("a", b"1")
    waits = sample("stretto_storage_request_waits_total", backend="s3")
    proxy.fail(Delay(0.1))
    threads = [threading.Thread(target=store.get, args=("a",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert proxy.in_flight_max == 2
    assert sample("stretto_storage_request_waits_total", backend="s3") > waits
    assert sample("stretto_storage_requests_in_flight", backend="s3") == 0


def test_nobody_waits_for_ever() -> None:
    """A request that takes more slots than there are takes all of them."""
    slots = RequestSlots(2, RequestMetrics("s3"))
    refused = r"waited 0\.01 s, because 2 others are in flight \(storage\.trace\.concurrent_requests_max\)"
    with slots.taken(10, 1.0):
        assert not slots.take_free()
        with pytest.raises(StorageError, match=refused), slots.taken(1, 0.01):
            pass
    with slots.taken(2, 0.01):
        pass


def test_a_read_of_many_ranges_is_many_requests(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """Ranges that are near each other are one; what lies between is read, too."""
    store, usage = ObjectStore(s3.config(prefix, proxy.address)), RequestUsage()
    store.put("a", bytes(4_000_000))
    proxy.seen.clear()
    read = sample("stretto_storage_bytes_total", backend="s3", operation="get_range")
    with usage.counting():
        store.get_ranges("a", [(0, 10), (1000, 10), (2_000_000, 5), (3_999_999, 1), (5, 10)])
    assert proxy.count("GET") == 3
    assert usage.requests == {"get_range": 3}
    assert usage.bytes == 1010 + 5 + 1
    assert sample("stretto_storage_bytes_total", backend="s3", operation="get_range") == read + usage.bytes
    assert usage.seconds > 0


def test_usage_is_of_the_work_that_asks(store: ObjectStore) -> None:
    """Not of what runs beside it; what another thread does for it counts, too."""
    one, other = RequestUsage(), RequestUsage()
    with one.counting():
        store.put("a", b"123")
        with other.counting():
            store.get("a")
        helper = threading.Thread(target=copy_context().run, args=(store.get, "a"))
        helper.start()
        helper.join()
        stranger = threading.Thread(target=store.get, args=("a",))
        stranger.start()
        stranger.join()
    store.get("a")
    assert (one.requests, one.bytes) == ({"put": 1, "get": 1}, 6)
    assert (other.requests, other.bytes) == ({"get": 1}, 3)


@pytest.mark.parametrize(
    ("operation", "status", "method", "code"),
    [
        ("put", "ok", "PUT", "200"),
        ("get", "ok", "GET", "200"),
        ("get", "missing", "GET", "404"),
        ("list", "ok", "GET", "200"),
    ],
)
def test_metrics(store: ObjectStore, operation: str, status: str, method: str, code: str) -> None:
    """Ours, and those of Tempo's dashboards."""
    backend = store.config.backend

    def counts() -> tuple[float, float, float]:
        labels = {"backend": backend, "operation": operation, "status": status}
        return (
            sample("stretto_storage_requests_total", **labels),
            sample("stretto_storage_request_duration_seconds_count", **labels),
            sample("tempodb_backend_request_duration_seconds_count", operation=method, status_code=code),
        )

    before = counts()
    store.put("a", b"1")
    store.get("a")
    store.get("none")
    list(store.paths(""))
    after = counts()
    assert [now - then for now, then in zip(after, before, strict=True)][:2] == [1, 1]
    assert (after[2] > before[2]) == (backend != "local")
