"""Snapshots → Prometheus remote-write requests, uncompressed: 1.0 (prometheus.WriteRequest) or 2.0
(io.prometheus.write.v2.Request).

All samples of a push have the same time, so they have the same width. Per series, the encoder only joins a few ready
byte strings.

Source: Prometheus's remote-write specifications.
"""

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from agents.generator.remote_write.native_bytes import histogram_fields, zero_histogram
from agents.generator.remote_write.request_body import Body, Body1, Body2
from agents.generator.series.snapshot import ExemplarsOf, Metric, Natives, Snapshot
from tables.columns.varint import varint, varints

# A NaN that says "this series has ended here": prometheus/model/value/value.go, StaleNaN.
STALE: Final = struct.pack("<Q", 0x7FF0000000000002)

_SAMPLE: Final = b"\x12\x10\x09"  # TimeSeries.samples of 16 bytes, then Sample.value
_TIME: Final = b"\x10"  # Sample.timestamp
# Times take 6 bytes as a varint: all between 1971 and 2109.
_TIME_MIN_MS, _TIME_MAX_MS = 1 << 35, (1 << 42) - 1
_BODIES: Final[dict[int, type[Body1] | type[Body2]]] = {1: Body1, 2: Body2}


def requests(
    snapshot: Snapshot, time_ms: int, created_ms: int, series_max: int, *, version: int = 1, exemplars: bool = True
) -> Iterator[bytes]:
    """Requests of at most `series_max` series, for the protocol's version 1 or 2.

    time_ms: the time of all samples. A new series begins with a 0 at created_ms, so that its first increase is visible.
    Raises: ValueError for other versions and impossible times
    """
    for at in (time_ms, created_ms):
        if not _TIME_MIN_MS <= at <= _TIME_MAX_MS:
            raise ValueError(f"time {at} ms is not between 1971 and 2109: is the machine's clock wrong?")
    if version not in _BODIES:
        raise ValueError(f"remote write has versions 1 and 2; got {version}")
    writer = _Writer(snapshot, time_ms, created_ms, series_max, version, exemplars=exemplars)
    yield from writer.scalars()
    yield from writer.natives()
    yield from writer.stale()
    if writer.body.series:
        yield writer.body.finish()


class _Writer:
    """Writes one snapshot. Series go into `body`; a full body is yielded."""

    def __init__(
        self, snapshot: Snapshot, time_ms: int, created_ms: int, series_max: int, version: int, *, exemplars: bool
    ) -> None:
        self._snapshot, self._version, self._series_max = snapshot, version, series_max
        self._exemplars = exemplars
        self._time, self._created = varint(time_ms), varint(created_ms)
        self._new_body()

    def _new_body(self) -> None:
        self.body: Body = _BODIES[self._version](self._created, self._snapshot.trace_id_label)

    def _turn(self) -> bytes:
        """Returns the full body and begins a new one."""
        full = self.body.finish()
        self._new_body()
        return full

    def scalars(self) -> Iterator[bytes]:
        """Bodies with counters, gauges, and the columns of classic histograms."""
        snapshot = self._snapshot
        zero = _SAMPLE + bytes(8) + _TIME + self._created
        samples, width = self._samples(snapshot.values)
        exemplars = self._exemplar_pieces(snapshot.exemplars)
        at = 0
        for row, labels in enumerate(snapshot.labels):
            pieces = self.body.pieces(labels)
            shown, created = snapshot.shown[row].tolist(), snapshot.created[row].tolist()
            for column, metric in enumerate(snapshot.metrics):
                sample = samples[at : at + width]
                at += width
                if not shown[column]:
                    continue
                if self.body.series == self._series_max:
                    yield self._turn()
                    pieces = self.body.pieces(labels)
                new = created[column]
                found = exemplars.get(row * len(shown) + column) if exemplars else None
                extra = b"".join([self.body.exemplar(*one) for one in found]) if found else b""
                self.body.add(pieces, metric, zero + sample if new else sample, b"", extra, created=new)

    def _samples(self, values: npt.NDArray[np.float64]) -> tuple[bytes, int]:
        """All samples, concatenated, and the size of one in bytes."""
        time = np.frombuffer(_TIME + self._time, np.uint8)
        head = np.frombuffer(_SAMPLE, np.uint8)
        out = np.empty((values.size, len(head) + 8 + len(time)), np.uint8)
        out[:, : len(head)] = head
        out[:, len(head) : len(head) + 8] = np.ascontiguousarray(values, "<f8").reshape(-1, 1).view(np.uint8)
        out[:, len(head) + 8 :] = time
        return out.tobytes(), out.shape[1]

    def natives(self) -> Iterator[bytes]:
        """Request bodies with the native histograms, at most `series_max` in each."""
        natives = self._snapshot.natives
        if natives is None:
            return
        fields = histogram_fields(natives, self._time)
        exemplars = self._exemplar_pieces(self._snapshot.native_exemplars)
        schemas, created = natives.state.schemas.tolist(), natives.created.tolist()
        of, rows = natives.of.tolist(), natives.rows.tolist()
        for number, field in enumerate(fields):
            if self.body.series == self._series_max:
                yield self._turn()
            pieces = self.body.pieces(self._snapshot.labels[rows[number]])
            histograms = self.body.histogram(field)
            if created[number]:
                histograms = self.body.histogram(self._zero(natives, schemas[number])) + histograms
            extra = b"".join([self.body.exemplar(*one) for one in exemplars.get(number, ())])
            self.body.add(pieces, natives.metrics[of[number]], b"", histograms, extra, created=created[number])

    def _zero(self, natives: Natives, schema: int) -> bytes:
        return zero_histogram(schema, self._created, bytes(8), float_counts=natives.float_counts)

    def stale(self) -> Iterator[bytes]:
        """Bodies with stale markers for the series that have ended."""
        marker = _SAMPLE + STALE + _TIME + self._time
        natives = self._snapshot.natives
        native_metrics = natives.metrics if natives is not None else []
        ended = b"" if natives is None else zero_histogram(0, self._time, STALE, float_counts=natives.float_counts)
        for labels, sent, native_sent in self._snapshot.stale:
            gone: list[tuple[Metric, bool]] = []
            gone += [(metric, False) for metric, one in zip(self._snapshot.metrics, sent, strict=True) if one]
            gone += [(metric, True) for metric, one in zip(native_metrics, native_sent, strict=False) if one]
            for metric, native in gone:
                if self.body.series == self._series_max:
                    yield self._turn()
                pieces = self.body.pieces(labels)
                histogram = self.body.histogram(ended) if native else b""
                self.body.add(pieces, metric, b"" if native else marker, histogram, b"", created=False)

    def _exemplar_pieces(self, found: ExemplarsOf | None) -> dict[int, list[tuple[str, bytes, bytes]]]:
        """Trace id, value and time of each series' exemplars."""
        out: dict[int, list[tuple[str, bytes, bytes]]] = {}
        if found is None or not self._exemplars:
            return out
        ids = found.spans["trace_id"].tobytes().hex()
        values = np.ascontiguousarray(found.spans["seconds"]).tobytes()
        times, bounds = varints(found.spans["time_ms"].astype(np.uint64))
        ends = bounds.tolist()
        for number, series in enumerate(found.series.tolist()):
            id_, value = ids[32 * number : 32 * number + 32], values[8 * number : 8 * number + 8]
            out.setdefault(series, []).append((id_, value, times[ends[number] : ends[number + 1]]))
        return out
