"""Cost attribution: bytes by tenant and by attributes that an operator chooses, for /usage_metrics."""

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from tables.columns.arrays import numbers
from tables.columns.types import Codes, Floats
from tables.seal.resources import parse_resource
from tables.wire.span_attributes import SpanAttributes

MISSING, OVERFLOW = "__missing__", "__overflow__"
METRIC: Final = "tempo_usage_tracker_bytes_received_total"
TRACKER: Final = "cost_attribution"
_NOT_OF_A_LABEL: Final = re.compile(r"[^a-zA-Z0-9_]")
_OWN_LABELS: Final = ("tenant", "tracker")
_PURGE_S: Final = 60.0
# An attribute may have 64 KiB, and a tenant thousands of series: the rest of a value is not kept.
VALUE_CHARS_MAX: Final = 256


class Dimension(NamedTuple):
    """An attribute, where to look for it (resource, span, or "" for both), and the number of its label."""

    key: str
    scope: str
    label: int


class Dimensions(NamedTuple):
    """labels: sorted, each once; several attributes may have the same"""

    labels: tuple[str, ...]
    attributes: tuple[Dimension, ...]


class UsageCount(NamedTuple):
    """Bytes of one tenant with the same values of all labels."""

    tenant: str
    labels: tuple[str, ...]
    values: tuple[str, ...]
    size_bytes: float


def dimensions_of(configured: Mapping[str, str]) -> Dimensions:
    """The dimensions that a tenant's mapping of attributes to labels means."""
    return _dimensions(tuple(configured.items()))


@lru_cache(maxsize=1024)
def _dimensions(pairs: tuple[tuple[str, str], ...]) -> Dimensions:
    parsed = []
    for attribute, label in pairs:
        scope, _, rest = attribute.partition(".")
        scope, key = (scope, rest) if rest and scope in ("resource", "span") else ("", attribute)
        parsed.append((key, scope, label_name(label or key)))
    labels = tuple(sorted({label for _, _, label in parsed}))
    return Dimensions(labels, tuple(Dimension(key, scope, labels.index(label)) for key, scope, label in parsed))


def label_name(text: str) -> str:
    """A text as the name of a Prometheus label; one of ours as Prometheus itself renames such labels."""
    name = _NOT_OF_A_LABEL.sub("_", text)
    if name in _OWN_LABELS:
        return f"exported_{name}"
    return f"_{name}" if name[:1].isdigit() or not name else name


def usage_of(tenant: str, spans: pa.RecordBatch, sizes: Floats, dimensions: Dimensions) -> list[UsageCount]:
    """The bytes of one tenant's spans by the values of the dimensions. sizes: bytes of each span, shape (rows,)"""
    codes = [np.full(len(spans), -1, np.int32) for _ in dimensions.labels]
    texts: list[dict[str, int]] = [{} for _ in dimensions.labels]
    for one in dimensions.attributes:
        if one.scope != "span":
            _fill_from_resources(spans, one.key, codes[one.label], texts[one.label])
    attributes = SpanAttributes(spans.column("attributes"))
    entries = attributes.find([one.key for one in dimensions.attributes if one.scope != "resource"])
    for one in dimensions.attributes:
        if one.scope != "resource" and one.key in entries:
            _fill_from_spans(attributes, entries[one.key], codes[one.label], texts[one.label])
    together = np.zeros(len(spans), np.int64)
    for column, known in zip(codes, texts, strict=True):
        _, together = np.unique(together * (len(known) + 1) + column + 1, return_inverse=True)
    _, first, group = np.unique(together, return_index=True, return_inverse=True)
    totals = np.bincount(group, sizes)
    names = [[*known, MISSING] for known in texts]  # code -1 is the last one
    found = []
    for row, total in zip(first.tolist(), totals.tolist(), strict=True):
        values = tuple(name[column[row]] for name, column in zip(names, codes, strict=True))
        found.append(UsageCount(tenant, dimensions.labels, values, total))
    return found


