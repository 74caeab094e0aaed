"""OTLP requests → records of topic `spans`. Quick requests are encoded together, slow ones one by one and in pieces."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from prometheus_client import Counter

from agents.distributor.record_producer import Record
from agents.distributor.small_batches import BATCH_BYTES_MAX, encode_small
from agents.limited_log import limited_logger
from tables.errors import FaultyRequests, NeedsSlowPath, WireError
from tables.wall import walled
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.pieces import Cutter
from tables.wire.split import RowBatch, Run, split, without_unused_values

log = limited_logger(__name__)

SLOW = Counter(
    "stretto_requests_too_slow_total", "Requests refused because decoding takes longer than distributor.decode_s_max."
)

# Key, headers and framing of a Kafka message.
_OVERHEAD_BYTES: Final = 4096
# ptars holds the GIL while it decodes: 5 ms for a megabyte of ordinary spans, up to 30 ms for a megabyte of other
# small messages, 80 ms for a megabyte of empty spans.
PIECE_BYTES: Final = 1 << 20
_SMALL_PIECE_BYTES: Final = 64 << 10
# A piece is decoded in parts of this size: in larger parts, too many bytes might be nested groups, which need a check
# (see `tables.wire.otlp.framing`).
_PART_BYTES: Final = 320 << 10
# Many small messages are slow per byte. An empty message has its length, 0; spans, the slowest, have their tag.
# In ordinary requests about one byte in a hundred is the former, one in thirty the latter.
_SPAN_TAG: Final = 0x12
_DENSE: Final = 1 / 8
# This many bytes decode in some milliseconds, whatever they are.
_FEW: Final = 20_000
# Small requests are looked at together: each takes numpy some microseconds, whatever its size.
_JOINED_BYTES_MAX: Final = 256 << 10
# Of a batch, so many requests that cannot be read are told where their fault is.
_DETAILED_MAX: Final = 4


class Request(NamedTuple):
    """One OTLP request of a tenant."""

    tenant: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of one request.

    malformed: why the whole request was refused; all counts are then 0
    reason: the reason of the refusal as a metric label (see `WireError`)
    """

    received: int = 0
    rejected: int = 0  # for an invalid trace id or span id
    too_large: int = 0  # for not fitting into a Kafka message, or holding too much to be decoded
    malformed: str | None = None
    reason: str = ""


class Encoded(NamedTuple):
    """The records of some requests. spans: number of spans in the records"""

    outcomes: list[Outcome]
    records: list[Record]
    spans: int


def is_slow(requests: Sequence[Request]) -> bool:
    """Whether decoding the requests together would delay others: one is large, or they consist of very small
    messages.
    """
    return any(len(request.body) > PIECE_BYTES for request in requests) or _is_dense(requests)


def _is_dense(requests: Sequence[Request]) -> bool:
    total = sum(len(request.body) for request in requests)
    if total <= _FEW:
        return False
    if total > _JOINED_BYTES_MAX:
        counts = [_dense_bytes(request.body) for request in requests]
    else:
        counts = [_dense_bytes(b"".join([request.body for request in requests]))]
    return sum(counts) > max(_FEW, total * _DENSE)


def _dense_bytes(body: bytes) -> int:
    codes = np.frombuffer(body, np.uint8)
    zeros = len(codes) - np.count_nonzero(codes)
    return int(max(zeros, np.count_nonzero(codes == _SPAN_TAG)))


