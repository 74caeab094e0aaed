"""OTLP requests → records of topic `spans`. Quick requests are encoded together, slow ones one by one and in pieces."""

import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa
from prometheus_client import Counter

from agents.distributor.record_producer import Record
from agents.distributor.requests import Encoded as Encoded
from agents.distributor.requests import Outcome as Outcome
from agents.distributor.requests import Request as Request
from agents.distributor.requests import joined, summed
from agents.distributor.small_batches import BATCH_BYTES_MAX, encode_small
from agents.distributor.span_inspector import RequestFacts, SpanInspector
from agents.distributor.trace_sizes import Charge
from agents.limited_log import limited_logger
from tables.errors import FaultyRequests, NeedsSlowPath, WireError
from tables.wall import walled
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.otlp.pieces import Cutter
from tables.wire.otlp.small_requests import SmallSplitter
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
# Decoders for limits of attributes that single tenants have.
_OWN_DECODERS_MAX: Final = 16


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

    def __init__(
        self,
        message_bytes_max: int,
        attribute_bytes_max: int,
        decode_s_max: float,
        inspector: SpanInspector | None = None,
    ) -> None:
        """decode_s_max: CPU seconds that `encode_each` may spend on one request; inspector: None: spans are not looked
        at
        """
        self._message_bytes_max, self._decode_s_max = message_bytes_max, decode_s_max
        self._decoder, self._splitter = OtlpDecoder(attribute_bytes_max), SmallSplitter(attribute_bytes_max)
        self._inspector = inspector
        self._own_decoders: OrderedDict[int, OtlpDecoder] = OrderedDict()

    def encode(self, requests: Sequence[Request], partitions: int, *, fast_path_only: bool = False) -> Encoded:
        """Encodes all requests together.

        Raises: WireError if any request is malformed; NeedsSlowPath if `fast_path_only` is set and decoding takes long;
        NativePanic, or any other error that the bytes cause in the decoder
        """
        if fast_path_only and sum(len(request.body) for request in requests) <= BATCH_BYTES_MAX:
            encoded = walled(self._encode_small, requests, partitions)
            if encoded is not None:
                return encoded
        return walled(self._encode_all, requests, partitions, fast_path_only=fast_path_only)

    def _encode_small(self, requests: Sequence[Request], partitions: int) -> Encoded | None:
        """Encodes requests as they are, and only those that need columns as `_encode_all`. None: all of them do."""
        inspector = self._inspector
        names = {one.tenant for one in requests} if inspector is not None else set()
        looked_at = {name for name in names if inspector is not None and inspector.needs_columns(name)}
        numbers = [number for number, request in enumerate(requests) if request.tenant not in looked_at]
        tenants, bodies = [requests[n].tenant for n in numbers], [requests[n].body for n in numbers]
        small = encode_small(self._splitter, tenants, bodies, partitions, self._message_bytes_max)
        if small is None or not small.records:
            return None
        received = dict(zip(numbers, small.received, strict=True))
        others = [number for number in range(len(requests)) if received.get(number) is None]
        outcomes = [Outcome(received.get(number) or 0) for number in range(len(requests))]
        if not others:
            return Encoded(outcomes, small.records, small.spans)
        rest = self._encode_all([requests[number] for number in others], partitions, fast_path_only=True)
        for number, outcome in zip(others, rest.outcomes, strict=True):
            outcomes[number] = outcome
        return joined(outcomes, [Encoded([], small.records, small.spans), rest])

    def _encode_all(self, requests: Sequence[Request], partitions: int, *, fast_path_only: bool) -> Encoded:
        """Together, but for tenants that have limits of attributes of their own."""
        inspector = self._inspector
        own = [] if inspector is None else inspector.attribute_limits([request.tenant for request in requests])
        if not own:
            return self._encode(self._decoder, requests, partitions, fast_path_only=fast_path_only)
        groups = {limit: [at for at, one in enumerate(own) if one == limit] for limit in own}
        outcomes: dict[int, Outcome] = {}
        parts: list[Encoded] = []
        for limit, numbers in groups.items():
            group, decoder = [requests[number] for number in numbers], self._decoder_of(limit)
            try:
                parts.append(self._encode(decoder, group, partitions, fast_path_only=fast_path_only))
            except BaseException as err:
                self.take_back([charge for part in parts for charge in part.charges])
                if isinstance(err, FaultyRequests):
                    raise FaultyRequests({numbers[at]: fault for at, fault in err.faults.items()}) from err
                raise
            outcomes |= zip(numbers, parts[-1].outcomes, strict=True)
        return joined([outcomes[number] for number in range(len(requests))], parts)

    def _decoder_of(self, attribute_bytes_max: int) -> OtlpDecoder:
        """The decoder for a limit of attributes; 0: the one for all."""
        if not attribute_bytes_max:
            return self._decoder
        found = self._own_decoders.pop(attribute_bytes_max, None) or OtlpDecoder(attribute_bytes_max)
        self._own_decoders[attribute_bytes_max] = found
        if len(self._own_decoders) > _OWN_DECODERS_MAX:
            self._own_decoders.popitem(last=False)
        return found

    def take_back(self, charges: Sequence[Charge]) -> None:
        """The spans of these charges do not go on: their traces have not grown."""
        if charges and self._inspector is not None:
            self._inspector.rules.take_back(charges)

    def _encode(
        self, decoder: OtlpDecoder, requests: Sequence[Request], partitions: int, *, fast_path_only: bool
    ) -> Encoded:
        decoded = decoder.decode([request.body for request in requests], fast_path_only=fast_path_only)
        names = list(dict.fromkeys(request.tenant for request in requests))
        tenant_of = None
        if len(names) > 1:
            by_request = np.array([names.index(request.tenant) for request in requests], np.int32)
            tenant_of = by_request[decoded.request_of]
        spans, request_of = decoded.spans, decoded.request_of
        inspected = None
        if self._inspector is not None and not self._inspector.idle():
            facts = RequestFacts(names, tenant_of, [len(r.body) for r in requests], [r.received_ns for r in requests])
            inspected = self._inspector.inspect(decoded, facts)
            if (keep := inspected.keep) is not None:
                spans, request_of = spans.filter(pa.array(keep)), request_of[keep]
                tenant_of = None if tenant_of is None else tenant_of[keep]
        records: list[Record] = []
        too_large: list[int] = []
        for part in split(spans, partitions, tenant_of):
            _encode(part, names, self._message_bytes_max, records, too_large)
        left_out = np.bincount(request_of[too_large], minlength=len(requests))
        counts = zip(decoded.received.tolist(), decoded.rejected.tolist(), left_out.tolist(), strict=True)
        outcomes = [Outcome(*each) for each in counts]
        if inspected is None or self._inspector is None:
            return Encoded(outcomes, records, len(spans) - len(too_large))
        for number, discarded in inspected.discarded.items():
            outcomes[number] = replace(outcomes[number], discarded=discarded)
        self._inspector.rules.keep(inspected.charges)
        return Encoded(outcomes, records, len(spans) - len(too_large), inspected.charges, inspected.usage)

    def encode_each(self, requests: Sequence[Request], partitions: int) -> Encoded:
        """Encodes large requests in pieces and the others together. It leaves out a request that cannot be decoded,
        whatever error it causes; its outcome says why.
        """
        outcomes = {number: _refused(requests[number], fault) for number, fault in self._unreadable(requests).items()}
        parts: list[Encoded] = []
        # Without those that cannot be read the others are in few groups: records stay large, whoever sends beside them.
        for numbers in _groups(requests, [number for number in range(len(requests)) if number not in outcomes]):
            first = requests[numbers[0]]
            if len(numbers) == 1 and (len(first.body) > _SMALL_PIECE_BYTES or _is_dense([first])):
                good, encoded = numbers, self._alone(first, partitions)
            else:
                good, encoded = self._together(requests, numbers, partitions, outcomes)
            outcomes |= zip(good, encoded.outcomes, strict=True)
            parts.append(encoded)
        return joined([outcomes[number] for number in range(len(requests))], parts)

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
        return list(encoded), joined([part.outcomes[0] for part in parts], parts)

    def _alone(self, request: Request, partitions: int) -> Encoded:
        try:
            return self._in_pieces(request, partitions)
        except Exception as err:  # noqa: BLE001  # see `_refused`
            return Encoded([_refused(request, err)], [], 0)

    def _in_pieces(self, request: Request, partitions: int) -> Encoded:
        """Encodes one request piece by piece. Raises: WireError"""
        cutter = self._decoder.cutter(self._message_bytes_max)
        parts: list[Encoded] = []
        end_s = time.thread_time() + self._decode_s_max
        try:
            for encoded in self._pieces(request, cutter, partitions):
                parts.append(encoded)
                if time.thread_time() > end_s:
                    SLOW.inc()
                    raise WireError(
                        f"a request of {len(request.body)} bytes that takes longer to decode than "
                        f"{self._decode_s_max:g} s (distributor.decode_s_max); send smaller ones",
                        "too_slow",
                    )
        except BaseException:
            self.take_back([charge for part in parts for charge in part.charges])
            raise
        outcome = summed([outcome for part in parts for outcome in part.outcomes], cutter.too_large)
        return joined([outcome], parts)

    def _pieces(self, request: Request, cutter: Cutter, partitions: int) -> Iterator[Encoded]:
        dense = _is_dense([request])
        bodies = cutter.pieces(request.body, _SMALL_PIECE_BYTES if dense else _PART_BYTES)
        for piece in _joined(bodies, _SMALL_PIECE_BYTES if dense else PIECE_BYTES):
            try:
                yield self.encode([request._replace(body=body) for body in piece], partitions, fast_path_only=True)
            except NeedsSlowPath:
                for body in piece:
                    for small in cutter.pieces(body, _SMALL_PIECE_BYTES):
                        yield self.encode([request._replace(body=small)], partitions)


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
