"""Metrics of polls and of what they know."""

from prometheus_client import Counter, Gauge

from tables.catalog.state import CatalogState
from tables.catalog.tenant_index import TenantIndex
from tables.native_histogram import NativeHistogram
from tables.storage.request_usage import RequestUsage
from tables.tenant_labels import OTHERS, TENANTS_MAX

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

POLL_SECONDS = NativeHistogram(
    "tempodb_blocklist_poll_duration_seconds",
    "Time of a poll of the storage for new blocks.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
)
POLL_ERRORS = Counter(
    "tempodb_blocklist_poll_errors_total",
    "Polls that failed because the storage is away. They are of all tenants, so tenant is empty.",
    ["tenant"],
)
INDEX_ERRORS = Counter(
    "tempodb_blocklist_tenant_index_errors_total",
    "Polls that found the newest index of a tenant damaged.",
    ["tenant"],
)
LENGTH = Gauge("tempodb_blocklist_length", "Visible blocks of a tenant, as of the last poll.", ["tenant"])
OBJECTS = Gauge(
    "tempodb_backend_objects_total",
    "Blocks of a tenant in the storage, by status: live (visible), compacted (merged or too old; to be deleted).",
    ["tenant", "status"],
)
SIZES = Gauge(
    "tempodb_backend_bytes_total", "Bytes of the tenant's blocks, by status: live only.", ["tenant", "status"]
)
_LIVE, _COMPACTED = "live", "compacted"
POLL_ERRORS.labels("")  # so that the first failure is an increase


class TenantBlockMetrics:
    """The metrics of tenants' blocks, of one list of blocks. Beyond the bound those of all further tenants together."""

    def __init__(self, tenants_max: int = TENANTS_MAX) -> None:
        self._tenants_max = tenants_max
        self._shown: set[str] = set()
        self._sizes: dict[str, tuple[int, int]] = {}  # by tenant: version of the index, bytes of its blocks

    def show(self, state: CatalogState) -> None:
        """Sets them as of a poll."""
        found: dict[str, list[int]] = {}
        tenants = sorted(state.indexes.keys() | {name for name, metas in state.metas.items() if metas})
        for number, tenant in enumerate(tenants):
            counts = found.setdefault(tenant if number < self._tenants_max else OTHERS, [0, 0, 0])
            index, fresh = state.indexes.get(tenant), state.metas.get(tenant, {})
            counts[0] += len(fresh)
            counts[2] += sum(meta.size_bytes for meta in fresh.values())
            if index is not None:
                counts[0] += len(index)
                counts[1] += len(index.removed)
                counts[2] += self._bytes_of(tenant, index)
        for label, (live, compacted, size_bytes) in found.items():
            LENGTH.labels(label).set(live)
            OBJECTS.labels(label, _LIVE).set(live)
            OBJECTS.labels(label, _COMPACTED).set(compacted)
            SIZES.labels(label, _LIVE).set(size_bytes)
        for gone in self._shown - found.keys():
            LENGTH.remove(gone)
            SIZES.remove(gone, _LIVE)
            for status in (_LIVE, _COMPACTED):
                OBJECTS.remove(gone, status)
        self._shown = set(found)
        self._sizes = {name: one for name, one in self._sizes.items() if name in state.indexes}
        for tenant in state.damaged_indexes:
            INDEX_ERRORS.labels(tenant if tenant in found else OTHERS).inc()

    def _bytes_of(self, tenant: str, index: TenantIndex) -> int:
        version, size_bytes = self._sizes.get(tenant, (-1, 0))
        if version != index.version:
            size_bytes = int(index.numbers("size_bytes").sum())
            self._sizes[tenant] = index.version, size_bytes
        return size_bytes


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
