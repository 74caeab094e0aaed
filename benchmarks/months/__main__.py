"""Simulates days of small traffic, with a compactor and without, and prints what lies in the bucket and what it costs.

    python -m benchmarks.months                          # 3 days, 1 tenant: some minutes
    python -m benchmarks.months --days 30 --without 3    # a month; 3 days without a compactor
    python -m benchmarks.months --tenants 50 --spans 10 --days 1 --without 1

Time is simulated, and nothing runs beside it. Requests are those to the storage; seconds are of one machine and a
local folder.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from app.settings import Settings
from benchmarks.months.cost import Cost
from benchmarks.months.measure import Measured, measured
from benchmarks.months.simulation import Months, Plan, Written, in_folder


def main(argv: list[str]) -> int:
    plan, without_days = _arguments(argv)
    reports = []
    for compacts, days in ((True, plan.days), (False, without_days)):
        if days:
            reports.append(run(Plan(days, plan.tenants, plan.partitions, plan.flush_s, plan.spans, compacts)))
    for lines in reports:
        print()
        print("\n".join(lines))
    return 0


def _arguments(argv: list[str]) -> tuple[Plan, float]:
    defaults = Plan()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.months", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--days", type=float, default=defaults.days, help="with a compactor")
    parser.add_argument("--without", type=float, default=1.0, help="days without a compactor (0: not at all)")
    parser.add_argument("--tenants", type=int, default=defaults.tenants)
    parser.add_argument("--partitions", type=int, default=defaults.partitions)
    parser.add_argument("--flush-s", type=float, default=defaults.flush_s, help="seconds between two flushes")
    parser.add_argument("--spans", type=int, default=defaults.spans, help="of a tenant in a block")
    given = parser.parse_args(argv)
    if min(given.tenants, given.partitions, given.spans, given.flush_s) < 1 or min(given.days, given.without) < 0:
        parser.error("numbers must be positive")
    return Plan(given.days, given.tenants, given.partitions, given.flush_s, given.spans), given.without


def run(plan: Plan) -> list[str]:
    """One simulation. Returns the lines of its report; progress goes to stderr."""
    began_s = time.monotonic()
    moments: list[Measured] = []
    with in_folder() as folder:
        months = Months(plan, Path(folder), Settings())
        marks = _marks(plan.flushes)
        for number in range(1, plan.flushes + 1):
            months.flush()
            if number in marks:
                moments.append(measured(months))
                asked = ", ".join(f"{name} {cost.requests}" for name, cost in moments[-1].queries.items())
                print(f"{time.monotonic() - began_s:.0f} s: {_row(moments[-1])}", file=sys.stderr)
                print(
                    f"  requests of queries: {asked}; write amplification {months.written.amplification:.2f}",
                    file=sys.stderr,
                    flush=True,
                )
        return list(_report(plan, months.written, moments))


def _marks(flushes: int) -> set[int]:
    """After which flushes it is measured: eight times, more often in the beginning."""
    return {max(1, round(flushes / 2**step)) for step in range(8)}


def _report(plan: Plan, written: Written, moments: list[Measured]) -> Iterator[str]:
    how = "with a compactor" if plan.compacts else "without a compactor"
    yield (
        f"{plan.days:g} days {how}: {plan.tenants} tenants, {plan.partitions} partitions, a flush every "
        f"{plan.flush_s:g} s, {plan.spans} spans a block; {written.flushed_blocks} blocks flushed, "
        f"{written.flushed_spans:,} spans, {written.flushed_bytes / max(1, written.flushed_spans):.0f} B/span"
    )
    yield ""
    yield "| day | blocks | files | B/span | objects | MB stored | index KB | start | poll | poll after a flush |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for one in moments:
        yield _row(one)
    if plan.compacts:
        each = written.compactor.by_operation.items()
        requests = ", ".join(f"{count / plan.flushes:.1f} {name}" for name, count in sorted(each))
        yield ""
        yield (
            f"{written.merges} merges; write amplification {written.amplification:.2f}; "
            f"{written.merged_spans / max(1e-9, written.merge_cpu_s) / 1e3:.0f}k spans per CPU second. "
            f"Requests of the compactor for each flush of all partitions: {requests}"
        )
    yield ""
    yield "| query over all time | requests | MB | s |"
    yield "|---|---|---|---|"
    for name, cost in moments[-1].queries.items():
        yield f"| {name} | {cost.requests} | {cost.bytes / 1e6:.2f} | {cost.seconds:.2f} |"


def _row(one: Measured) -> str:
    return (
        f"| {one.day:.2f} | {one.blocks} | {one.files} | {one.size_bytes / max(1, one.spans):.0f} | {one.objects} "
        f"| {one.stored_bytes / 1e6:.1f} | {one.index_bytes / 1e3:.0f} | {_cost(one.start)} | {one.poll.requests} "
        f"| {_cost(one.poll_new)} |"
    )


def _cost(cost: Cost) -> str:
    return f"{cost.requests} requests, {cost.bytes / 1e3:.0f} KB, {cost.seconds:.2f} s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
