"""What the probe at the start says of storages that cannot be used."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tables.errors import StorageError, UnusableStorage
from tables.storage.config import StorageConfig
from tables.storage.object_store import ObjectStore
from tables.storage.probe import StorageProbe, probe, probe_reads
from tests.helpers.storage.fault_proxy import FaultProxy, Seen, Silence, Status
from tests.helpers.storage.storage_servers import StorageServer

DENIED = Status(403, "AccessDenied")


@pytest.fixture
def proxy(s3: StorageServer) -> Iterator[FaultProxy]:
    with FaultProxy(s3.address) as running:
        yield running


def is_conditional(seen: Seen) -> bool:
    return any(name.lower() == "if-none-match" for name in seen.headers)


@pytest.mark.parametrize(
    ("concerns", "said"),
    [
        pytest.param(lambda seen: seen.method == "PUT", "allow to create objects.* Allow s3:PutObject", id="create"),
        pytest.param(
            lambda seen: seen.method == "PUT" and not is_conditional(seen),
            "allow to replace objects.* Allow s3:PutObject",
            id="replace",
        ),
        pytest.param(
            lambda seen: seen.method == "GET" and "list-type" not in seen.path,
            "allow to read objects.* Allow s3:GetObject",
            id="read",
        ),
        pytest.param(
            lambda seen: "list-type" in seen.path,
            r"allow to list objects.* Allow s3:ListBucket \(on the bucket itself\)",
            id="list",
        ),
        pytest.param(
            lambda seen: seen.method == "POST", "allow to delete objects.* Allow s3:DeleteObject", id="delete"
        ),
    ],
)
def test_what_is_not_allowed_is_named(
    s3: StorageServer, proxy: FaultProxy, prefix: str, concerns: Callable[[Seen], bool], said: str
) -> None:
    proxy.fail(DENIED, concerns=concerns)
    with pytest.raises(UnusableStorage, match=f"the storage does not {said}.*storage.trace.s3"):
        probe(ObjectStore(s3.config(prefix, proxy.address)))


def test_put_if_absent_that_is_ignored(s3: StorageServer, prefix: str) -> None:
    """The server takes the condition for nothing, and replaces the object."""
    with FaultProxy(s3.address, hidden_headers=frozenset({"if-none-match"})) as proxy:
        store = ObjectStore(s3.config(prefix, proxy.address))
        with pytest.raises(UnusableStorage, match=r"does not support put-if-absent .*replaced an object that existed"):
            probe(store)
        assert list(store.paths("")) == []


def test_put_if_absent_that_is_refused(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    proxy.fail(Status(501, "NotImplemented"), concerns=is_conditional)
    store = ObjectStore(s3.config(prefix, proxy.address))
    with pytest.raises(UnusableStorage, match=r"does not support put-if-absent .*NotImplemented"):
        probe(store)
    assert list(store.paths("")) == []


@pytest.mark.parametrize("backend", ["s3", "gcs", "azure"])
def test_a_bucket_that_does_not_exist(servers: Callable[[str], StorageServer], backend: str, prefix: str) -> None:
    config = replace(servers(backend).config(prefix), place="no-such-bucket")
    with pytest.raises(UnusableStorage, match=rf"cannot be used: .*no-such-bucket.*Check storage\.trace\.{backend}"):
        probe(ObjectStore(config))


@pytest.mark.parametrize("backend", ["s3", "gcs", "azure"])
def test_a_bucket_that_does_not_exist_cannot_be_read(
    servers: Callable[[str], StorageServer], backend: str, prefix: str
) -> None:
    config = replace(servers(backend).config(prefix), place="no-such-bucket")
    with pytest.raises(UnusableStorage, match=rf"cannot be used: .*no-such-bucket.*Check storage\.trace\.{backend}"):
        probe_reads(ObjectStore(config))


def test_who_reads_needs_no_right_to_write(s3: StorageServer, proxy: FaultProxy, prefix: str) -> None:
    """As a role for queriers and query frontends: list and read, and nothing else."""
    proxy.fail(DENIED, concerns=lambda seen: seen.method not in {"GET", "HEAD"})
    config = s3.config(prefix, proxy.address)
    StorageProbe(config, writes=False).run()
    with pytest.raises(UnusableStorage, match="Allow s3:PutObject"):
        StorageProbe(config).run()


@pytest.mark.parametrize(
    ("concerns", "said"),
    [
        pytest.param(lambda seen: "list-type" not in seen.path, "read objects.* Allow s3:GetObject", id="read"),
        pytest.param(lambda seen: "list-type" in seen.path, "list objects.* Allow s3:ListBucket", id="list"),
    ],
)
def test_what_readers_may_not_is_named(
    s3: StorageServer, proxy: FaultProxy, prefix: str, concerns: Callable[[Seen], bool], said: str
) -> None:
    proxy.fail(DENIED, concerns=concerns)
    with pytest.raises(UnusableStorage, match=f"the storage does not allow to {said}"):
        probe_reads(ObjectStore(s3.config(prefix, proxy.address)))


def test_a_folder_that_nobody_has_written_to_yet(tmp_path: Path) -> None:
    probe_reads(ObjectStore(StorageConfig("local", str(tmp_path / "blocks"))))


@pytest.mark.parametrize("fault", [Silence(), Status(503, "SlowDown")], ids=["silence", "slow down"])
def test_a_storage_that_is_away_is_probed_again(
    s3: StorageServer, proxy: FaultProxy, prefix: str, fault: Silence | Status
) -> None:
    """Until it passes; then not again. It takes no longer than a read, though writes may take longer."""
    storage_probe = StorageProbe(s3.config(prefix, proxy.address, read_timeout_s=1))
    proxy.fail(fault)
    for _ in range(2):
        with pytest.raises(StorageError) as raised:
            storage_probe.run()
        assert not isinstance(raised.value, UnusableStorage)
    proxy.heal()
    storage_probe.run()
    passed = len(proxy.seen)
    storage_probe.run()
    assert len(proxy.seen) == passed


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "blocks").mkdir()
    (tmp_path / "blocks" / "probe").write_text("in the way")
    with pytest.raises(StorageError, match="local storage"):
        probe(ObjectStore(StorageConfig("local", str(tmp_path / "blocks"))))


def test_leftovers_are_deleted(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of probes that ended in the middle; those of others that run now stay."""
    store.put("probe/other", b"1")
    probe(store)
    assert list(store.paths("")) == ["probe/other"]
    monkeypatch.setattr("tables.storage.probe._LEFTOVER_S", -60.0)
    probe(store)
    assert list(store.paths("")) == []
