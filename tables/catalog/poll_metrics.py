"""Metrics of polls and of what they know."""

from prometheus_client import Counter, Gauge

from tables.catalog.state import CatalogState
from tables.storage.request_usage import RequestUsage

POLLS = Counter("stretto_blocklist_polls_total", "Polls of the storage for new blocks that succeeded.")
REQUESTS = Counter(
    "stretto_blocklist_requests_total",
    "Requests to the storage that polls made, by operation. With nothing new a poll lists once for each partition, and "
    "twice more.",
    ["operation"],
)
BYTES = Counter("stretto_blocklist_read_bytes_total", "Bytes of cuts, metas, checkpoints and indexes that polls read.")
BLOCKS = Gauge("stretto_blocklist_blocks", "Visible blocks of all tenants, as of the last poll.")
CUTS = Gauge("stretto_blocklist_cuts", "Cuts that are not yet in the indexes of their tenants, as of the last poll.")
TENANTS = Gauge("stretto_blocklist_tenants", "Tenants with an index, as of the last poll.")
INDEXES_DAMAGED = Gauge(
    "stretto_blocklist_indexes_damaged",
    "Tenants whose newest index cannot be read. While an older version is there, answers are whole, and nothing is "
    "compacted.",
)


def observe_poll(usage: RequestUsage, state: CatalogState) -> None:
    """Counts a poll. usage: its requests"""
    POLLS.inc()
    for operation, requests in usage.requests.items():
        REQUESTS.labels(operation).inc(requests)
    BYTES.inc(usage.bytes)
    cut_blocks = sum(len(metas) for metas in state.metas.values())
    BLOCKS.set(cut_blocks + sum(len(index) for index in state.indexes.values()))
    CUTS.set(sum(len(held.cuts) for held in state.chains.values()))
    TENANTS.set(len(state.indexes))
