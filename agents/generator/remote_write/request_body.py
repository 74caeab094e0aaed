"""The body of one remote-write request, version 1.0 or 2.0."""

from typing import Final, NamedTuple, Protocol

from agents.generator.series.labels import Labels
from agents.generator.series.snapshot import Metric
from tables.columns.varint import varint

_NAME, _BOUND = "__name__", "le"  # labels of a metric's own: no label set has them
_VARINTS: Final = tuple(varint(number) for number in range(2048))


def _varint(number: int) -> bytes:
    return _VARINTS[number] if number < len(_VARINTS) else varint(number)


class BodyParts(NamedTuple):
    """A label set's bytes in three parts, in the order of label names: before `__name__`, from there to `le`, and after
    it.
    """

    before: bytes
    between: bytes
    after: bytes


class Body(Protocol):
    """A request body under construction. series: how many it holds"""

    series: int

    def pieces(self, labels: Labels) -> BodyParts:
        """Encodes a label set, ordered by name."""

    def exemplar(self, trace_id: str, value: bytes, time: bytes) -> bytes:
        """Encodes an exemplar. value: 8 bytes; time: a varint, milliseconds"""

    def histogram(self, fields: bytes) -> bytes:
        """Encodes a native histogram from its fields."""

    def add(
        self, pieces: BodyParts, metric: Metric, samples: bytes, histograms: bytes, exemplars: bytes, *, created: bool
    ) -> None:
        """Adds one series, with its samples, histograms and exemplars, to the request."""

    def finish(self) -> bytes:
        """The bytes of the request."""


def _split(labels: Labels) -> tuple[Labels, Labels, Labels]:
    first = sum(name < _NAME for name, _ in labels)
    last = sum(name < _BOUND for name, _ in labels)
    return labels[:first], labels[first:last], labels[last:]


class Body1:
    """prometheus.WriteRequest: it repeats every label in full."""

    def __init__(self, created: bytes, trace_id_label: str) -> None:  # noqa: ARG002  # version 1 has no creation time
        self.series = 0
        self._parts: list[bytes] = []
        self._metrics: dict[Metric, tuple[bytes, bytes]] = {}
        name = trace_id_label.encode()
        # Label.value of 32 bytes: all exemplars are of one size, but for their time.
        self._exemplar_label = b"\x0a" + _varint(len(name)) + name + b"\x12\x20"
        self._exemplar_label = b"\x0a" + _varint(len(self._exemplar_label) + 32) + self._exemplar_label

    def pieces(self, labels: Labels) -> BodyParts:
        before, between, after = _split(labels)
        return BodyParts(*(b"".join([_label(*pair) for pair in part]) for part in (before, between, after)))

    def exemplar(self, trace_id: str, value: bytes, time: bytes) -> bytes:
        body = self._exemplar_label + trace_id.encode() + b"\x11" + value + b"\x18" + time
        return b"\x1a" + _varint(len(body)) + body

    def histogram(self, fields: bytes) -> bytes:
        return b"\x22" + _varint(len(fields)) + fields

    def add(
        self,
        pieces: BodyParts,
        metric: Metric,
        samples: bytes,
        histograms: bytes,
        exemplars: bytes,
        *,
        created: bool,  # noqa: ARG002
    ) -> None:
        own = self._metrics.get(metric)
        if own is None:
            own = self._metrics[metric] = _label(_NAME, metric.name), _label(*metric.label) if metric.label else b""
        name, bucket = own
        before, between, after = pieces
        series = b"".join((before, name, between, bucket, after, samples, exemplars, histograms))
        self._parts += (b"\x0a", _varint(len(series)), series)
        self.series += 1

    def finish(self) -> bytes:
        return b"".join(self._parts)


def _label(name: str, value: str) -> bytes:
    """A Label as a field of a TimeSeries."""
    raw_name, raw_value = name.encode(), value.encode()
    body = b"\x0a" + _varint(len(raw_name)) + raw_name + b"\x12" + _varint(len(raw_value)) + raw_value
    return b"\x0a" + _varint(len(body)) + body


_TYPES: Final = {"counter": 1, "gauge": 2, "histogram": 3}  # Metadata.MetricType


class Body2:
    """io.prometheus.write.v2.Request: a table holds each text once, and labels are indices into it."""

    def __init__(self, created: bytes, trace_id_label: str) -> None:
        self.series = 0
        self._symbols: dict[str, int] = {"": 0}
        self._parts: list[bytes] = []
        self._metrics: dict[Metric, tuple[bytes, bytes, bytes]] = {}
        self._created = b"\x30" + created  # TimeSeries.created_timestamp
        self._trace_id = trace_id_label

    def _symbol(self, text: str) -> bytes:
        return _varint(self._symbols.setdefault(text, len(self._symbols)))

    def _refs(self, labels: Labels) -> bytes:
        return b"".join([self._symbol(text) for pair in labels for text in pair])

    def pieces(self, labels: Labels) -> BodyParts:
        return BodyParts(*(self._refs(part) for part in _split(labels)))

    def exemplar(self, trace_id: str, value: bytes, time: bytes) -> bytes:
        refs = self._refs(((self._trace_id, trace_id),))
        body = b"\x0a" + _varint(len(refs)) + refs + b"\x11" + value + b"\x18" + time
        return b"\x22" + _varint(len(body)) + body

    def histogram(self, fields: bytes) -> bytes:
        return b"\x1a" + _varint(len(fields)) + fields

    def _metric(self, metric: Metric) -> tuple[bytes, bytes, bytes]:
        """The metric's name, its own label, and the field TimeSeries.metadata."""
        found = self._metrics.get(metric)
        if found is None:
            about = b"\x08" + _varint(_TYPES[metric.kind])
            about += b"\x18" + self._symbol(metric.help) + b"\x20" + self._symbol(metric.unit)
            name, own = ((_NAME, metric.name),), (metric.label,) if metric.label else ()
            found = self._refs(name), self._refs(own), b"\x2a" + _varint(len(about)) + about
            self._metrics[metric] = found
        return found

    def add(
        self, pieces: BodyParts, metric: Metric, samples: bytes, histograms: bytes, exemplars: bytes, *, created: bool
    ) -> None:
        name, bucket, about = self._metric(metric)
        refs = pieces.before + name + pieces.between + bucket + pieces.after
        since = self._created if created else b""
        series = b"".join((b"\x0a", _varint(len(refs)), refs, samples, histograms, exemplars, about, since))
        self._parts += (b"\x2a", _varint(len(series)), series)
        self.series += 1

    def finish(self) -> bytes:
        table = []
        for text in self._symbols:
            raw = text.encode()
            table += [b"\x22", _varint(len(raw)), raw]
        return b"".join(table + self._parts)