class SpanEncoder:
    """Decodes requests and encodes records. Not thread-safe: each thread has its own."""

    def __init__(self, message_bytes_max: int, attribute_bytes_max: int, decode_s_max: float) -> None:
        """decode_s_max: CPU seconds that `encode_each` may spend on one request"""
        self._message_bytes_max, self._decode_s_max = message_bytes_max, decode_s_max
        self._attribute_bytes_max = attribute_bytes_max
        self._decoder = OtlpDecoder(attribute_bytes_max)

    def encode(self, requests: Sequence[Request], partitions: int, *, fast_path_only: bool = False) -> Encoded:
        """Encodes all requests together.

        Raises: WireError if any request is malformed; NeedsSlowPath if `fast_path_only` is set and decoding takes long;
        NativePanic, or any other error that the bytes cause in the decoder
        """
        if fast_path_only and sum(len(request.body) for request in requests) <= BATCH_BYTES_MAX:
            encoded = walled(self._encode_small, requests, partitions)
            if encoded is not None:
                return encoded
        return walled(self._encode, requests, partitions, fast_path_only=fast_path_only)

    def _encode_small(self, requests: Sequence[Request], partitions: int) -> Encoded | None:
        """Encodes requests as they are, and only those that need columns as `_encode`. None: all of them do."""
        tenants, bodies = [one.tenant for one in requests], [one.body for one in requests]
        small = encode_small(tenants, bodies, partitions, self._message_bytes_max, self._attribute_bytes_max)
        if small is None or not small.records:
            return None
        others = [number for number, received in enumerate(small.received) if received is None]
        outcomes = [Outcome(received or 0) for received in small.received]
        if not others:
            return Encoded(outcomes, small.records, small.spans)
        rest = self._encode([requests[number] for number in others], partitions, fast_path_only=True)
        for number, outcome in zip(others, rest.outcomes, strict=True):
            outcomes[number] = outcome
        return Encoded(outcomes, [*small.records, *rest.records], small.spans + rest.spans)

    def _encode(self, requests: Sequence[Request], partitions: int, *, fast_path_only: bool) -> Encoded:
        decoded = self._decoder.decode([request.body for request in requests], fast_path_only=fast_path_only)
        names = list(dict.fromkeys(request.tenant for request in requests))
        tenant_of = None
        if len(names) > 1:
            by_request = np.array([names.index(request.tenant) for request in requests], np.int32)
            tenant_of = by_request[decoded.request_of]
        records: list[Record] = []
        too_large: list[int] = []
        for part in split(decoded.spans, partitions, tenant_of):
            _encode(part, names, self._message_bytes_max, records, too_large)
        left_out = np.bincount(decoded.request_of[too_large], minlength=len(requests))
        counts = zip(decoded.received.tolist(), decoded.rejected.tolist(), left_out.tolist(), strict=True)
        return Encoded([Outcome(*each) for each in counts], records, len(decoded.spans) - len(too_large))

    def encode_each(self, requests: Sequence[Request], partitions: int) -> Encoded:
        """Encodes large requests in pieces and the others together. It leaves out a request that cannot be decoded,
        whatever error it causes; its outcome says why.
        """
        outcomes = {number: _refused(requests[number], fault) for number, fault in self._unreadable(requests).items()}
        records: list[Record] = []
        spans = 0
        # Without those that cannot be read the others are in few groups: records stay large, whoever sends beside them.
        for numbers in _groups(requests, [number for number in range(len(requests)) if number not in outcomes]):
            first = requests[numbers[0]]
            if len(numbers) == 1 and (len(first.body) > _SMALL_PIECE_BYTES or _is_dense([first])):
                good, encoded = numbers, self._alone(first, partitions)
            else:
                good, encoded = self._together(requests, numbers, partitions, outcomes)
            outcomes |= zip(good, encoded.outcomes, strict=True)
            records += encoded.records
            spans += encoded.spans
        return Encoded([outcomes[number] for number in range(len(requests))], records, spans)

    def _unreadable(self, requests: Sequence[Request]) -> dict[int, WireError]:
        """Small requests that are no messages of OTLP. To say what exactly is wrong takes fifty times as long as to
        find them: the first ones are told, and a client that sends hundreds costs little.
        """
        faults: dict[int, WireError] = {}
        for number, request in enumerate(requests):
            if len(request.body) <= _SMALL_PIECE_BYTES:
                fault = self._decoder.unreadable(request.body, details=len(faults) < _DETAILED_MAX)
                if fault is not None:
                    faults[number] = fault
        return faults

    def _together(
        self, requests: Sequence[Request], numbers: list[int], partitions: int, outcomes: dict[int, Outcome]
    ) -> tuple[list[int], Encoded]:
        """Those that are good, and what they became; the others' outcomes are added."""
        good = numbers
        while good:
            try:
                return good, self.encode([requests[number] for number in good], partitions)
            except FaultyRequests as err:
                faults = {good[at]: fault for at, fault in err.faults.items()}
            except Exception:  # noqa: BLE001  # whichever it is, and whatever it does: each is looked at
                return self._one_by_one(requests, good, partitions, outcomes)
            outcomes |= {number: _refused(requests[number], fault) for number, fault in faults.items()}
            good = [number for number in good if number not in faults]
        return [], Encoded([], [], 0)

    def _one_by_one(
        self, requests: Sequence[Request], numbers: list[int], partitions: int, outcomes: dict[int, Outcome]
    ) -> tuple[list[int], Encoded]:
        """As `_together`, each request with records of its own."""
        encoded: dict[int, Encoded] = {}
        for number in numbers:
            try:
                encoded[number] = self.encode([requests[number]], partitions)
            except Exception as err:  # noqa: BLE001  # see `_refused`
                outcomes[number] = _refused(requests[number], err)
        parts = list(encoded.values())
        records = [record for part in parts for record in part.records]
        return list(encoded), Encoded([part.outcomes[0] for part in parts], records, sum(part.spans for part in parts))

    def _alone(self, request: Request, partitions: int) -> Encoded:
        try:
            return self._in_pieces(request, partitions)
        except Exception as err:  # noqa: BLE001  # see `_refused`
            return Encoded([_refused(request, err)], [], 0)

    def _in_pieces(self, request: Request, partitions: int) -> Encoded:
        """Encodes one request piece by piece. Raises: WireError"""
        cutter = self._decoder.cutter(self._message_bytes_max)
        received = rejected = too_large = spans = 0
        records: list[Record] = []
        end_s = time.thread_time() + self._decode_s_max
        for encoded in self._pieces(request, cutter, partitions):
            received += sum(outcome.received for outcome in encoded.outcomes)
            rejected += sum(outcome.rejected for outcome in encoded.outcomes)
            too_large += sum(outcome.too_large for outcome in encoded.outcomes)
            records += encoded.records
            spans += encoded.spans
            if time.thread_time() > end_s:
                SLOW.inc()
                raise WireError(
                    f"a request of {len(request.body)} bytes that takes longer to decode than {self._decode_s_max:g} s "
                    "(distributor.decode_s_max); send smaller ones",
                    "too_slow",
                )
        outcome = Outcome(received + cutter.too_large, rejected, too_large + cutter.too_large)
        return Encoded([outcome], records, spans)

    def _pieces(self, request: Request, cutter: Cutter, partitions: int) -> Iterator[Encoded]:
        dense = _is_dense([request])
        bodies = cutter.pieces(request.body, _SMALL_PIECE_BYTES if dense else _PART_BYTES)
        for piece in _joined(bodies, _SMALL_PIECE_BYTES if dense else PIECE_BYTES):
            try:
                yield self.encode([Request(request.tenant, body) for body in piece], partitions, fast_path_only=True)
            except NeedsSlowPath:
                for body in piece:
                    for small in cutter.pieces(body, _SMALL_PIECE_BYTES):
                        yield self.encode([Request(request.tenant, small)], partitions)


