"""Second requests for reads that take long."""

import threading
import time
from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY

from tables.errors import StorageError
from tables.storage.config import Hedging
from tables.storage.object_store import ObjectStore
from tables.storage.request_usage import RequestUsage
from tests.helpers.storage.fault_proxy import Delay, FaultProxy, Silence, Status
from tests.helpers.storage.storage_servers import StorageServer

AT_S = 0.2


@pytest.fixture
def proxy(s3: StorageServer) -> Iterator[FaultProxy]:
    with FaultProxy(s3.address) as running:
        yield running


def hedging_store(s3: StorageServer, proxy: FaultProxy, prefix: str, up_to: int = 2, **changes: float) -> ObjectStore:
    store = ObjectStore(s3.config(prefix, proxy.address, hedging=Hedging(AT_S, up_to), **changes))
    store.put("a/one", b"0123456789")
    proxy.seen.clear()
    return store


def hedged(result: str) -> float:
    labels = {"backend": "s3", "result": result}
    return REGISTRY.get_sample_value("stretto_storage_hedged_requests_total", labels) or 0.0


def test_the_first_answer_counts(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """The request that takes long is given up: its connection is closed."""
    store, usage, won = hedging_store(s3, proxy, prefix), RequestUsage(), hedged("won")
    proxy.fail(Silence(), times=1)
    began_s = time.monotonic()
    with usage.counting():
        assert store.get("a/one") == b"0123456789"
    assert AT_S <= time.monotonic() - began_s < 30  # the silence lasts for 60
    assert len(proxy.seen) == 2
    assert (usage.requests, usage.hedged, usage.bytes) == ({"get": 2}, 1, 10)
    assert hedged("won") == won + 1


def test_a_second_request_that_is_too_late(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    store, lost = hedging_store(s3, proxy, prefix), hedged("lost")
    proxy.fail(Delay(3 * AT_S), times=1)
    proxy.fail(Silence())
    assert [bytes(part) for part in store.get_ranges("a/one", [(2, 3)])] == [b"234"]
    assert len(proxy.seen) == 2
    assert hedged("lost") == lost + 1


def test_quick_reads_are_not_hedged(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    store = ObjectStore(s3.config(prefix, proxy.address, hedging=Hedging(30.0, 2)))
    store.put("a/one", b"1")
    proxy.seen.clear()
    for _ in range(5):
        assert store.get("a/one") == b"1"
    assert store.get("a/none") is None
    assert len(proxy.seen) == 6


@pytest.mark.parametrize("up_to", [2, 4])
def test_there_are_no_more_than_allowed(s3: StorageServer, proxy: FaultProxy, prefix: str, up_to: int) -> None:
    """And all of them together end in time."""
    # An attempt ends after 0.35 of the time, and would be repeated: all hedged requests have begun before.
    store = hedging_store(s3, proxy, prefix, up_to, read_timeout_s=4)
    proxy.fail(Silence())
    began_s = time.monotonic()
    with pytest.raises(StorageError, match=r"no answer in time.*the limit is 4 s"):
        store.get("a/one")
    assert time.monotonic() - began_s < 8
    # Each is repeated once at most before the end.
    assert up_to <= len(proxy.seen) <= 2 * up_to


def test_writes_are_not_hedged(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    store = hedging_store(s3, proxy, prefix)
    proxy.fail(Delay(3 * AT_S))
    store.put("a/two", b"2")
    assert store.create("a/three", b"3")
    store.delete(["a/two"])
    assert len(proxy.seen) == 3


def test_an_answer_with_an_error_does_not_win(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """While another request may still have the object."""
    store = hedging_store(s3, proxy, prefix)
    proxy.fail(Delay(5 * AT_S), times=1)
    proxy.fail(Status(403, "AccessDenied"), times=1)
    assert store.get("a/one") == b"0123456789"


def test_no_second_request_at_the_limit_of_requests(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """It would make an overload worse."""
    store = hedging_store(s3, proxy, prefix, concurrent_requests_max=1)
    proxy.fail(Delay(4 * AT_S), times=1)
    assert store.get("a/one") == b"0123456789"
    assert len(proxy.seen) == 1


def test_many_threads(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """Each gets its own answer."""
    store = hedging_store(s3, proxy, prefix)
    names = [f"b/{number}" for number in range(8)]
    for name in names:
        store.put(name, name.encode())
    proxy.fail(Delay(2 * AT_S), times=4)
    got: dict[str, bytes | None] = {}
    threads = [threading.Thread(target=lambda name=name: got.update({name: store.get(name)})) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == {name: name.encode() for name in names}
