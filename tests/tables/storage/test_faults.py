"""A storage, or the network before it, that fails: what is repeated, how long it takes, what the error says."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY

from tables.errors import DamagedError, StorageError
from tables.storage.object_store import ObjectStore
from tests.helpers.storage.fault_proxy import Fault, FaultProxy, Lost, Reset, Silence, Slow, Status, Torn
from tests.helpers.storage.storage_servers import StorageServer

DATA = bytes(range(256)) * 400
OPERATIONS = {
    "get": lambda store: store.get("a/one"),
    "get_range": lambda store: [bytes(part) for part in store.get_ranges("a/one", [(0, 4), (50_000, 50_000)])],
    "head": lambda store: store.stamp("a/one").size_bytes,
    "list": lambda store: list(store.paths("a")),
    "folders": lambda store: store.folders(""),
    "put": lambda store: store.put("a/one", DATA),
    "create": lambda store: store.create("a/new", b"new"),
    "delete": lambda store: store.delete(["a/none"]),
    "delete several": lambda store: store.delete(["a/none", "a/neither", "a/nor"]),
}
RESULTS = {
    "get": DATA,
    "get_range": [DATA[:4], DATA[50_000:100_000]],
    "head": len(DATA),
    "list": ["a/one"],
    "folders": ["a"],
    "put": None,
    "create": True,
    "delete": None,
    "delete several": None,
}
Ask = Callable[[ObjectStore], Any]


@pytest.fixture(params=["s3", "gcs", "azure"])
def remote(request: pytest.FixtureRequest, servers: Callable[[str], StorageServer]) -> StorageServer:
    return servers(request.param)


@pytest.fixture
def proxy(remote: StorageServer) -> Iterator[FaultProxy]:
    with FaultProxy(remote.address) as running:
        yield running


def store_of(server: StorageServer, proxy: FaultProxy, prefix: str, **changes: Any) -> ObjectStore:
    store = ObjectStore(server.config(prefix, proxy.address, **changes))
    store.put("a/one", DATA)
    proxy.seen.clear()
    return store


@pytest.mark.parametrize(
    "fault",
    [Status(500, "InternalError"), Status(503, "SlowDown"), Status(429, "TooManyRequests"), Lost(), Reset(), Torn()],
    ids=lambda fault: f"{type(fault).__name__} {getattr(fault, 'status', '')}",
)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_failure_is_repeated(
    remote: StorageServer, proxy: FaultProxy, prefix: str, fault: Fault, operation: str
) -> None:
    """And the result is right, also where the storage has done what was asked before the answer got lost."""
    store = store_of(remote, proxy, prefix)
    proxy.fail(fault, times=1)
    assert OPERATIONS[operation](store) == RESULTS[operation]
    assert len(proxy.seen) >= (1 if isinstance(fault, Reset) else 2)  # an answer without a body is not cut


@pytest.mark.parametrize("operation", ["get", "get_range", "head", "list", "folders", "put"])
def test_a_request_without_answer_is_repeated(s3: StorageServer, prefix: str, operation: str) -> None:
    with FaultProxy(s3.address) as proxy:
        store = store_of(s3, proxy, prefix, read_timeout_s=3, write_timeout_s=3)
        proxy.fail(Silence(), times=1)
        assert OPERATIONS[operation](store) == RESULTS[operation]
        assert len(proxy.seen) == 2


@pytest.mark.parametrize(
    ("fault", "said", "status"),
    [
        pytest.param(Status(500, "InternalError"), "500 Internal Server Error", "error", id="500"),
        pytest.param(Status(503, "SlowDown"), "asks to slow down in 4 attempts: .*SlowDown", "throttled", id="503"),
        pytest.param(Lost(), "the connection is lost in 4 attempts", "unreachable", id="lost"),
        pytest.param(Torn(), "the connection is lost", "unreachable", id="torn"),
        pytest.param(Silence(), r"no answer in time.* \(the limit is 1 s\)", "timeout", id="silence"),
        pytest.param(Slow(40, 0.1), r"no answer in time.* \(the limit is 1 s\)", "timeout", id="slow"),
        pytest.param(Slow(2, 5), r"no answer in time.* \(the limit is 1 s\)", "timeout", id="a stop in the middle"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("operation", ["get", "get_range", "list"])
def test_reads_end_in_time_and_say_why(
    s3: StorageServer, prefix: str, fault: Fault, said: str, status: str, operation: str
) -> None:
    with FaultProxy(s3.address) as proxy:
        store = store_of(s3, proxy, prefix, read_timeout_s=1)
        before = requests("s3", operation, status)
        proxy.fail(fault)
        began_s = time.monotonic()
        with pytest.raises(StorageError, match=f"cannot (read a/one|list a) in s3 storage traces: .*{said}") as raised:
            OPERATIONS[operation](store)
        took_s = time.monotonic() - began_s
        assert not isinstance(raised.value, DamagedError)
        assert took_s < 3  # the limit, and what a busy machine adds
        assert requests("s3", operation, status) > before


def test_a_storage_that_is_away_damages_nothing(s3: StorageServer, prefix: str) -> None:
    """A range that cannot be read is no damage, unless the object's size says so."""
    with FaultProxy(s3.address) as proxy:
        store = store_of(s3, proxy, prefix, read_timeout_s=1)
        proxy.fail(Status(500, "InternalError"))
        with pytest.raises(StorageError) as raised:
            store.get_ranges("a/one", [(0, 1 << 30)])
        assert not isinstance(raised.value, DamagedError)
        proxy.heal()
        with pytest.raises(DamagedError):
            store.get_ranges("a/one", [(0, 1 << 30)])


def test_a_created_object_is_ours_if_the_answer_was_lost(remote: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """Without it, whoever commits would take its own write for another's."""
    store = store_of(remote, proxy, prefix)
    proxy.fail(Lost(), times=1, concerns=lambda seen: seen.method == "PUT")
    assert store.create("a/new", b"new")
    assert not store.create("a/new", b"other")


def test_a_bucket_that_is_gone(remote: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """Nobody takes it for an empty one."""
    config = remote.config(prefix, proxy.address)
    store = ObjectStore(type(config)(config.backend, "no-such-bucket", prefix, config.options))
    for ask in (
        lambda: store.put("a", b"1"),
        lambda: store.create("a", b"1"),
        lambda: list(store.paths("a")),
        lambda: store.folders(""),
        lambda: store.get("a"),
    ):
        with pytest.raises(StorageError, match=r"no-such-bucket.*(NoSuchBucket|ContainerNotFound)"):
            ask()


def requests(backend: str, operation: str, status: str) -> float:
    labels = {"backend": backend, "operation": operation, "status": status}
    return REGISTRY.get_sample_value("stretto_storage_requests_total", labels) or 0.0
