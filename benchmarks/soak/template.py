"""A workload that is sent again and again, each pass with new ids and at its own time.

Ids and times have a fixed width in OTLP's bytes: a pass overwrites them in place, which costs next to nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from benchmarks.soak import ids
from benchmarks.workload import Requests

Integers = npt.NDArray[np.int64]

# Field numbers of OTLP's messages.
_RESOURCE_SPANS: Final = 1
_SCOPE_SPANS: Final = 2
_SPANS: Final = 2
_TRACE_ID, _SPAN_ID, _PARENT_ID, _START, _END, _EVENTS, _LINKS = 1, 2, 4, 7, 8, 11, 13
_EVENT_TIME: Final = 1
_LINK_TRACE_ID, _LINK_SPAN_ID = 1, 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, slots=True, eq=False)
class _Patches:
    """What is overwritten in one request: byte positions, and which trace, span or time belongs there."""

    data: npt.NDArray[np.uint8]
    trace_at: Integers
    traces: Integers
    span_at: Integers
    spans: Integers
    time_at: Integers
    times_ns: npt.NDArray[np.uint64]  # from the start of the pass


class Template:
    """Requests, their traces and spans, numbered in the order in which they come.

    parts: (traces, requests) how many spans of a trace are in a request
    trace_of, request_of: by span
    first_ns, last_ns: of all spans' times, from the start of the pass
    """

    def __init__(self, path: Path) -> None:
        """Raises ValueError where a request has a span without valid ids."""
        found = [_Finder(request) for request in Requests(path)]
        traces: dict[bytes, int] = {}
        spans: dict[bytes, int] = {}
        trace_of: list[int] = []
        for finder in found:
            for trace_id, span_id in finder.own:
                trace_of.append(traces.setdefault(trace_id, len(traces)))
                spans[span_id] = len(spans)
        if len(spans) != len(trace_of):
            raise ValueError(f"{path}: span ids are not unique")
        start_ns = min(min(finder.times_ns) for finder in found[:1])
        self.trace_of = np.array(trace_of, np.int64)
        self.request_of = np.repeat(np.arange(len(found)), [len(finder.own) for finder in found]).astype(np.int64)
        self.parts = np.zeros((len(traces), len(found)), np.int32)
        np.add.at(self.parts, (self.trace_of, self.request_of), 1)
        self.spans_per_request = self.parts.sum(0).astype(np.int64)
        self._patches = [finder.patches(traces, spans, start_ns) for finder in found]
        signed = [patches.times_ns.view(np.int64) for patches in self._patches]
        self.first_ns = int(min(times.min() for times in signed))
        self.last_ns = int(max(times.max() for times in signed))

    @property
    def requests(self) -> int:
        return len(self._patches)

    @property
    def traces(self) -> int:
        return len(self.parts)

    @property
    def spans(self) -> int:
        return len(self.trace_of)

    def request(self, pass_number: int, index: int, start_ns: int) -> bytes:
        """One request of a pass that began at `start_ns`."""
        of = self._patches[index]
        data = of.data.copy()
        data[of.trace_at[:, None] + np.arange(16)] = ids.trace_ids(ids.words(pass_number, of.traces))
        data[of.span_at[:, None] + np.arange(8)] = ids.span_ids(ids.words(pass_number, of.spans))
        times = (of.times_ns + np.uint64(start_ns)).astype("<u8").view(np.uint8).reshape(-1, 8)
        data[of.time_at[:, None] + np.arange(8)] = times
        return data.tobytes()


class _Finder:
    """Where ids and times are in one serialized request."""

    def __init__(self, request: bytes) -> None:
        self.data = request
        self.own: list[tuple[bytes, bytes]] = []  # trace and span id of each span
        self._traces: list[int] = []  # positions
        self._spans: list[int] = []
        self._times: list[int] = []
        for group in self._messages(0, len(request), _RESOURCE_SPANS):
            for scope in self._messages(*group, _SCOPE_SPANS):
                for span in self._messages(*scope, _SPANS):
                    self._span(*span)
        self.times_ns = [int.from_bytes(request[at : at + 8], "little") for at in self._times]

    def patches(self, traces: dict[bytes, int], spans: dict[bytes, int], start_ns: int) -> _Patches:
        """With the numbers of traces and spans; what is not of this workload (a link's target) stays as it is."""
        trace_at = [at for at in self._traces if self.data[at : at + 16] in traces]
        span_at = [at for at in self._spans if self.data[at : at + 8] in spans]
        return _Patches(
            data=np.frombuffer(self.data, np.uint8),
            trace_at=np.array(trace_at, np.int64),
            traces=np.array([traces[self.data[at : at + 16]] for at in trace_at], np.int64),
            span_at=np.array(span_at, np.int64),
            spans=np.array([spans[self.data[at : at + 8]] for at in span_at], np.int64),
            time_at=np.array(self._times, np.int64),
            times_ns=np.array([time - start_ns for time in self.times_ns], np.int64).view(np.uint64),
        )

    def _span(self, start: int, end: int) -> None:
        trace_id = span_id = b""
        for number, wire, at, after in fields(self.data, start, end):
            if number == _TRACE_ID:
                trace_id = self.data[at:after]
                self._traces.append(at)
            elif number == _SPAN_ID:
                span_id = self.data[at:after]
                self._spans.append(at)
            elif number == _PARENT_ID and at < after:
                self._spans.append(at)
            elif number in (_START, _END) and wire == _FIXED64:
                self._times.append(at)
            elif number == _EVENTS:
                inner = fields(self.data, at, after)
                self._times += [at for number, _, at, _ in inner if number == _EVENT_TIME]
            elif number == _LINKS:
                self._link(at, after)
        if len(trace_id) != 16 or len(span_id) != 8:
            raise ValueError(f"a span with ids of {len(trace_id)} and {len(span_id)} bytes; 16 and 8 are needed")
        self.own.append((trace_id, span_id))

    def _link(self, start: int, end: int) -> None:
        for number, wire, at, after in fields(self.data, start, end):
            if (number, wire, after - at) == (_LINK_TRACE_ID, _BYTES, 16):
                self._traces.append(at)
            elif (number, wire, after - at) == (_LINK_SPAN_ID, _BYTES, 8):
                self._spans.append(at)

    def _messages(self, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
        for number, wire, at, after in fields(self.data, start, end):
            if (number, wire) == (wanted, _BYTES):
                yield at, after


def fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Protobuf's fields in data[start:end]: number, wire type, and where the value begins and ends.

    Raises ValueError for a wire type that proto3 does not have.
    """
    at = start
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire == _VARINT:
            size = _varint(data, at)[1] - at
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at}: this is not proto3")
        yield number, wire, at, at + size
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number, and where the next byte is."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