def _fill_from_resources(spans: pa.RecordBatch, key: str, codes: Codes, texts: dict[str, int]) -> None:
    column = spans.column("resource")
    of_resource = np.full(len(column.dictionary), -1, np.int32)
    for number, raw in enumerate(column.dictionary.to_pylist()):
        if text := _resource_texts(raw).get(key):
            of_resource[number] = texts.setdefault(text, len(texts))
    found = of_resource[numbers(column.indices)]
    np.copyto(codes, found, where=found >= 0)


def _fill_from_spans(attributes: SpanAttributes, entries: Codes, codes: Codes, texts: dict[str, int]) -> None:
    if attributes.pairs.type.get_field_index("string_value") < 0:
        return
    rows = np.flatnonzero(entries >= 0)
    taken = attributes.pairs.field("string_value").take(pa.array(entries[rows])).dictionary_encode()
    local = numbers(taken.indices.fill_null(-1))
    numbered = np.array([texts.setdefault(text, len(texts)) for text in taken.dictionary.to_pylist()], np.int32)
    there = local >= 0
    codes[rows[there]] = numbered[local[there]]


def _resource_texts(raw: bytes) -> Mapping[str, str]:
    return {key: value for key, _, value in parse_resource(raw).attributes if isinstance(value, str)}


class _Series:
    __slots__ = ("seen_s", "size_bytes")

    def __init__(self) -> None:
        self.size_bytes = self.seen_s = 0.0


class UsageTracker:
    """Bytes by tenant and values. Thread-safe; one per process."""

    def __init__(self, cardinality_max: int, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        """cardinality_max: series of a tenant that has no limit of its own; stale_s: a series without bytes for so long
        is dropped; clock: seconds
        """
        self._cardinality_max, self._stale_s, self._clock = cardinality_max, stale_s, clock
        self._tenants: dict[str, dict[tuple[tuple[str, ...], tuple[str, ...]], _Series]] = {}
        self._purged_s = clock()
        self._lock = threading.Lock()

    def add(self, counts: Sequence[UsageCount], cardinality_max: Callable[[str], int]) -> None:
        """Counts bytes. cardinality_max: of a tenant; 0: as for all"""
        now_s = self._clock()
        with self._lock:
            self._purge(now_s)
            for count in counts:
                series = self._tenants.setdefault(count.tenant, {})
                key = (count.labels, tuple(value[:VALUE_CHARS_MAX] for value in count.values))
                if key not in series and len(series) >= (cardinality_max(count.tenant) or self._cardinality_max):
                    key = (count.labels, (OVERFLOW,) * len(count.labels))
                one = series.setdefault(key, _Series())
                one.size_bytes += count.size_bytes
                one.seen_s = now_s

    def _purge(self, now_s: float) -> None:
        if now_s - self._purged_s < _PURGE_S:
            return
        self._purged_s = now_s
        for tenant, series in list(self._tenants.items()):
            left = {key: one for key, one in series.items() if now_s - one.seen_s <= self._stale_s}
            if left:
                self._tenants[tenant] = left
            else:
                del self._tenants[tenant]

    def text(self, may_see: Callable[[str], bool]) -> str:
        """All series in Prometheus' text format, of those tenants whose usage may be seen."""
        with self._lock:
            self._purge(self._clock())
            rows = [
                (tenant, labels, values, one.size_bytes)
                for tenant, series in self._tenants.items()
                if may_see(tenant)
                for (labels, values), one in series.items()
            ]
        lines = [f"# HELP {METRIC} Bytes received with these attributes.", f"# TYPE {METRIC} counter"]
        for tenant, labels, values, size_bytes in sorted(rows):
            pairs = [*zip(labels, values, strict=True), ("tenant", tenant), ("tracker", TRACKER)]
            shown = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
            lines.append(f"{METRIC}{{{shown}}} {round(size_bytes)}")
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
