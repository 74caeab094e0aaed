"""What a soak says in the end, as text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.report import MB, number
from benchmarks.soak.count import Found
from benchmarks.soak.events import Event, Sample

# What OTLP's clients answer by sending again. A connection that ends is UNAVAILABLE.
RETRIED: Final = frozenset({"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"})
GROWN_S: Final = 300.0  # a shorter soak says nothing about growth
FLAT: Final = 1.25  # the last third's highest may be so many times the first third's


@dataclass(slots=True)
class Report:
    """Filled as the soak goes on, so that one that fails half-way can be told too."""

    command: str
    date: str  # ISO 8601, UTC
    commit: str
    machine: str
    settings: dict[str, str]
    minutes: float
    load_s: float = 0.0
    acknowledged: int = 0  # spans
    requests: int = 0  # acknowledged
    unknown: int = 0  # spans of requests without acknowledgement
    unknown_requests: int = 0
    rejected: int = 0  # spans of acknowledged requests that the server said it rejected
    errors: dict[str, int] = field(default_factory=dict)
    ack_ms: dict[str, float] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    meanwhile: list[Found] = field(default_factory=list)  # counts of single passes during the load
    refused: dict[str, int] = field(default_factory=dict)  # queries that were told to come back, during the load
    wrong_refusals: dict[str, int] = field(default_factory=dict)  # queries that failed in another way
    late: int = 0  # of those, how many were complete only at a second look
    counts: dict[str, Found] = field(default_factory=dict)  # at the end, by where was counted
    traces: int = 0  # compared span by span
    disk: dict[str, int] = field(default_factory=dict)  # bytes
    levels: dict[int, int] = field(default_factory=dict)  # visible blocks by how often they were merged
    complaints: list[str] = field(default_factory=list)  # what must not be counted in metrics, and was
    failure: str = ""  # what ended the soak early

    @property
    def right(self) -> bool:
        """Nothing was lost, nothing doubled, and everything was counted."""
        found = [*self.meanwhile, *self.counts.values()]
        wrong = self.failure or self.rejected or self.wrong_refusals or self.final_errors or self.complaints
        return not wrong and bool(self.counts) and all(one.right for one in found)

    @property
    def final_errors(self) -> list[str]:
        """Errors of requests with spans after which a client would not send them again."""
        return [error for error in self.errors if error.partition(":")[0] not in RETRIED]


def text(report: Report) -> str:
    parts = [
        [f"{report.date}  {report.commit}  {report.machine}", f"$ {report.command}"],
        [" ".join(f"{name}={value}" for name, value in report.settings.items())],
        _load(report),
        _events(report.events),
        _memory(report.samples),
        _disk(report.disk),
        _levels(report.levels),
        _counts(report),
        [f"VERDICT: {_verdict(report)}"],
    ]
    return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"


def _load(report: Report) -> list[str]:
    rate = report.acknowledged / report.load_s if report.load_s else 0
    lines = [
        f"load: {report.load_s:,.0f} s, {number(rate)} spans/s in the mean, interruptions included",
        f"acknowledged: {report.acknowledged:,} spans in {report.requests:,} requests",
        f"not acknowledged: {report.unknown:,} spans in {report.unknown_requests:,} requests (may be there, once)",
    ]
    if report.ack_ms:
        points = ", ".join(f"{name} {number(value)}" for name, value in report.ack_ms.items())
        lines.append(f"acknowledgement, ms, interruptions included: {points}")
    lines += [f"  {count} x {error}" for error, count in sorted(report.errors.items(), key=lambda pair: -pair[1])]
    return lines


def _events(events: Sequence[Event]) -> list[str]:
    rows: list[tuple[str, ...]] = [("at s", "event", "ready after s", "acks after s", "not acknowledged")]
    rows += [
        (f"{one.at_s:.1f}", one.kind, f"{one.ready_s:.1f}", f"{one.acks_s:.1f}", str(one.unanswered)) for one in events
    ]
    lines = [*_columns(rows), ""]
    rows = [("event", "times", "ready p50 s", "max", "acks p50 s", "max")]
    for kind in sorted({one.kind for one in events}):
        ready = sorted(one.ready_s for one in events if one.kind == kind)
        acks = sorted(one.acks_s for one in events if one.kind == kind)
        values = (_median(ready), ready[-1], _median(acks), acks[-1])
        rows.append((kind, str(len(ready)), *(f"{value:.1f}" for value in values)))
    return lines + _columns(rows)


def _memory(samples: Sequence[Sample]) -> list[str]:
    rows: list[tuple[str, ...]] = [
        ("resident MB", "start", "middle", "end", "highest", "first third", "last third", "")
    ]
    for name in ("worker", "kafka"):
        sizes = [one.resident_bytes / MB for one in samples if one.name == name]
        if not sizes:
            continue
        third = max(1, len(sizes) // 3)
        first, last = max(sizes[:third]), max(sizes[-third:])
        values = (sizes[0], sizes[len(sizes) // 2], sizes[-1], max(sizes), first, last)
        verdict = "flat" if last <= FLAT * first else f"GROWS: more than {FLAT - 1:.0%} from first to last third"
        if samples[-1].at_s < GROWN_S:
            verdict = ""  # it is still filling its caches
        rows.append((name, *(number(round(value)) for value in values), verdict))
    every = max(1, len(samples) // 60)
    series = [f"{one.at_s:.0f}s {one.resident_bytes / MB:.0f}" for one in samples if one.name == "worker"][::every]
    return [*_columns(rows), f"worker over time, MB: {', '.join(series)}"] if len(rows) > 1 else []


def _disk(sizes: Mapping[str, int]) -> list[str]:
    shown = ", ".join(f"{name} {number(size / MB)} MB" for name, size in sizes.items())
    return [f"disk: {shown}"] if shown else []


def _levels(levels: Mapping[int, int]) -> list[str]:
    shown = ", ".join(f"{count} of level {level}" for level, count in levels.items())
    return [f"visible blocks: {shown} (0: as flushed)"] if levels else []


def _counts(report: Report) -> list[str]:
    rows: list[tuple[str, ...]] = [("counted", "spans", "lost", "doubled", "foreign", "there, not acknowledged")]
    if report.meanwhile:
        total = Found()
        for one in report.meanwhile:
            total.add(one)
        rows.append((f"during the load, {len(report.meanwhile)} times a part", *_numbers(total)))
    rows += [(where, *_numbers(found)) for where, found in report.counts.items()]
    lines = _columns(rows)
    if report.traces:
        lines.append(f"traces compared span by span, attributes included: {report.traces}")
    if report.meanwhile:
        lines.append(f"parts that were complete only at a second look, during the load: {report.late}")
    lines += [f"queries that were refused {count} times: {text}" for text, count in report.refused.items()]
    lines += [f"QUERIES THAT FAILED {count} times: {text}" for text, count in report.wrong_refusals.items()]
    lines += [f"COUNTED, AND SHOULD NOT BE: {text}" for text in report.complaints]
    lines += [f"REQUESTS THAT NO CLIENT REPEATS: {text}" for text in report.final_errors]
    if report.rejected:
        lines.append(f"rejected by the server in acknowledged requests: {report.rejected} spans")
    return lines + [f"  {text}" for found in (*report.meanwhile, *report.counts.values()) for text in found.examples]


def _numbers(found: Found) -> tuple[str, ...]:
    values = (found.spans, found.missing, found.doubled, found.foreign, found.unacknowledged)
    return tuple(f"{value:,}" for value in values)


def _verdict(report: Report) -> str:
    if report.failure:
        return f"FAILED, it did not come to its end: {report.failure}"
    if not report.right:
        return "FAILED"
    spans = f"every one of {report.acknowledged:,} acknowledged spans"
    return f"{spans} is there exactly once, after {len(report.events)} events"


def _median(ordered: Sequence[float]) -> float:
    return ordered[len(ordered) // 2]


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    words = [any(not _is_number(row[at]) for row in rows[1:]) for at in range(len(widths))]
    return [
        "  ".join(
            cell.ljust(width) if word else cell.rjust(width)
            for cell, width, word in zip(row, widths, words, strict=True)
        ).rstrip()
        for row in rows
    ]


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").isdigit()
