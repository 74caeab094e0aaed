"""What a run of the queries measured, beside what it should be."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.load import percentiles_ms
from benchmarks.queries.ask import Timing
from benchmarks.queries.cases import TARGETS_MS, growth
from benchmarks.queries.concurrent_clients import ConcurrentRun

KIND: Final = "queries"  # marks the lines of results.jsonl that are ours
TARGET_SPANS: Final = 1_000_000
SIMILAR: Final = 1.1  # up to that many times the spans the targets hold as they are
LEAST_MS: Final = 1.0  # a figure below it is noise, not to be multiplied
STALL_MS_MAX: Final = 50.0
RECENT, BLOCKS = "recent", "blocks"


@dataclass(frozen=True, slots=True)
class Row:
    """One query at one place."""

    place: str  # RECENT or BLOCKS
    name: str
    runs: int
    median_ms: float
    p99_ms: float  # the longest, where there are fewer than 100 runs
    first_ms: float
    answer_bytes: int
    wrong: str  # "" if every answer was right


@dataclass(frozen=True, slots=True)
class Throng:
    """Many clients at one place, or spans that come in, or both."""

    place: str
    clients: int
    seconds: float
    answers_per_s: float
    rows: Sequence[Row]
    ingest_rate: int | None  # spans a second, as asked for
    ingested_per_s: float | None  # spans a second, acknowledged
    ack_p99_ms: float | None
    ingest_errors: int
    echo_ms: Mapping[str, float]  # p50, p90, p99, max of /api/echo
    stall_ms: float  # no stall of the event loop was longer
    parts_ms: Mapping[str, float]  # nor was any part of one longer: by what it was


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement. `blocks`: how many files' folders the spans were in; `flushes`: in how many goes they came."""

    date: str  # ISO 8601, UTC
    commit: str
    cores: int
    load_average: float
    spans: int
    partitions: int
    flushes: int
    blocks: int
    disk_bytes: int  # of the data folder, at its end
    rows: Sequence[Row] = ()
    stall_ms: Mapping[str, float] = field(default_factory=dict)  # by place, one query at a time
    throngs: Sequence[Throng] = ()

    @property
    def wrong(self) -> list[Row]:
        """Rows with an answer that was not right."""
        return [row for rows in (self.rows, *(one.rows for one in self.throngs)) for row in rows if row.wrong]


@dataclass(frozen=True, slots=True)
class Compared:
    """A run of about a million spans, with which one of more is compared. median_ms: by query, from blocks"""

    spans: int
    median_ms: Mapping[str, float]


def row(place: str, timing: Timing) -> Row:
    """In milliseconds."""
    points = percentiles_ms(timing.took_s) or dict.fromkeys(("p50", "p99"), 0.0)
    return Row(
        place=place,
        name=timing.name,
        runs=len(timing.took_s),
        median_ms=points["p50"],
        p99_ms=points["p99"],
        first_ms=round(1e3 * timing.took_s[0], 1) if timing.took_s else 0.0,
        answer_bytes=timing.answer_bytes,
        wrong=timing.wrong,
    )


def throng(
    place: str,
    concurrent: ConcurrentRun,
    ingest: Mapping[str, Any],
    echo_s: Sequence[float],
    stall_ms: float,
    parts_ms: Mapping[str, float],
) -> Throng:
    """`ingest`: the fields of Throng that tell of spans that came in."""
    return Throng(
        place=place,
        clients=concurrent.clients,
        seconds=round(concurrent.wall_s, 1),
        answers_per_s=round(concurrent.answers / concurrent.wall_s, 1),
        rows=[row(place, one) for one in concurrent.timings],
        echo_ms=percentiles_ms(echo_s),
        stall_ms=stall_ms,
        parts_ms=parts_ms,
        **ingest,
    )


def bound_ms(name: str, place: str, spans: int, compared: Compared | None) -> float | None:
    """What a median may be; None where that is not known.

    Up to about a million spans the issue's figure; for more, what fewer took times their growth, from blocks only.
    """
    if spans <= SIMILAR * TARGET_SPANS:
        return TARGETS_MS[name]
    if place != BLOCKS or compared is None or name not in compared.median_ms:
        return None
    return max(compared.median_ms[name], LEAST_MS) * growth(name, spans, compared.spans)


def find_compared(path: Path, partitions: int) -> Compared | None:
    """The last run of about a million spans, in one go, in a file of results; None without any of as many partitions:
    how many blocks there are changes with them.
    """
    if not path.is_file():
        return None
    found = None
    for line in path.read_text().splitlines():
        run = json.loads(line)
        if run.get("kind") != KIND or (run["flushes"], run["partitions"]) != (1, partitions):
            continue
        right = not any(one["wrong"] for one in run["rows"])
        if right and TARGET_SPANS / SIMILAR <= run["spans"] <= TARGET_SPANS * SIMILAR:
            medians = {one["name"]: one["median_ms"] for one in run["rows"] if one["place"] == BLOCKS}
            found = Compared(run["spans"], medians) if medians else found
    return found


