"""Counts, errors and quantiles of groups of spans, from the series of TraceQL metrics."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple, Self

from query.results import Series

# The values of the fields that spans are grouped by, as text; "" where a span has none.
Key = tuple[str, ...]

_STATUS: Final = "status"
_ERROR: Final = "error"
_QUANTILE: Final = "p"
_MS_PER_S: Final = 1e3


@dataclass(frozen=True, slots=True)
class Stats:
    """count: of requests; errors: of them those that failed; spans: of a service, all; quantiles_s: by 0.5, 0.95, …"""

    count: float = 0
    errors: float = 0
    spans: float = 0
    quantiles_s: Mapping[float, float] = field(default_factory=dict)

    def with_spans(self, spans: float) -> Self:
        """The same with the number of all spans."""
        return replace(self, spans=spans)

    def json(self, seconds: float) -> dict[str, Any]:
        """As the answer has it. seconds: the length of the time range"""
        out: dict[str, Any] = {
            "requests": round(self.count),
            "errors": round(self.errors),
            "requestsPerSecond": self.count / seconds,
            "errorShare": self.errors / self.count if self.count else 0,
        }
        if self.spans:
            out["spans"] = round(self.spans)
        for quantile, value_s in sorted(self.quantiles_s.items()):
            out[f"p{quantile * 100:g}Ms"] = value_s * _MS_PER_S
        return out


class Node(NamedTuple):
    """A service, or a database."""

    name: str
    database: bool
    stats: Stats


class Edge(NamedTuple):
    """Calls of one service to another, or to a database."""

    client: str
    server: str
    database: bool
    stats: Stats


def counted(series: Iterable[Series], by: Sequence[str]) -> dict[Key, Stats]:
    """Counts and errors. series: of count_over_time() by these fields and status"""
    found: dict[Key, Stats] = {}
    for one in series:
        labels = {name: str(value) for name, value in one.labels}
        key = _key(labels, by)
        count = _value(one)
        before = found.get(key, Stats())
        errors = count if labels.get(_STATUS) == _ERROR else 0
        found[key] = Stats(before.count + count, before.errors + errors)
    return found


def with_quantiles(found: Mapping[Key, Stats], series: Iterable[Series], by: Sequence[str]) -> dict[Key, Stats]:
    """The same with quantiles. series: of quantile_over_time by these fields"""
    values: dict[Key, dict[float, float]] = {}
    for one in series:
        labels = {name: str(value) for name, value in one.labels}
        values.setdefault(_key(labels, by), {})[float(labels[_QUANTILE])] = _value(one)
    return {key: replace(stats, quantiles_s=values.get(key, {})) for key, stats in found.items()}


def _key(labels: Mapping[str, str], by: Sequence[str]) -> Key:
    return tuple(labels.get(name, "") for name in by)


def _value(series: Series) -> float:
    return series.samples[-1][1] if series.samples else 0.0
