"""Storages for the tests of this folder: each is started once."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tables.storage.object_store import ObjectStore
from tests.helpers.storage.storage_servers import StorageServer, azure_server, gcs_server, s3_server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], StorageServer]]:
    """The server of a backend; it is started when it is asked for first."""
    started: dict[str, tuple[Any, StorageServer]] = {}

    @contextmanager
    def local() -> Iterator[StorageServer]:
        yield StorageServer("local", "", str(tmp_path_factory.mktemp("local")))

    starts = {
        "local": local,
        "s3": s3_server,
        "gcs": gcs_server,
        "azure": lambda: azure_server(tmp_path_factory.mktemp("azurite")),
    }

    def server(backend: str) -> StorageServer:
        if backend not in started:
            manager = starts[backend]()
            started[backend] = (manager, manager.__enter__())
        return started[backend][1]

    yield server
    for manager, _ in started.values():
        manager.__exit__(None, None, None)


@pytest.fixture(params=["local", "s3", "gcs", "azure"])
def server(request: pytest.FixtureRequest, servers: Callable[[str], StorageServer]) -> StorageServer:
    return servers(request.param)


@pytest.fixture
def s3(servers: Callable[[str], StorageServer]) -> StorageServer:
    return servers("s3")


@pytest.fixture
def prefix() -> str:
    """One that nobody else uses."""
    return f"test-{next(_NUMBERS)}/within"


@pytest.fixture
def store(server: StorageServer, prefix: str) -> ObjectStore:
    return ObjectStore(server.config(prefix))
