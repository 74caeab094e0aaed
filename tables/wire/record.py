"""The records of topic `spans`: one batch of spans of one partition; of one tenant, or of several with few spans each.

key      the tenant's name, UTF-8; empty for a shared record
headers  `v`  format version, decimal: 1 for a record of one tenant, 2 for a shared one, 3 for either with requests
              instead of columns
         `n`  number of spans, decimal
         `m`  only if shared: whose they are, `<tenant>:<spans>` joined by commas, in the order of the rows
         `p`  how many partitions the topic had for the writer, decimal; records of earlier versions do not say
         `t`  least and greatest start of a span, unix nanoseconds, `<min>-<max>` decimal
value    4 bytes: length of what follows when decompressed, little-endian
         zstd of an uncompressed Arrow IPC stream with one record batch (columns: see `wire.otlp`); in version 3 of an
         OTLP ExportTraceServiceRequest, whose spans are the rows (see `wire.request_records`)

Compressing the record as a whole costs half of what compressing each Arrow buffer does, and is smaller.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import ipc

from tables import zstd_contexts
from tables.errors import NEWER, WireError
from tables.tenant import valid_tenant
from tables.wall import NativePanic, walled
from tables.wire.record_columns import check_values, checked, is_trace_ids, typed

VERSION: Final = b"1"
VERSION_SHARED: Final = b"2"
VERSION_REQUESTS: Final = b"3"
Headers = list[tuple[str, bytes]]

_LENGTH_BYTES: Final = 4
_WRITE: Final = ipc.IpcWriteOptions(compression=None, use_threads=False)
_READ: Final = ipc.IpcReadOptions(use_threads=False)
_READ_FIRST: Final = ipc.IpcReadOptions(use_threads=False, included_fields=[0])
_ZSTD: Final = pa.Codec("zstd", compression_level=1)
# A record is made from at most some MB of requests; more than this is not ours.
_DECOMPRESSED_BYTES_MAX: Final = 256 << 20
_CONTINUES: Final = b"\xff" * 4  # in front of each message of an Arrow stream
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_INT64_MAX: Final = 2**63 - 1
_SPANS_MAX: Final = 2**31 - 1  # rows of a batch


@dataclass(frozen=True, slots=True)
class RecordInfo:
    """The content of a record's headers. runs: (tenant, spans) in the order of the rows; empty for a record of one
    tenant; of_requests: whether the value holds OTLP requests, not columns
    """

    spans: int
    start_min_ns: int
    start_max_ns: int
    runs: tuple[tuple[str, int], ...] = ()
    of_requests: bool = False
    partitions: int = 0  # among how many the writer has split the traces; 0: it does not say


def with_partitions(headers: Headers, partitions: int) -> Headers:
    """The headers of a record whose traces were split among so many partitions."""
    return [*headers, ("p", str(partitions).encode())]


def encode(spans: pa.RecordBatch, runs: Sequence[tuple[str, int]] = ()) -> tuple[bytes, Headers]:
    """A record's value and headers. runs: for a shared one, tenants and numbers of spans in the order of the rows."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, spans.schema, options=_WRITE) as writer:
        writer.write_batch(spans)
    range_ = pc.min_max(spans.column("start_ns"))
    info = RecordInfo(len(spans), range_["min"].as_py() or 0, range_["max"].as_py() or 0, tuple(runs))
    return _compressed(sink.getvalue()), _headers(VERSION_SHARED if runs else VERSION, info)


def encode_requests(requests: Sequence[bytes], info: RecordInfo) -> tuple[bytes, Headers]:
    """As `encode`, of OTLP requests. info: what is in them; spans of the same tenant come together"""
    # One after the other they are one request: lists of protobuf follow each other.
    return _compressed(b"".join(requests)), _headers(VERSION_REQUESTS, info)


def _compressed(body: "bytes | pa.Buffer") -> bytes:
    view = memoryview(body)
    return len(view).to_bytes(_LENGTH_BYTES, "little") + zstd_contexts.compress(view)


def _headers(version: bytes, info: RecordInfo) -> Headers:
    headers = [("v", version), ("n", b"%d" % info.spans), ("t", b"%d-%d" % (info.start_min_ns, info.start_max_ns))]
    if info.runs:
        headers.append(("m", ",".join(f"{tenant}:{count}" for tenant, count in info.runs).encode()))
    return headers


def read_headers(headers: Iterable[tuple[str, bytes]] | None) -> RecordInfo:
    """The content of the headers. Raises: WireError for another version, and for missing or invalid headers"""
    found = dict(headers or ())
    version = found.get("v")
    if version not in {VERSION, VERSION_SHARED, VERSION_REQUESTS}:
        raise WireError(f"format version {version!r} in header `v`; this build reads versions 1, 2 and 3; {NEWER}")
    try:
        # The range is written `<min>-<max>`; a minus sign in front of either is part of the number.
        first, _, last = found["t"].decode().rpartition("-")
        first, last = (first[:-1], f"-{last}") if first.endswith("-") else (first, last)
        spans, start_min_ns, start_max_ns = int(found["n"]), int(first), int(last)
        partitions = int(found.get("p") or 0)
    except (KeyError, ValueError, AttributeError) as err:  # a header may have no value
        raise WireError(f"header `n` or `t` is missing, or one of them or `p` not a number: {err}") from err
    if not 0 < spans <= _SPANS_MAX:
        raise WireError(f"header `n` is {spans:.0e}; a record holds from one to {_SPANS_MAX} spans")
    if not 0 <= partitions <= _SPANS_MAX:
        raise WireError(f"header `p` is {partitions:.0e}; that is no number of partitions")
    if min(start_min_ns, start_max_ns) < ~_INT64_MAX or max(start_min_ns, start_max_ns) > _INT64_MAX:
        raise WireError("header `t` holds times that are not of 64 bits")
    of_requests = version == VERSION_REQUESTS
    is_shared = version == VERSION_SHARED or (of_requests and "m" in found)
    runs = _runs(found.get("m") or b"", spans) if is_shared else ()
    return RecordInfo(spans, start_min_ns, start_max_ns, runs, of_requests, partitions)