def _joined(bodies: Iterable[bytes], bytes_max: int) -> Iterator[list[bytes]]:
    """Joins consecutive bodies to bodies of about bytes_max."""
    piece: list[bytes] = []
    size = 0
    for body in bodies:
        if piece and size + len(body) > bytes_max:
            yield piece
            piece, size = [], 0
        piece.append(body)
        size += len(body)
    if piece:
        yield piece


def _refused(request: Request, err: Exception) -> Outcome:
    """The outcome of a request that raised. Raises: MemoryError, which says nothing about the request"""
    if isinstance(err, MemoryError):
        raise err
    if isinstance(err, WireError):
        return Outcome(malformed=str(err), reason=err.reason)
    # A fault of ours, or of a library: its neighbours must come through, and sending it again would not help.
    log.error("a request of %d bytes of tenant %s cannot be decoded", len(request.body), request.tenant, exc_info=err)
    return Outcome(malformed="the request cannot be decoded; the server's log says why", reason="unexpected")


def _groups(requests: Sequence[Request], numbers: Sequence[int]) -> Iterator[list[int]]:
    """Groups small requests; each large one is a group by itself."""
    group: list[int] = []
    size = 0
    for number in numbers:
        body_bytes = len(requests[number].body)
        if size + body_bytes > _SMALL_PIECE_BYTES and group:
            yield group
            group, size = [], 0
        group.append(number)
        size += body_bytes
    if group:
        yield group


def _encode(part: RowBatch, names: Sequence[str], bytes_max: int, records: list[Record], too_large: list[int]) -> None:
    """Adds the part as one record, or splits it in halves until each fits. Single spans that do not fit go to
    too_large.
    """
    runs = [(names[run.tenant], run.spans) for run in part.runs]
    shared = len(runs) > 1
    value, headers = record.encode(part.spans, runs if shared else ())
    size = len(value) + sum(len(header) for _, header in headers)
    if size + _OVERHEAD_BYTES <= bytes_max:
        key = b"" if shared else runs[0][0].encode()
        records.append(Record(part.partition, key, value, headers))
        return
    count = len(part.spans)
    if count == 1:
        too_large.append(int(part.rows[0]))
        return
    half = count // 2
    for first, end in ((0, half), (half, count)):
        # Each half has only its own resources and names: one span's huge ones must not weigh on its neighbours.
        piece = without_unused_values(part.spans.slice(first, end - first))
        halved = RowBatch(_cut(part.runs, first, end), part.partition, piece, part.rows[first:end])
        _encode(halved, names, bytes_max, records, too_large)


def _cut(runs: Sequence[Run], first: int, end: int) -> tuple[Run, ...]:
    """The runs of rows first … end."""
    kept: list[Run] = []
    start = 0
    for run in runs:
        spans = min(start + run.spans, end) - max(start, first)
        if spans > 0:
            kept.append(Run(run.tenant, spans))
        start += run.spans
    return tuple(kept)
