"""Queries as Tempo's dashboards and alerts have them find data: a real Prometheus scrapes a real process."""

import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster
from tests.harness.prometheus import FLAGS, Prometheus

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

COMPACTION = "STRETTO_COMPACTOR__COMPACTION__"
QUICK = {
    **SHORT_WINDOWS,
    "STRETTO_WORKERS": "2",
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "1",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "2",
    "STRETTO_QUERY__TIMEOUT_S": "5",
    f"{COMPACTION}COMPACTION_CYCLE": "500ms",
    f"{COMPACTION}COMPACTION_WINDOW": "10s",
    f"{COMPACTION}INPUT_BLOCKS_MIN": "2",
    f"{COMPACTION}COMPACTED_BLOCK_RETENTION": "8s",
}
# Native histograms come as protobuf only, which a Prometheus asks for where they are switched on.
CLASSIC = tuple(flag.replace("native-histograms,", "") for flag in FLAGS)
FILE = yaml.safe_load((Path(__file__).parent / "testdata" / "mixin.yaml").read_text())
QUERIES, NATIVE = FILE["classic"], FILE["native"]


class Running:
    """classic, native: without and with native histograms"""

    def __init__(self, client: Client, classic: Prometheus, native: Prometheus) -> None:
        self.client, self.classic, self.native = client, classic, native
        self.sent = 0

    def work(self) -> None:
        """Spans in, queries of all kinds."""
        client = self.client
        self.sent += 1
        client.send(request("mixin", 5, 2, first_trace=1 + 5 * self.sent))
        client.get("/api/search", q="{ }", start=1_790_000_000 - 60, end=1_790_000_060)
        client.get("/api/v2/search/tags")
        window = {"start": 1_790_000_000 - 60, "end": 1_790_000_060}
        client.get("/api/metrics/query_range", q="{ } | rate()", **window)
        client.get("/api/v2/traces/" + (b"mixin___" + (6).to_bytes(8, "big")).hex())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folders = [tmp_path_factory.mktemp(name) for name in ("cluster", "classic", "native")]
    cluster = Cluster(folders[0], QUICK)
    scraped = [urllib.parse.urlsplit(cluster.http_url).netloc]
    with Prometheus(folders[1], scraped, CLASSIC) as classic, Prometheus(folders[2], scraped) as native:
        storage = {"remote_write": [{"url": native.write_url}]}
        generator = {"storage": storage, "processors": ["span-metrics", "service-graphs"]}
        (folders[0] / "stretto.yaml").write_text(
            yaml.safe_dump({"metrics_generator": {**generator, "registry": {"collection_interval_s": 1}}})
        )
        with cluster:
            found = Running(Client(cluster), classic, native)
            end_s = time.monotonic() + 20
            while time.monotonic() < end_s:
                found.work()
                time.sleep(0.1)
            yield found


@pytest.mark.parametrize("promql", QUERIES.values(), ids=QUERIES)
def test_finds_data(running: Running, promql: str) -> None:
    def ask() -> object:
        running.work()
        return running.classic.query(promql)

    eventually(ask, bool, 30, promql)


@pytest.mark.parametrize("promql", NATIVE.values(), ids=NATIVE)
def test_native_histograms(running: Running, promql: str) -> None:
    def ask() -> list[tuple[dict[str, str], float]]:
        running.work()
        return running.native.query(promql)

    found = eventually(ask, bool, 30, promql)
    assert all(value == value for _, value in found), f"{promql}: not a number"


def test_native_and_classic_counts_agree(running: Running) -> None:
    """Of requests that both have seen to the end: nothing is lost by either format."""
    counts = 'sum(tempo_request_duration_seconds_count{route="api_search"})'
    natives = 'sum(histogram_count(tempo_request_duration_seconds{route="api_search"}))'

    def ask() -> tuple[float, float]:
        return running.classic.total(counts), running.native.total(natives)

    eventually(ask, lambda both: both[0] == both[1] > 0, 20)