def _runs(header: bytes, spans: int) -> tuple[tuple[str, int], ...]:
    runs: dict[str, int] = {}
    for item in header.decode(errors="replace").split(","):
        tenant, _, count = item.partition(":")
        if not valid_tenant(tenant) or tenant in runs or not count.isdecimal() or not (number := int(count)):
            raise WireError(f"{item[:200]!r} in header `m` is not `<tenant>:<spans>`, or is the tenant's second")
        runs[tenant] = number
    if sum(runs.values()) != spans:
        raise WireError(f"header `m` says {sum(runs.values())} spans, header `n` {spans}")
    return tuple(runs.items())


def decode(value: bytes) -> pa.RecordBatch:
    """The spans of a record, whoever wrote it; see `record_columns`. Raises: WireError if the value is invalid"""
    message, batch = _decode(value, _READ)
    return checked(batch, message)


def decode_typed(value: bytes) -> tuple[bytes, pa.RecordBatch]:
    """As `decode`, but values may be null that must not be (see `record_columns.typed`). Raises: WireError

    Out: also the schema as the record has it; batches with the same have the same columns, unless it is empty
    """
    message, batch = _decode(value, _READ)
    return message, typed(batch, message)


def decoded_bytes(value: bytes) -> int:
    """Bytes of the decoded record, as it declares."""
    return int.from_bytes(value[:_LENGTH_BYTES], "little")


def decode_trace_ids(value: bytes) -> pa.Array:
    """Only the trace ids of a record's spans. Raises: WireError"""
    _, batch = _decode(value, _READ_FIRST)
    if batch.schema.names != ["trace_id"] or not is_trace_ids(batch.schema.types[0]) or batch.column(0).null_count:
        raise WireError("the first column is not trace_id")
    check_values(batch)
    return batch.column(0)


def requests_in(value: bytes) -> bytes:
    """The OTLP request in a record of version 3. Raises: WireError if the value cannot be decompressed"""
    length = _checked_length(value)
    packed = memoryview(value)[_LENGTH_BYTES:]
    with suppress(ValueError):
        return walled(zstd_contexts.decompress, packed, length)
    try:  # perhaps another writer's, of several frames
        return bytes(walled(_ZSTD.decompress, packed, length, asbytes=True))
    except MemoryError:
        raise
    except Exception as err:
        raise WireError(f"not a zstd-compressed request: {err}") from err


def _checked_length(value: bytes) -> int:
    """Size of the decompressed value. Raises: WireError"""
    length = decoded_bytes(value)
    if len(value) <= _LENGTH_BYTES or length > _DECOMPRESSED_BYTES_MAX:
        raise WireError(f"{len(value)} bytes that claim to decompress to {length} bytes")
    if (size := _content_size(value)) is not None and size != length:
        raise WireError(f"a zstd frame of {size} bytes that claims to be one of {length}")
    return length


def _decode(value: bytes, options: ipc.IpcReadOptions) -> tuple[bytes, pa.RecordBatch]:
    length = _checked_length(value)
    try:
        return walled(_read, value, length, options)
    except MemoryError:
        raise
    except NativePanic as err:
        raise WireError(f"not a zstd-compressed Arrow stream: {err}", "panic") from err
    except Exception as err:  # pyarrow raises many kinds, KeyError and NotImplementedError among them
        raise WireError(f"not a zstd-compressed Arrow stream: {err}") from err


def _read(value: bytes, length: int, options: ipc.IpcReadOptions) -> tuple[bytes, pa.RecordBatch]:
    body = _ZSTD.decompress(memoryview(value)[_LENGTH_BYTES:], length)
    return _schema_message(memoryview(body).cast("B")), ipc.open_stream(body, options=options).read_next_batch()


def _schema_message(stream: memoryview) -> bytes:
    """The first message of an Arrow stream, which is the schema; b"": it has the form of old versions, or none."""
    if stream[:4] != _CONTINUES:
        return b""
    return bytes(stream[: 8 + int.from_bytes(stream[4:8], "little")])


def _content_size(value: bytes) -> int | None:
    """The size that the zstd frame declares. Memory is taken before the content is checked."""
    frame = value[_LENGTH_BYTES : _LENGTH_BYTES + 18]
    if frame[:4] != _ZSTD_MAGIC or len(frame) < 6:
        return None
    single, width = frame[4] >> 5 & 1, (0, 2, 4, 8)[frame[4] >> 6]
    at = 5 + (not single) + (0, 1, 2, 4)[frame[4] & 3]
    if not width:
        return frame[at] if single and at < len(frame) else None
    return int.from_bytes(frame[at : at + width], "little") + (256 if width == 2 else 0)
