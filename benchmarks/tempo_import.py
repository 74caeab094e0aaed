"""How fast blocks of Tempo are imported, per core, and how much memory and storage that takes.

    .venv/bin/python -m benchmarks.tempo_import [--spans 200000] [--bucket FOLDER] [--jobs 1]

Without --bucket it writes a block of each version with spans of the demo's bookshop, as the tests do, which takes a
minute, and most of the memory. FOLDER is a bucket of Tempo, or a copy of one, with the tenant `single-tenant`.
"""

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.workload import Options, requests
from tables.catalog.index_store import IndexStore
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.tempo.bucket import tenant_blocks
from tables.tempo.ledger import Ledger
from tables.tempo.limits import EVERYTHING
from tables.tempo.plan import ANY_FACTOR, plan_tenant
from tables.tempo.transfer import transfer
from tests.helpers.tempo.tempo_blocks import TempoBlock

TENANT: Final = "single-tenant"
COLUMNS_MAX: Final = 300
VERSIONS: Final = ("vParquet4", "vParquet5")
DEDICATED: Final = (
    {"s": "resource", "n": "host.name"},
    {"n": "http.route"},
    {"n": "http.response.status_code", "t": "int"},
)
# Of a row group: with Tempo's defaults it has some hundred thousand spans.
ROW_GROUP_TRACES: Final = 10_000


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tempo_import", description=__doc__.splitlines()[0])
    parser.add_argument("--spans", type=int, default=200_000, help="spans of each block that is made")
    parser.add_argument("--bucket", type=Path, help="import this bucket instead")
    parser.add_argument("--jobs", type=int, default=1, help="blocks at the same time")
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        if given.bucket:
            measure(given.bucket, Path(name, "ours"), given.jobs)
        for version in () if given.bucket else VERSIONS:
            bucket = Path(name, version)
            made = [ExportTraceServiceRequest.FromString(data) for data, _ in requests(Options(spans=given.spans))]
            TempoBlock(version, dedicated=DEDICATED, row_group_traces=ROW_GROUP_TRACES).write(bucket, made)
            del made
            measure(bucket, Path(name, f"ours-{version}"), given.jobs)
    return 0


def measure(bucket: Path, ours: Path, jobs: int) -> None:
    """Imports the bucket's blocks and prints what it took."""
    source, ledger = (ObjectStore(StorageConfig("local", str(place))) for place in (bucket, ours))
    to = Ledger(ledger, TENANT)
    plan = plan_tenant(tenant_blocks(source, TENANT), to, EVERYTHING, ANY_FACTOR)
    began_s, cpu_s = time.perf_counter(), time.process_time()
    ended = list(transfer(source, plan, to, COLUMNS_MAX, EVERYTHING, jobs=jobs))
    cpu_s, took_s = time.process_time() - cpu_s, time.perf_counter() - began_s
    spans = sum(one.done.spans for one in ended)
    index = IndexStore(ledger).latest(TENANT)
    stored = sum(meta.size_bytes for meta in index.metas()) if index else 0
    formats = ", ".join(sorted({block.meta.format for block in plan.blocks}))
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    sys.stdout.write(
        f"{formats}: {len(ended)} blocks, {spans:,} spans, {spans / cpu_s:,.0f} spans per CPU second, "
        f"{spans / took_s:,.0f} spans/s, peak {peak_mb:,.0f} MB; "
        f"{plan.size_bytes / spans:.1f} B/span in Tempo, {stored / spans:.1f} here\n"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
