"""Records of version 3 → rows of spans. Such a record is cheap to write, and expensive to read alone: many are read
together.

Readers decode the requests as receivers decode large ones, with the same repairs of resources and nested values.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tables.errors import WireError, as_value
from tables.wall import is_fault
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.record import RecordInfo

# ptars holds the GIL for 4 ms for so many bytes.
_AT_ONCE_BYTES: Final = 768 << 10
# Nothing is cut here: receivers have done so.
_ATTRIBUTE_BYTES_MAX: Final = 2**31 - 1
_TRACE_ID: Final = pa.binary(16)


class RequestRecord(NamedTuple):
    """A record's value, and the number of spans that its headers say."""

    value: bytes
    spans: int


@dataclass(slots=True)
class DecodedRecords:
    """batches: rows of the good records in their order; a record's rows are in one batch
    place: batch and first row of each good record, by its number; problems: why the others cannot be read
    """

    batches: list[pa.RecordBatch] = field(default_factory=list)
    place: dict[int, tuple[int, int]] = field(default_factory=dict)
    problems: dict[int, WireError] = field(default_factory=dict)


class _Decoders(threading.local):
    """A decoder for each thread that reads records; made when it is needed."""

    decoder: OtlpDecoder | None = None


_DECODERS: Final = _Decoders()


def decode_records(records: Sequence[RequestRecord], go_on: Callable[[], None] = lambda: None) -> DecodedRecords:
    """Decodes records together. A record that cannot be read is a problem of its own.

    go_on: called between pieces of the work; what it raises ends it
    """
    out = DecodedRecords()
    bodies: list[tuple[int, bytes]] = []
    for number, one in enumerate(records):
        try:
            bodies.append((number, record.requests_in(one.value)))
        except WireError as err:
            out.problems[number] = as_value(err)
    for group in _groups(bodies):
        go_on()
        _decode(group, records, out)
    return out


def decode_record(value: bytes, info: RecordInfo) -> pa.RecordBatch:
    """The spans of one record of any version. info: from its headers. Raises: WireError"""
    if not info.of_requests:
        return record.decode(value)
    decoded = decode_records([RequestRecord(value, info.spans)])
    for problem in decoded.problems.values():
        raise problem
    return decoded.batches[0]


def trace_ids_in(one: RequestRecord) -> pa.Array:
    """Only the trace ids of a record's spans. Raises: WireError"""
    try:
        message = ExportTraceServiceRequest.FromString(record.requests_in(one.value))
    except DecodeError as err:
        raise WireError(f"the record holds no OTLP request: {err}") from err
    ids = [
        span.trace_id for resource in message.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]
    if len(ids) != one.spans or any(len(each) != _TRACE_ID.byte_width for each in ids):
        raise WireError(f"{len(ids)} spans, its headers say {one.spans}; or their trace ids are not of 16 bytes")
    return pa.array(ids, _TRACE_ID)


def _groups(bodies: Sequence[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    group: list[tuple[int, bytes]] = []
    size = 0
    for number, body in bodies:
        if group and size + len(body) > _AT_ONCE_BYTES:
            yield group
            group, size = [], 0
        group.append((number, body))
        size += len(body)
    if group:
        yield group


def _decode(group: list[tuple[int, bytes]], records: Sequence[RequestRecord], out: DecodedRecords) -> None:
    """Adds the group, or halves it until each fault is alone."""
    try:
        decoded: Any = _decoder().decode([body for _, body in group])
    except MemoryError:
        raise
    except BaseException as err:
        if not is_fault(err):
            raise
        if len(group) == 1:
            problem = as_value(err) if isinstance(err, WireError) else WireError(repr(err)[:200], "unexpected")
            out.problems[group[0][0]] = problem
            return
        half = len(group) // 2
        _decode(group[:half], records, out)
        _decode(group[half:], records, out)
        return
    found = np.bincount(decoded.request_of, minlength=len(group))
    good = found == np.array([records[number].spans for number, _ in group])
    spans = decoded.spans if good.all() else decoded.spans.filter(pa.array(good[decoded.request_of]))
    row = 0
    for (number, _), is_good, count in zip(group, good.tolist(), found.tolist(), strict=True):
        if is_good:
            out.place[number] = (len(out.batches), row)
            row += count
        else:
            out.problems[number] = WireError(f"{count} spans, its headers say {records[number].spans}")
    if row:
        out.batches.append(spans)


def _decoder() -> OtlpDecoder:
    found = _DECODERS.decoder
    if found is None:
        found = _DECODERS.decoder = OtlpDecoder(_ATTRIBUTE_BYTES_MAX, owners_kept=256)
    return found
