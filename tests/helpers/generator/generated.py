"""A metrics generator fed with requests, and what its pushes say."""

from collections.abc import Iterable

from agents.generator.config import GeneratorConfig
from agents.generator.processors.tenant import TenantGenerator
from agents.generator.push.requests import encoded
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split
from tests.helpers.generator.remote_write import OneSeries, decoded_series

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
        return {labels: one.samples for labels, one in self.push_whole()[0].items()}

    def push_whole(self, *, exemplars: bool = True) -> list[dict[frozenset[tuple[str, str]], OneSeries]]:
        """A push as remote write 1.0 and 2.0 say it."""
        self.now_ms = max(self.now_ms, self.pushed_ms + 2)
        snapshots = self.generator.collect(self.now_ms / 1000)
        times = self.now_ms, self.pushed_ms + 1
        self.pushed_ms = self.now_ms
        return [
            decoded_series(encoded(snapshots, *times, series_max=7, version=version, exemplars=exemplars), version)
            for version in (1, 2)
        ]

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
    """The samples of 1.0 requests. No series may be there twice."""
    return {labels: one.samples for labels, one in decoded_series(bodies).items()}
