"""A receiver of remote write that takes nothing which any of the usual ones refuses."""

import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterable

from tests.helpers.generator.remote_write import Labels, OneSeries, decoded_series

_LABEL = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")
_METRIC = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")
_STALE = struct.pack("<Q", 0x7FF0000000000002)
_EXEMPLAR_CHARS_MAX = 128
_TYPES = {1, 2, 3}  # counter, gauge, histogram


class StrictReceiver:
    """Keeps each series' youngest time and value. Order, duplicates, UTF-8 and unknown fields: `decoded_series`."""

    def __init__(self) -> None:
        self.series: dict[Labels, OneSeries] = {}
        self._youngest: dict[Labels, tuple[int, float]] = {}

    def take(self, bodies: Iterable[bytes], version: int) -> dict[Labels, OneSeries]:
        """The requests of one push: all of its series. Fails if anything in it is not valid."""
        pushed = decoded_series(bodies, version)
        for labels, one in pushed.items():
            self._check_labels(labels)
            self._check_values(labels, one)
            for pair, value, _ in one.exemplars:
                assert _LABEL.fullmatch(pair[0])
                assert sum(map(len, pair)) <= _EXEMPLAR_CHARS_MAX
                assert math.isfinite(value)
            if version == 2:
                assert one.about is not None
                assert one.about[0] in _TYPES
        _check_classic_histograms(pushed)
        self.series.update(pushed)
        return pushed

    def _check_labels(self, labels: Labels) -> None:
        named = dict(labels)
        assert _METRIC.fullmatch(named["__name__"])
        for name, value in labels:
            assert _LABEL.fullmatch(name), name
            assert value, f"an empty label {name} is none"
            assert name not in {"quantile", "__type__", "__unit__"}
        assert ("le" in named) == named["__name__"].endswith("_bucket")

    def _check_values(self, labels: Labels, one: OneSeries) -> None:
        """Samples younger than those before; counters that only grow, from 0 on; an end is told as such."""
        assert bool(one.samples) != bool(one.natives)
        reply = [*one.samples, *((found.time_ms, found.count) for found in one.natives if not math.isnan(found.sum))]
        for time_ms, value in reply:
            before_ms, before = self._youngest.get(labels, (0, -1.0))
            assert time_ms > before_ms
            if math.isnan(value):
                assert struct.pack("<d", value) == _STALE
                self._youngest[labels] = time_ms, -1.0
                continue
            assert 0 <= value < math.inf
            if dict(labels)["__name__"] != "traces_target_info":
                assert value >= before if before >= 0 else value == 0, "a series begins with 0 and does not fall"
            self._youngest[labels] = time_ms, value
        for found in one.natives:
            assert all(count > 0 for count in found.buckets.values())
            total = found.zeros + sum(found.buckets.values())
            assert math.isclose(found.count, total, rel_tol=1e-9, abs_tol=1e-300)
            assert -4 <= found.schema <= 8
            assert math.isnan(found.sum) or 0 <= found.sum < math.inf


def _check_classic_histograms(pushed: dict[Labels, OneSeries]) -> None:
    """Buckets are cumulative; that up to infinity holds as many as `_count` says."""
    buckets: dict[tuple[str, Labels], dict[float, float]] = defaultdict(dict)
    counts: dict[tuple[str, Labels], float] = {}
    for labels, one in pushed.items():
        named = dict(labels)
        name, le = named.pop("__name__"), named.pop("le", None)
        value = one.samples[-1][1] if one.samples else math.nan
        if le is not None and not math.isnan(value):
            of = buckets[name.removesuffix("_bucket"), frozenset(named.items())]
            assert float(le) not in of
            of[float(le)] = value
        elif name.endswith("_count") and not math.isnan(value):
            counts[name.removesuffix("_count"), frozenset(named.items())] = value
    assert buckets.keys() == counts.keys()
    for key, of in buckets.items():
        values = [value for _, value in sorted(of.items())]
        assert values == sorted(values)
        assert of[math.inf] == counts[key]
