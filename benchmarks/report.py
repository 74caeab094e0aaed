"""The report of `make bench`: results beside their targets."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.load import Loaded

MB: Final = 1e6
FULL_REQUEST_SPANS: Final = 512


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement. Names of processes: worker, kafka, supervisor."""

    date: str  # ISO 8601, UTC
    commit: str
    cores: int
    load_average: float  # of the machine, just before
    workload: str  # its file's name
    spans: int  # of the workload
    spans_per_request: int
    in_flight: int
    tenants: int
    rate: int | None  # spans a second; None: as fast as it goes
    loaded: Loaded
    received: int  # spans, while measured: those of the probes too
    cpu_s: Mapping[str, float]  # by process, until all was in blocks
    peak_bytes: Mapping[str, int]  # by process, since it started
    kafka_bytes_per_span: float
    parquet_bytes_per_span: float
    fresh_ms: Mapping[str, float]  # acknowledged → searchable: p50, p90, p99, max
    probes_lost: int
    ready_s: float  # start → /ready says yes
    searchable_lag_s: float  # last acknowledgement → all searchable
    flushed_lag_s: float  # last acknowledgement → all in blocks
    question_ms: Mapping[str, float] = field(default_factory=dict)  # a probe's question: p50, p90, p99, max

    @property
    def spans_per_s(self) -> float:
        """Acknowledged spans a second; requests are taken as equally big."""
        acknowledged = 1 - self.loaded.errors / self.loaded.requests
        return self.spans * acknowledged / self.loaded.wall_s

    def cpu_per_million(self, process: str | None = None) -> float:
        """CPU seconds per 1M spans, of one process or of all."""
        used_s = sum(self.cpu_s.values()) if process is None else self.cpu_s.get(process, 0.0)
        return used_s * 1e6 / max(self.received, 1)

    @property
    def is_standard(self) -> bool:
        """The load for which the targets were set: one tenant, full requests."""
        return self.tenants == 0 and self.spans_per_request == FULL_REQUEST_SPANS


@dataclass(frozen=True, slots=True)
class Target:
    """A bound, and the load at which it holds."""

    bound: float
    at_most: bool
    condition: str  # in words; "" for any load
    applies: Callable[[Run], bool]

    def __str__(self) -> str:
        sign = "≤" if self.at_most else "≥"
        return f"{sign} {number(self.bound)}{self.condition and f' {self.condition}'}"

    def verdict(self, value: float | None, run: Run) -> str:
        if value is None or not self.applies(run):
            return ""
        return "met" if (value <= self.bound if self.at_most else value >= self.bound) else "MISSED"


@dataclass(frozen=True, slots=True)
class Figure:
    """A line of the report. `value` None: not measured."""

    name: str
    value: float | None
    unit: str
    target: Target | None = None


def anytime(_run: Run) -> bool:
    return True


def full_speed(run: Run) -> bool:
    return run.is_standard and run.rate is None


def steady(least: int, most: int) -> Callable[[Run], bool]:
    return lambda run: run.is_standard and run.rate is not None and least <= run.rate <= most


THROUGHPUT: Final = Target(100_000, at_most=False, condition="at full speed", applies=full_speed)
CPU_FULL: Final = Target(13, at_most=True, condition="at full speed", applies=full_speed)
CPU_STEADY: Final = Target(20, at_most=True, condition="at 30,000 spans/s", applies=steady(30_000, 100_000))
ACK_P99: Final = Target(100, at_most=True, condition="at 50,000 spans/s", applies=steady(1, 50_000))
FRESH_P50: Final = Target(100, at_most=True, condition="at 20,000 spans/s", applies=steady(1, 20_000))
FRESH_P99: Final = Target(500, at_most=True, condition="at 20,000 spans/s", applies=steady(1, 20_000))
WORKER_MB: Final = Target(700, at_most=True, condition="", applies=anytime)
PARQUET: Final = Target(42, at_most=True, condition="", applies=anytime)
READY: Final = Target(15, at_most=True, condition="once Kafka is downloaded", applies=anytime)
NONE: Final = Target(0, at_most=True, condition="", applies=anytime)


