"""The pages of rings: who is there, as JSON and for people."""

import json

import pytest

from app.api.status.rings import PartitionOffsets, Ring, Worker

OWN = Worker(
    "live-<b>1",
    "live-store",
    "10.0.0.1",
    "ACTIVE",
    [1, 0],
    True,
    1_795_259_580.0,
    [PartitionOffsets(0, 7, 9, 4), PartitionOffsets(1, 3, None, 0)],
)
OTHER = Worker("live-2", "live-store", "10.0.0.2", "JOINING", [2])


class Workers:
    """Answers what the test says."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem

    async def ring(self, role):
        return Ring([OWN, OTHER] if role == "live-store" else [], self.problem)

    def services(self):
        return {"live-store": "Running", "distributor": "Starting"}


JSON = {"Accept": "application/json"}
ROW = {
    "id": "live-<b>1",
    "role": "live-store",
    "state": "ACTIVE",
    "address": "10.0.0.1",
    "this_process": True,
    "partitions": [0, 1],
    "registered_timestamp": "2026-11-21T11:13:00Z",
    "offsets": [
        {"partition": 0, "next_offset": 7, "flushed": 4, "end_offset": 9, "lag": 2},
        {"partition": 1, "next_offset": 3, "flushed": 0},
    ],
}


@pytest.mark.parametrize(
    ("path", "name", "count"),
    [
        pytest.param("/live-store/ring", "shards", 2, id="live store"),
        pytest.param("/ingester/ring", "shards", 2, id="by its older name"),
        pytest.param("/distributor/ring", "shards", 0, id="distributor"),
        pytest.param("/metrics-generator/ring", "shards", 0, id="generator"),
        pytest.param("/compactor/ring", "shards", 0, id="compactor"),
        pytest.param("/memberlist", "members", 2, id="all"),
    ],
)
def test_workers(ask, path, name, count):
    """Each worker of the role, whichever process has it; nothing that is not known."""
    told = json.loads(ask(path, headers=JSON, multitenancy=True, rings=Workers()).body)
    assert len(told[name]) == count
    assert "message" not in told
    if count:
        assert told[name][0] == ROW
        assert "offsets" not in told[name][1]


def test_partitions(ask):
    """Each partition with its owner, and what this process knows of it."""
    told = json.loads(ask("/partition-ring", headers=JSON, rings=Workers()).body)["partitions"]
    assert told == [
        {
            "id": 0,
            "state": "ACTIVE",
            "owner_ids": ["live-<b>1"],
            "next_offset": 7,
            "flushed": 4,
            "end_offset": 9,
            "lag": 2,
        },
        {"id": 1, "state": "ACTIVE", "owner_ids": ["live-<b>1"], "next_offset": 3, "flushed": 0},
        {"id": 2, "state": "JOINING", "owner_ids": ["live-2"]},
    ]


def test_page(ask):
    """For a browser: what others have named is text, nothing is loaded, and what is missing is said."""
    answer = ask("/live-store/ring", headers={"Accept": "text/html"}, rings=Workers("Kafka is <away>"))
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "live-&lt;b&gt;1" in answer.text
    assert "Kafka is &lt;away&gt;" in answer.text
    assert "<b>" not in answer.text
    assert "next_offset 7" in answer.text
    assert json.loads(ask("/memberlist", headers=JSON, rings=Workers("away")).body)["message"] == "away"


def test_services(ask, backend):
    """All that this process runs, each with its state."""
    assert ask("/status/services", rings=Workers()).text == "live-store: Running\ndistributor: Starting\n"
