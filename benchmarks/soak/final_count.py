"""How often every span is there when the load is over: by each way that leads to it."""

import argparse
import time
from collections.abc import Callable
from typing import Final

from benchmarks.soak import count, events
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.report import Report
from tables.storage.config import StorageConfig
from tests.harness.cluster import BenchError, Cluster

SETTLE_S: Final = 60.0  # for the last spans to become searchable
FLUSH_EXTRA_S: Final = 90.0  # beyond the age at which a block is cut
POLL_S: Final = 0.5


def count_all(
    given: argparse.Namespace,
    cluster: Cluster,
    storage: StorageConfig,
    ledger: Ledger,
    report: Report,
    when: str = "",
) -> None:
    """By search while some is live, by search and metrics when all is in blocks, in the blocks' files, by traces' ids.

    storage: where the blocks are. given: block_age_s; traces: so many are compared span by span, chosen by seed.
    when: before the counts' names
    Raises: BenchError where it cannot be counted, or not all spans come into blocks
    """
    if not ledger.passes:
        raise BenchError("nothing was sent")

    def searched() -> count.Found:
        found = count.Found()
        for number in range(ledger.passes):
            found.add(count.count_pass(cluster.http_url, ledger, number))
        return found

    wait_until(lambda: events.ready(cluster), SETTLE_S, "the worker is not ready after the load", cluster)
    last = ledger.passes - 1
    deadline_s = time.monotonic() + SETTLE_S
    while count.count_pass(cluster.http_url, ledger, last).missing and time.monotonic() < deadline_s:
        time.sleep(POLL_S)
    live = report.counts[f"{when}by search, blocks and live"] = searched()

    def all_in_blocks() -> bool:
        _, snapshot = count.visible_blocks(storage)
        return sum(meta.spans for meta in snapshot.blocks) >= live.spans

    flush_s = given.block_age_s + FLUSH_EXTRA_S
    wait_until(all_in_blocks, flush_s, f"not all of {live.spans} spans are in blocks", cluster)
    report.counts[f"{when}by search, all in blocks"] = searched()
    report.counts[f"{when}by metrics query"] = count.count_by_metrics(cluster.http_url, ledger)
    report.counts[f"{when}in the blocks' files"] = count.count_blocks(storage, ledger)
    checked, found = count.check_traces(cluster.http_url, ledger, given.traces, given.seed)
    report.traces += checked
    report.counts[f"{when}traces by id"] = found


def wait_until(holds: Callable[[], bool], limit_s: float, problem: str, cluster: Cluster) -> None:
    """Raises BenchError after `limit_s` seconds."""
    deadline_s = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise BenchError(f"{problem}, {limit_s:g} s later\n{cluster.log_end()}")
        time.sleep(POLL_S)
