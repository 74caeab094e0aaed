"""Metrics in Prometheus's protobuf format, the only one that carries native histograms.

Source: github.com/prometheus/client_model, io/prometheus/client/metrics.proto
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

from tables.columns.varint import varint, zigzag
from tables.native_histogram import ZERO_THRESHOLD, NativeBuckets, NativeHistogram

CONTENT_TYPE: Final = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
_MEDIA_TYPE: Final = "application/vnd.google.protobuf"
_FAMILY: Final = "io.prometheus.client.MetricFamily"
_VARINT, _FIXED64, _BYTES = 0, 1, 2  # protobuf's wire types
_COUNTER, _GAUGE, _UNTYPED, _HISTOGRAM = 0, 1, 3, 4  # MetricType
_TYPES: Final = {"counter": _COUNTER, "gauge": _GAUGE, "histogram": _HISTOGRAM}
# Of a value in Metric: the field's number.
_VALUE_FIELDS: Final = {_COUNTER: 3, _GAUGE: 2, _UNTYPED: 5}

Labels = Mapping[str, str]


def is_wanted(accept: str) -> bool:
    """Whether a scraper asks for this format before any other. In: the header Accept"""
    first = accept.split(",")[0].replace(" ", "")
    return first.startswith(_MEDIA_TYPE) and f"proto={_FAMILY}" in first and "encoding=delimited" in first


def encode(registry: CollectorRegistry, further: Labels | None = None) -> bytes:
    """All metrics. further: labels that each series gets besides its own"""
    natives = {
        collector._name: collector  # noqa: SLF001 there is no public way to ask
        for collector in list(registry._collector_to_names)  # noqa: SLF001
        if isinstance(collector, NativeHistogram)
    }
    extra = b"".join(_label(name, value) for name, value in (further or {}).items())
    parts = []
    for family in registry.collect():
        message = _family(family, natives.get(family.name), extra)
        parts += [varint(len(message)), message]
    return b"".join(parts)


def _family(family: Metric, native: NativeHistogram | None, extra: bytes) -> bytes:
    kind = _TYPES.get(family.type, _UNTYPED)
    name = f"{family.name}_total" if family.type == "counter" else family.name
    head = _text(1, name) + _text(2, family.documentation) + _number(3, kind)
    states = {} if native is None else {_key(labels): state for labels, state in native.natives()}
    if kind == _HISTOGRAM:
        series = _histograms(family, states)
    else:
        wanted = family.name if kind != _COUNTER else name
        series = (
            (sample.labels, _message(_VALUE_FIELDS[kind], _double(1, sample.value)))
            for sample in family.samples
            if sample.name == wanted
        )
    return head + b"".join(
        _message(4, extra + b"".join(_label(*pair) for pair in labels.items()) + value) for labels, value in series
    )


def _histograms(
    family: Metric, states: Mapping[tuple[tuple[str, str], ...], NativeBuckets]
) -> Iterator[tuple[Labels, bytes]]:
    """The series of a family of histograms, each with its labels and the field `histogram`."""
    grouped: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in family.samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        grouped.setdefault(_key(labels), []).append(sample)
    for key, samples in grouped.items():
        yield dict(key), _message(7, _histogram(family.name, samples, states.get(key)))


def _histogram(name: str, samples: list[Sample], native: NativeBuckets | None) -> bytes:
    buckets, count, total = [], 0, 0.0
    for sample in samples:
        if sample.name == f"{name}_bucket":
            bound = float(sample.labels["le"])
            buckets.append(_message(3, _number(1, int(sample.value)) + _double(2, bound)))
        elif sample.name == f"{name}_count":
            count = int(sample.value)
        elif sample.name == f"{name}_sum":
            total = sample.value
    if native is not None:  # of the same moment as its buckets
        count, total = native.count, native.sum
    head = _number(1, count) + _double(2, total) + b"".join(buckets)
    return head if native is None else head + _native(native)


def _native(state: NativeBuckets) -> bytes:
    out = [_number(5, zigzag(state.schema)), _double(6, ZERO_THRESHOLD), _number(7, state.zeros)]
    spans: list[list[int]] = []  # how many empty buckets come before, and the length
    deltas, last, end = [], 0, 0
    for index, count in sorted(state.buckets.items()):
        if spans and index == end:
            spans[-1][1] += 1
        else:
            spans.append([index - end, 1])
        deltas.append(count - last)
        last, end = count, index + 1
    if not spans:
        # A span of no buckets says that this is a native histogram, which has no values yet.
        spans.append([0, 0])
    out += [_message(12, _number(1, zigzag(offset)) + _number(2, length)) for offset, length in spans]
    out += [_number(13, zigzag(delta)) for delta in deltas]
    return b"".join(out)


def _key(labels: Labels) -> tuple[tuple[str, str], ...]:
    return tuple(labels.items())


def _label(name: str, value: str) -> bytes:
    return _message(1, _text(1, name) + _text(2, value))


def _number(field: int, value: int) -> bytes:
    return varint(field << 3 | _VARINT) + varint(value)


def _double(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def _text(field: int, value: str) -> bytes:
    return _message(field, value.encode())


def _message(field: int, value: bytes) -> bytes:
    return varint(field << 3 | _BYTES) + varint(len(value)) + value
