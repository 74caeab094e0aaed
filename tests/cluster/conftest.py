"""The real thing, started as a user would: `stretto run` with its own ports, data folder, and a real Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.cluster import Cluster
from tests.cluster.client import Client

# Short windows: a test sees segments and blocks within seconds.
SETTINGS = {
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "2",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "6",
    "STRETTO_LIVE_STORE__FLUSHED_RETENTION_S": "2",
    "STRETTO_STORAGE__TRACE__BLOCKLIST_POLL_S": "1",
    "STRETTO_KAFKA__WRITE_TIMEOUT_S": "3",
}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests that leave it running."""
    with Cluster(tmp_path_factory.mktemp("cluster"), SETTINGS) as running:
        yield running


@pytest.fixture
def client(cluster: Cluster) -> Client:
    return Client(cluster)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """One for a test that breaks it."""
    with Cluster(tmp_path, SETTINGS) as running:
        yield running
