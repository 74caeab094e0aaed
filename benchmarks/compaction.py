"""A month of small traffic, with and without compaction: blocks, and how often each byte is written.

python -m benchmarks.compaction [--days N] [--retention-days N] [--tenants N,N]

It plans as the compactor does, and merges numbers instead of spans. A flush of every partition is every five minutes.
"""

import argparse
import sys
import time
from typing import Final

import numpy as np

from agents.compactor.plan import CompactionRules, windows_of
from tests.helpers.blocks.compaction_simulation import DAY_MS, MINUTE_MS, Simulation

PARTITIONS: Final = 4
FLUSH_MS: Final = 5 * MINUTE_MS
BEGIN_MS: Final = 20_000 * DAY_MS
COMPACT_EVERY: Final = 6  # flushes; the real one looks every 30 s
FLUSH_BYTES: Final = 20_000  # 200 spans


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compaction", description=__doc__.partition("\n")[0])
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--retention-days", type=int, default=14)
    parser.add_argument("--tenants", default="1,50", help="numbers of tenants, with commas (default 1,50)")
    given = parser.parse_args(argv)
    print(f"{given.days} days, retention {given.retention_days} days, {PARTITIONS} partitions, a flush every 5 minutes")
    print("tenants  blocks without  blocks with  most of a tenant  levels          written/flushed  planning, CPU s")
    for tenants in map(int, given.tenants.split(",")):
        print(run(tenants, given.days, given.retention_days), flush=True)
    return 0


def run(tenants: int, days: int, retention_days: int) -> str:
    """A line of the table."""
    rules = CompactionRules(windows_of(3600, retention_days * 86_400), 2 * FLUSH_MS, 5 << 30)
    simulation = Simulation(rules, retention_ms=retention_days * DAY_MS)
    places = tenants * PARTITIONS
    flushes = days * DAY_MS // FLUSH_MS
    cpu_s = 0.0
    for step in range(flushes):
        now_ms = BEGIN_MS + step * FLUSH_MS
        for place in range(places):
            simulation.flush(place, now_ms - place, FLUSH_BYTES)
        if step % COMPACT_EVERY == 0:
            began_s = time.process_time()
            simulation.compact(now_ms)
            cpu_s += time.process_time() - began_s
    columns = simulation.columns()
    without = places * min(flushes, retention_days * DAY_MS // FLUSH_MS)
    levels = " ".join(f"{level}:{count}" for level, count in enumerate(np.bincount(columns.levels)) if count)
    of_tenant = PARTITIONS * simulation.most
    return (
        f"{tenants:7,}  {without:14,}  {len(columns):11,}  {of_tenant:16,}  {levels:14}  "
        f"{1 + simulation.amplification:15.2f}  {cpu_s:15.1f}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