def verdict(row: Row, bound: float | None) -> str:
    if row.wrong:
        return "WRONG"
    if bound is None:
        return ""
    return "met" if row.median_ms <= bound else "MISSED"


def text(run: Run, compared: Compared | None, queries: Mapping[str, str]) -> str:
    """The report for the terminal. queries: what each is, by name"""
    lines = [heading(run)]
    if run.spans > SIMILAR * TARGET_SPANS:
        lines.append(
            f"bounds: growth from the {compared.spans:,} spans of an earlier run"
            if compared
            else f"no run to compare with: run --spans 1000000 --partitions {run.partitions} first, or give --compare"
        )
    head = ("query", "place", "median ms", "p99 ms", "first ms", "at most", "", "answer kB", "")
    table = [head]
    for one in run.rows:
        bound = bound_ms(one.name, one.place, run.spans, compared)
        figures = (
            number(one.median_ms),
            number(one.p99_ms),
            number(one.first_ms),
            "-" if bound is None else number(bound),
        )
        size = number(one.answer_bytes / 1e3)
        table.append((one.name, one.place, *figures, verdict(one, bound), size, queries.get(one.name, "")))
    lines += aligned(table)
    for place, stall_ms in run.stall_ms.items():
        lines.append(f"one query at a time, {place}: {stall(stall_ms)}")
    for many in run.throngs:
        lines += ["", *throng_lines(many)]
    wrong = run.wrong
    rows = len(run.rows) + sum(len(one.rows) for one in run.throngs)
    lines += ["", *(f"WRONG {one.name} ({one.place}): {one.wrong}" for one in wrong)]
    lines.append(f"{rows - len(wrong)} of {rows} rows right")
    return "\n".join(lines)


def heading(run: Run) -> str:
    return (
        f"{run.date}  {run.commit}  {run.spans:,} spans, {run.partitions} partitions, {run.flushes} flushes, "
        f"{run.blocks} blocks, {run.disk_bytes / 1e6:,.0f} MB on disk; {run.cores} cores, "
        f"load average before {run.load_average:.1f}"
    )


def throng_lines(one: Throng) -> list[str]:
    """Its figures, then a row for each query."""
    lines = [f"{one.clients} clients, {one.place}, {one.seconds:g} s: {number(one.answers_per_s)} answers/s"]
    if one.ingest_rate is not None:
        refused = f", {one.ingest_errors} requests REFUSED" if one.ingest_errors else ""
        lines.append(
            f"meanwhile {number(one.ingested_per_s or 0)} of {one.ingest_rate:,} spans/s acknowledged, "
            f"p99 {number(one.ack_p99_ms or 0)} ms{refused}"
        )
    lines.append(f"{stall(one.stall_ms)}; at the most {', '.join(f'{k} {v:g} ms' for k, v in one.parts_ms.items())}")
    lines.append(f"/api/echo {', '.join(f'{k} {v:g} ms' for k, v in one.echo_ms.items())}")
    table = [("query", "answers", "p50 ms", "p99 ms", "")]
    for each in one.rows:
        wrong = "WRONG" if each.wrong else ""
        figures = (number(each.median_ms), number(each.p99_ms)) if each.runs else ("-", "-")
        table.append((each.name, str(each.runs), *figures, wrong))
    return lines + aligned(table)


def number(value: float) -> str:
    """One digit behind the point, none from 100 on: the columns are easy to compare then."""
    return f"{value:,.1f}" if abs(value) < 100 else f"{value:,.0f}"


def stall(stall_ms: float) -> str:
    return f"event loop never held up for more than {stall_ms:g} ms: {'met' if stall_ms <= STALL_MS_MAX else 'MISSED'}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width; numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for one in rows:
        cells = [
            cell.rjust(width) if cell[:1].isdigit() else cell.ljust(width)
            for cell, width in zip(one, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def append_json(run: Run, path: Path) -> None:
    """One line per run, with everything in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps({"kind": KIND, **asdict(run)}) + "\n")


def markdown(run: Run, queries: Mapping[str, str]) -> str:
    """A table for README.md here: a row for each query, with a column for each place."""
    places = list(dict.fromkeys(one.place for one in run.rows))
    by = {(one.name, one.place): one for one in run.rows}
    lines = [f"| query | target | {' | '.join(places)} |", "|---" * (2 + len(places)) + "|"]
    for name in dict.fromkeys(one.name for one in run.rows):
        cells = [f"{number(by[name, place].median_ms)} / {number(by[name, place].p99_ms)}" for place in places]
        what = queries.get(name, "").replace("|", "\\|")
        lines.append(f"| {name} `{what}` | {number(TARGETS_MS[name])} | {' | '.join(cells)} |")
    return "\n".join(lines)
