"""How cost grows: one run of the benchmark after the other, each with a fresh cluster, and one table.

python -m benchmarks.series [--only spans,partitions,small,rates] [--quick]
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks import __main__ as bench
from benchmarks import measure, workload
from benchmarks.report import MB, Run, append_json, number
from tests.harness.cluster import BenchError

GROWTH_MAX: Final = 1.2  # of CPU per span, against the cheapest of the smaller cases: a fifth more
RATE_S: Final = 30  # so long is the load at a steady rate
QUICK: Final = 20  # --quick divides the numbers of spans by it


@dataclass(frozen=True, slots=True)
class Case:
    """One run. `arguments`: of `python -m benchmarks`, the number of spans apart."""

    name: str
    spans: int
    arguments: tuple[str, ...] = ()

    def command(self, *, quick: bool) -> list[str]:
        # Without the probe, whose questions cost as much as many spans.
        if quick:
            return ["--spans", str(self.spans // QUICK), "--no-probe", "--block-age-s", "5", *self.arguments]
        return ["--spans", str(self.spans), "--no-probe", *self.arguments]


@dataclass(frozen=True, slots=True)
class Group:
    """Cases in the order in which something grows. `bounded`: a span's cost must not grow along with it."""

    name: str
    bounded: bool
    cases: tuple[Case, ...]


def tenants(spans_per_request: int, spans: int) -> Case:
    small = ("--tenants", "100", "--spans-per-request", str(spans_per_request), "--in-flight", "100")
    return Case(f"100 tenants, {spans_per_request} a request", spans, small)


GROUPS: Final = (
    Group(
        "spans",
        bounded=True,
        cases=tuple(Case(f"{spans:,} spans", spans) for spans in (100_000, 1_000_000, 5_000_000)),
    ),
    Group(
        "partitions",
        bounded=True,
        cases=tuple(Case(f"{count} partitions", 1_000_000, ("--partitions", str(count))) for count in (1, 4, 16)),
    ),
    Group("small", bounded=False, cases=(tenants(1, 20_000), tenants(10, 100_000))),
    Group(
        "rates",
        bounded=False,
        cases=tuple(
            Case(f"{rate:,} spans/s", rate * RATE_S, ("--rate", str(rate), "--in-flight", "32"))
            for rate in (10_000, 30_000, 50_000)
        ),
    ),
)


def main(argv: list[str]) -> int:
    given = parse(argv)
    if not measure.PROC.is_dir():
        print("the series needs /proc, that is, Linux", file=sys.stderr)
        return 1
    further = [argument for pair in given.setting for argument in ("--setting", pair)]
    status = 0
    results: list[tuple[Group, list[tuple[Case, Run | None]]]] = []
    try:
        for group in (group for group in GROUPS if group.name in given.only):
            runs: list[tuple[Case, Run | None]] = []
            results.append((group, runs))
            for case in group.cases:
                run = one(case, further, quick=given.quick)
                runs.append((case, run))
    except KeyboardInterrupt:
        status = 130
    lines, grown = table(results)
    print("\n" + "\n".join(lines))
    return status or int(grown or any(run is None for _, runs in results for _, run in runs))


def parse(argv: list[str]) -> argparse.Namespace:
    names = [group.name for group in GROUPS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.series", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(names), help=f"some of {','.join(names)} (default: all)")
    parser.add_argument("--quick", action="store_true", help=f"1/{QUICK} of the spans: whether it works, not how well")
    parser.add_argument("--setting", action="append", default=[], metavar="KEY=VALUE", help="as make bench's")
    given = parser.parse_args(argv)
    given.only = given.only.split(",")
    if unknown := set(given.only) - set(names):
        parser.error(f"--only {','.join(sorted(unknown))}: choose from {', '.join(names)}")
    return given


def one(case: Case, further: Sequence[str], *, quick: bool) -> Run | None:
    """Measure a case; None, and a line that says why, where it fails."""
    command = [*case.command(quick=quick), *further]
    print(f"\n== {case.name}: python -m benchmarks {' '.join(command)}", flush=True)
    try:
        run = bench.in_own_folder(bench.parse(command))
    except BenchError as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        return None
    append_json(run, workload.CACHE / "results.jsonl")
    return run


def table(results: Sequence[tuple[Group, Sequence[tuple[Case, Run | None]]]]) -> tuple[list[str], bool]:
    """A Markdown table, and whether a cost grew more than it may."""
    lines = [
        "| case | spans | CPU s/1M | spans/s | ack p50 / p99 ms | worker MB | Kafka B/span | Parquet B/span | growth |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    grown = False
    for group, runs in results:
        cheapest: float | None = None
        for case, run in runs:
            if run is None:
                lines.append(f"| {case.name} | failed |" + " |" * 7)
                continue
            cost = run.cpu_per_million()
            verdict = ""
            if group.bounded and cheapest is not None:
                exceeds = cost > GROWTH_MAX * cheapest
                grown |= exceeds
                verdict = f"{cost / cheapest - 1:+.0%}" + (f", MORE THAN {GROWTH_MAX - 1:.0%}" if exceeds else "")
            cheapest = cost if cheapest is None else min(cheapest, cost)
            lines.append(row(case, run, verdict))
    return lines, grown


def row(case: Case, run: Run, growth: str) -> str:
    ack = run.loaded.ack_ms
    refused = f" ({run.loaded.errors} requests refused)" if run.loaded.errors else ""
    cells = (
        case.name + refused,
        f"{run.spans:,}",
        number(run.cpu_per_million()),
        number(run.spans_per_s),
        f"{number(ack['p50'])} / {number(ack['p99'])}" if ack else "-",
        number(run.peak_bytes.get("worker", 0) / MB),
        number(run.kafka_bytes_per_span),
        number(run.parquet_bytes_per_span),
        growth,
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    sys.exit(main(sys.argv[1:]))