def figures(run: Run) -> list[Figure]:
    """All that a run says, in the order of the report."""
    loaded, ack, fresh = run.loaded, run.loaded.ack_ms, run.fresh_ms
    cpu = [Figure(f"CPU, {name}", run.cpu_per_million(name), "s/1M spans") for name in run.cpu_s]
    memory = [
        Figure(f"peak memory, {name}", peak / MB, "MB", WORKER_MB if name == "worker" else None)
        for name, peak in run.peak_bytes.items()
    ]
    return [
        Figure("ready after its start", run.ready_s, "s", READY),
        Figure("accepted", run.spans_per_s, "spans/s", THROUGHPUT),
        Figure("requests refused", loaded.errors, "", NONE),
        Figure("spans rejected", loaded.rejected_spans, "", NONE),
        Figure("acknowledgement p50", ack.get("p50"), "ms"),
        Figure("acknowledgement p90", ack.get("p90"), "ms"),
        Figure("acknowledgement p99", ack.get("p99"), "ms", ACK_P99),
        Figure("searchable after ack, p50", fresh.get("p50"), "ms", FRESH_P50),
        Figure("searchable after ack, p99", fresh.get("p99"), "ms", FRESH_P99),
        Figure("a probe's question, p50", run.question_ms.get("p50"), "ms"),
        Figure("a probe's question, p99", run.question_ms.get("p99"), "ms"),
        Figure("probes not found", run.probes_lost, "", NONE),
        Figure("all searchable after the load", run.searchable_lag_s, "s"),
        Figure("all in blocks after the load", run.flushed_lag_s, "s"),
        Figure("CPU, all", run.cpu_per_million(), "s/1M spans", CPU_FULL if run.rate is None else CPU_STEADY),
        *cpu,
        *memory,
        Figure("Kafka's log", run.kafka_bytes_per_span, "B/span"),
        Figure("blocks (Parquet)", run.parquet_bytes_per_span, "B/span", PARQUET),
        Figure("CPU, the loader (not counted)", loaded.loader_cpu_s * 1e6 / run.spans, "s/1M spans"),
    ]


def table(run: Run) -> str:
    """The report for the terminal: figure, measured, unit, target, verdict."""
    rows = [("", "measured", "", "target", "")]
    for figure in figures(run):
        measured = "-" if figure.value is None else number(figure.value)
        target = figure.target
        verdict = target.verdict(figure.value, run) if target else ""
        rows.append((figure.name, measured, figure.unit, str(target) if target else "", verdict))
    lines = [heading(run), *aligned(rows)]
    lines += [f"error: {error}" for error in run.loaded.first_errors]
    return "\n".join(lines)


def heading(run: Run) -> str:
    speed = f"{run.rate:,} spans/s" if run.rate else "full speed"
    tenants = f", {run.tenants} tenants" if run.tenants else ""
    return (
        f"{run.date}  {run.commit}  {run.spans:,} spans, {run.spans_per_request} a request, {speed}, "
        f"{run.in_flight} in flight{tenants}; {run.cores} cores, load average before {run.load_average:.1f}"
    )


def aligned(rows: Sequence[tuple[str, str, str, str, str]]) -> list[str]:
    """Columns of equal width; the second, the numbers, to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column == 1 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def number(value: float) -> str:
    """Three digits that matter, thousands apart: 104,312  97.2  0.42."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def markdown_row(run: Run) -> str:
    """A row for the table in README.md here, under MARKDOWN_HEADER."""
    ack, fresh = run.loaded.ack_ms, run.fresh_ms

    def pair(points: Mapping[str, float]) -> str:
        return f"{number(points['p50'])} / {number(points['p99'])}" if points else "-"

    cells = (
        run.date[:10],
        run.commit,
        f"{run.spans:,}",
        str(run.spans_per_request),
        f"{run.rate:,}" if run.rate else "full",
        number(run.spans_per_s),
        f"{number(run.cpu_per_million())} ({number(run.cpu_per_million('kafka'))})",
        pair(ack),
        pair(fresh),
        number(run.peak_bytes.get("worker", 0) / MB),
        number(run.kafka_bytes_per_span),
        number(run.parquet_bytes_per_span),
    )
    return f"| {' | '.join(cells)} |"


MARKDOWN_HEADER: Final = (
    "| date | commit | spans | a request | rate | spans/s | CPU s/1M (Kafka's) | ack p50 / p99 ms "
    "| searchable p50 / p99 ms | worker MB | Kafka B/span | Parquet B/span |"
)


def append_json(run: Run, path: Path) -> None:
    """One line per run, with everything in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({**asdict(run), "spans_per_s": round(run.spans_per_s)}) + "\n")
