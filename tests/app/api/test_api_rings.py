"""The pages of rings: who is there, as JSON and for people."""

import json

import pytest

from agents.members.member import MemberState, OffsetRange
from app.api.status.rings import Membership
from tests.helpers.querying.members import member

OWN = member(
    "live-<b>1",
    partitions={1: OffsetRange(0, 3), 0: OffsetRange(4, 7, 4, 9)},
    services={"live-store": "Running", "distributor": "Starting"},
    assigned={"distributor": (2, 3)},
    partition_count=4,
)
OTHER = member(
    "live-2",
    zone="b",
    ends={2: 8},
    targets=frozenset({"live-store"}),
    services={"live-store": "Starting"},
)
SILENT = member("live-3", zone="b", ends={0: 99}, targets=frozenset({"live-store"}), state=MemberState.UNHEALTHY)


class Three:
    """Answers what the test says."""

    def __init__(self, problem: str = "") -> None:
        self.problem = problem

    def membership(self):
        return Membership([OWN, OTHER, SILENT], OWN.member_id, self.problem)


JSON = {"Accept": "application/json"}
COMMON = {
    "address": "127.0.0.1:9095",
    "version": "0.1.0",
    "registered_timestamp": "2026-11-21T11:13:00Z",
    "heartbeat_timestamp": "2026-11-21T11:13:10Z",
}
ROW = {
    "id": "live-<b>1",
    "role": "live-store",
    "state": "ACTIVE",
    "this_process": True,
    **COMMON,
    "partitions": [0, 1],
    "offsets": [
        {"partition": 0, "first_offset": 4, "next_offset": 7, "flushed": 4, "end_offset": 9, "lag": 2},
        {"partition": 1, "first_offset": 0, "next_offset": 3, "flushed": 0},
    ],
}


@pytest.mark.parametrize(
    ("path", "name", "states"),
    [
        pytest.param("/live-store/ring", "shards", ["ACTIVE", "JOINING", "UNHEALTHY"], id="live store"),
        pytest.param("/ingester/ring", "shards", ["ACTIVE", "JOINING", "UNHEALTHY"], id="by its older name"),
        pytest.param("/distributor/ring", "shards", ["JOINING"], id="distributor"),
        pytest.param("/metrics-generator/ring", "shards", [], id="generator"),
        pytest.param("/compactor/ring", "shards", [], id="compactor"),
        pytest.param("/memberlist", "members", ["ACTIVE", "ACTIVE", "UNHEALTHY"], id="all"),
    ],
)
def test_workers(ask, path, name, states):
    """Each process with the role; one that is not heard of is marked."""
    told = json.loads(ask(path, headers=JSON, multitenancy=True, rings=Three()).body)
    assert [one["state"] for one in told[name]] == states
    assert "message" not in told


def test_rows(ask):
    """What a process says of itself, and nothing that is not known."""
    own, other, _ = json.loads(ask("/live-store/ring", headers=JSON, rings=Three()).body)["shards"]
    assert own == ROW
    assert (other["zone"], other["this_process"]) == ("b", False)
    (distributor,) = json.loads(ask("/distributor/ring", headers=JSON, rings=Three()).body)["shards"]
    assert (distributor["partitions"], "offsets" in distributor) == ([2, 3], False)
    own, *_ = json.loads(ask("/memberlist", headers=JSON, rings=Three()).body)["members"]
    want = {"id": "live-<b>1", "targets": ["distributor", "live-store"], "state": "ACTIVE", "this_process": True}
    assert own == want | COMMON


def test_partitions(ask):
    """Each partition with its owners, the healthy ones first, whatever the others say of themselves. One without any
    is there, too.
    """
    told = json.loads(ask("/partition-ring", headers=JSON, rings=Three()).body)["partitions"]
    first = {"first_offset": 4, "next_offset": 7, "flushed": 4, "end_offset": 9, "lag": 2}
    silent = {"first_offset": 0, "next_offset": 99, "flushed": 0}
    assert told == [
        {
            "id": 0,
            "state": "ACTIVE",
            "owner_ids": ["live-<b>1", "live-3"],
            **first,
            "owners": [
                {"id": "live-<b>1", "zone": "", "state": "ACTIVE", **first},
                {"id": "live-3", "zone": "b", "state": "UNHEALTHY", **silent},
            ],
        },
        {
            "id": 1,
            "state": "ACTIVE",
            "owner_ids": ["live-<b>1"],
            "first_offset": 0,
            "next_offset": 3,
            "flushed": 0,
        },
        {
            "id": 2,
            "state": "JOINING",
            "owner_ids": ["live-2"],
            "first_offset": 0,
            "next_offset": 8,
            "flushed": 0,
        },
        {"id": 3, "state": "INACTIVE", "owner_ids": []},
    ]


def test_page(ask):
    """For a browser: what others have named is text, nothing is loaded, what is missing is said, who is silent stands
    out.
    """
    answer = ask("/live-store/ring", headers={"Accept": "text/html"}, rings=Three("Kafka is <away>"))
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "live-&lt;b&gt;1" in answer.text
    assert "Kafka is &lt;away&gt;" in answer.text
    assert "<b>" not in answer.text
    assert "next_offset 7" in answer.text
    assert "<strong>live-3</strong>" in answer.text
    assert json.loads(ask("/memberlist", headers=JSON, rings=Three("away")).body)["message"] == "away"


def test_services(ask, backend):
    """All that this process runs, each with its state, then what the others run: as text, a table, JSON."""
    backend.reasons = ["live store: /data is full"]
    text = ask("/status/services", rings=Three()).text
    assert text == ("live-store: Running\ndistributor: Starting\nlive store: … is full\nlive-2 live-store: Starting\n")
    told = json.loads(ask("/status/services", headers=JSON, rings=Three()).body)
    assert told["message"] == "live store: … is full"
    assert told["services"][0] == {"service": "live-store", "state": "Running", "member": "live-<b>1"}
    assert len(told["services"]) == 3
    page = ask("/status/services", headers={"Accept": "text/html,*/*"}, rings=Three())
    assert page.headers["Content-Type"].startswith("text/html")
    assert "live-&lt;b&gt;1" in page.text
