"""A metrics generator fed with requests, and what its pushes say, decoded by a parser of their own."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tables.generator.config import GeneratorConfig
from tables.generator.tenant import TenantGenerator, encoded
from tables.wire import record
from tables.wire.otlp import OtlpDecoder
from tables.wire.split import split

DECODER = OtlpDecoder()
NOW_MS = 1_795_259_600_000

Samples = list[tuple[int, float]]
Series = dict[frozenset[tuple[str, str]], Samples]


class Fed:
    """A tenant's generator; the clock stands still unless it is told otherwise."""

    def __init__(self, config: GeneratorConfig | None = None, partitions: int = 1) -> None:
        self.generator = TenantGenerator(config or GeneratorConfig())
        self.partitions = partitions
        self.now_ms = NOW_MS
        self.pushed_ms = NOW_MS - 15_000

    def take(self, *requests: bytes) -> "Fed":
        """The requests as one record for each partition."""
        for part in split(DECODER.decode(requests).spans, self.partitions):
            spans = record.decode(record.encode(part.spans)[0])
            self.generator.add(part.partition, spans, self.now_ms, self.now_ms / 1000)
        return self

    def wait(self, seconds: float) -> "Fed":
        """Nothing comes for so long."""
        self.now_ms += round(seconds * 1000)
        for partition in range(self.partitions):
            self.generator.idle(partition, self.now_ms)
        return self

    def push(self) -> Series:
        """All samples of a push."""
        self.now_ms = max(self.now_ms, self.pushed_ms + 2)
        snapshots = self.generator.collect(self.now_ms / 1000)
        bodies = list(encoded(snapshots, self.now_ms, self.pushed_ms + 1, series_max=7))
        self.pushed_ms = self.now_ms
        return decoded(bodies)

    def values(self, name: str, *without: str) -> dict[tuple[str, ...], float]:
        """The last value of each series of a metric, by the label values in order of their names."""
        return values(self.push(), name, *without)


def values(series: Series, name: str, *without: str) -> dict[tuple[str, ...], float]:
    """As `Fed.values`. without: labels that are left out."""
    out = {}
    for labels, samples in series.items():
        named = dict(labels)
        if named.pop("__name__") == name:
            key = tuple(value for label, value in sorted(named.items()) if label not in without)
            assert key not in out
            out[key] = samples[-1][1]
    return out


def decoded(bodies: Iterable[bytes]) -> Series:
    """Requests as label sets and samples. No series may be there twice."""
    out: Series = {}
    for body in bodies:
        for _, one in _fields(body):
            labels: list[tuple[str, str]] = []
            samples: Samples = []
            for number, value in _fields(one):
                inner = dict(_fields(value))
                if number == 1:
                    labels.append((inner[1].decode(), inner[2].decode()))
                else:
                    samples.append((inner[2], inner[1]))
            assert labels == sorted(labels), "Prometheus wants labels in order"
            assert samples == sorted(samples, key=lambda sample: sample[0])
            assert frozenset(labels) not in out
            out[frozenset(labels)] = samples
    return out


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag & 7 == 0:
            value, at = _varint(data, at)
            yield tag >> 3, value
        elif tag & 7 == 1:
            yield tag >> 3, struct.unpack_from("<d", data, at)[0]
            at += 8
        else:
            length, at = _varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length


def _varint(data: Sequence[int], at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return number, at
