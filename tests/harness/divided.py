"""Waits until two workers have divided the partitions between them."""

import json
import urllib.request
from collections import Counter

from tests.harness.client import eventually
from tests.harness.cluster import Cluster


def owners(cluster: Cluster) -> list[tuple[str, list[str]]]:
    """The state and the owners of each partition, as one of the workers sees them."""
    url = urllib.request.Request(f"{cluster.http_url}/partition-ring", headers={"Accept": "application/json"})
    with urllib.request.urlopen(url, timeout=10) as reply:
        return [(one["state"], one["owner_ids"]) for one in json.loads(reply.read())["partitions"]]


def wait_until_divided(cluster: Cluster) -> None:
    """Each of the two has two of the four partitions, and all is ready."""

    def divided(found: list[tuple[str, list[str]]]) -> bool:
        return (
            Counter(len(of) for _, of in found) == {1: 4}
            and set(Counter(of[0] for _, of in found).values()) == {2}
            and {state for state, _ in found} == {"ACTIVE"}
        )

    eventually(lambda: owners(cluster), divided, 90, "partitions are not divided")
