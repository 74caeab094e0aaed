"""The real thing, started as a user would: `stretto run` with its own ports, data folder, and a real Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.class_cache import class_cache
from tests.harness.client import Client
from tests.harness.cluster import SHORT_WINDOWS, Cluster


@pytest.fixture(scope="session", autouse=True)
def _class_cache() -> Iterator[None]:
    with class_cache():
        yield


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests that leave it running."""
    with Cluster(tmp_path_factory.mktemp("cluster"), SHORT_WINDOWS) as running:
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Client:
    return Client(cluster)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One for a test that breaks it."""
    with Cluster(tmp_path, SHORT_WINDOWS) as running:
        yield running
