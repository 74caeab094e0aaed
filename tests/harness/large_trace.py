"""A trace of hundreds of thousands of spans as OTLP requests: orders that a nightly job works through, shard by shard.

Spans of one operation differ in ids and times only, which have fixed places in their bytes: they are written there for
all of them at once.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from app.cli.demo.trace import any_value
from tables.columns.varint import varint

LARGE_ID: Final = bytes.fromhex("1a49e0000000000000000000000001ae")
_MS: Final = 1_000_000
_SHARDS: Final = 40
_REQUEST_SPANS: Final = 20_000
_SEED: Final = 5
Ints = npt.NDArray[np.int64]


class Step(NamedTuple):
    """One span of an order. parent: number of the step above it; start, duration: in ms"""

    service: str
    name: str
    parent: int
    start: float
    duration: float
    kind: int = 1
    attributes: tuple[tuple[str, str | int], ...] = ()


_SQL: Final = (("db.system", "postgresql"), ("db.query.text", "SELECT * FROM stock WHERE book = $1"))
_STEPS: Final = (
    Step("worker", "process order", -1, 0, 96, 1, (("order.country", "DE"),)),
    Step("worker", "validate", 0, 1, 4),
    Step("worker", "POST /reserve", 0, 6, 40, 3, (("http.request.method", "POST"),)),
    Step("stock", "POST /reserve", 2, 7, 38, 2, (("http.response.status_code", 200),)),
    *(Step("stock", "SELECT stock", 3, 9 + 5 * number, 4.5, 3, _SQL) for number in range(7)),
    Step("worker", "POST /pay", 0, 48, 40, 3, (("http.request.method", "POST"),)),
    Step("payments", "POST /pay", 11, 49, 38, 2, (("http.response.status_code", 200),)),
    Step("payments", "check fraud", 12, 50, 9),
    Step("fraud", "score", 13, 51, 7, 2),
    Step("payments", "charge card", 12, 60, 24, 3, (("payment.provider", "slowpay"),)),
    Step("payments", "INSERT payment", 12, 84, 2.5, 3, (("db.system", "postgresql"),)),
    Step("worker", "publish order", 0, 90, 5, 4, (("messaging.system", "kafka"),)),
)


def large_requests(spans: int, start_ns: int, trace_id: bytes = LARGE_ID) -> list[bytes]:
    """About so many spans: a root, shards, and whole orders below them."""
    orders = max(1, (spans - 1 - _SHARDS) // len(_STEPS))
    rng = np.random.default_rng(_SEED)
    per_shard = -(-orders // _SHARDS)
    number = np.arange(orders)
    shard = number // per_shard
    begin = (20 + (number % per_shard) * 105 + rng.integers(0, 8, orders)) * _MS
    total = int(begin.max()) + 140 * _MS
    none: Ints = np.zeros(1, np.int64)
    shards = 2 + np.arange(_SHARDS)
    parts: list[tuple[str, bytes, Ints, Ints, Ints, Ints]] = [
        ("scheduler", _template(Step("scheduler", "nightly orders", -1, 0, 0)), none + 1, none, none, none + total),
        (
            "worker",
            _template(Step("worker", "work through shard", 0, 0, 0)),
            shards,
            np.ones(_SHARDS, np.int64),
            np.full(_SHARDS, 10 * _MS),
            np.full(_SHARDS, total - 12 * _MS),
        ),
    ]
    first = 2 + _SHARDS
    for at, step in enumerate(_STEPS):
        own = first + number * len(_STEPS) + at
        above = shards[shard] if step.parent < 0 else first + number * len(_STEPS) + step.parent
        start = begin + round(step.start * _MS)
        duration = (step.duration * rng.uniform(0.85, 1.0, orders) * _MS).astype(np.int64)
        failed = rng.random(orders) < (0.004 if step.name == "charge card" else 0)
        for some, wrong in ((~failed, False), (failed, True)):
            if some.any():
                parts.append(
                    (step.service, _template(step, failed=wrong), own[some], above[some], start[some], duration[some])
                )
    return [request for part in parts for request in _requests(*part, start_ns, trace_id)]


# Stand where ids and times come.
_TRACE, _OWN, _ABOVE = b"\xa1" * 16, b"\xa2" * 8, b"\xa3" * 8
_START, _END = 0x2424242424242424, 0x2525252525252525


def _template(step: Step, *, failed: bool = False) -> bytes:
    span = Span(
        trace_id=_TRACE,
        span_id=_OWN,
        parent_span_id=_ABOVE,
        name=step.name,
        kind=step.kind,  # type: ignore[arg-type]
        start_time_unix_nano=_START,
        end_time_unix_nano=_END,
        attributes=[KeyValue(key=key, value=any_value(value)) for key, value in step.attributes],
    )
    if failed:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="the provider did not answer in time"))
    return bytes(span.SerializeToString())


def _requests(
    service: str, template: bytes, own: Ints, above: Ints, start: Ints, duration: Ints, start_ns: int, trace_id: bytes
) -> Iterator[bytes]:
    for at in range(0, len(own), _REQUEST_SPANS):
        some = slice(at, at + _REQUEST_SPANS)
        body = template.replace(_TRACE, trace_id)
        framed = _field(2, body)
        rows = np.tile(np.frombuffer(framed, np.uint8), (len(own[some]), 1))
        begins = start_ns + start[some]
        _write(rows, framed.index(_OWN), own[some].astype(">u8"))
        _write(rows, framed.index(_ABOVE), above[some].astype(">u8"))
        _write(rows, framed.index(_START.to_bytes(8, "little")), begins.astype("<u8"))
        _write(rows, framed.index(_END.to_bytes(8, "little")), (begins + duration[some]).astype("<u8"))
        resource = Resource(attributes=[KeyValue(key="service.name", value=any_value(service))])
        group = _field(1, resource.SerializeToString()) + _field(2, rows.tobytes())
        yield _field(1, group)


def _write(rows: npt.NDArray[np.uint8], at: int, numbers: npt.NDArray[np.generic]) -> None:
    rows[:, at : at + 8] = np.frombuffer(numbers.tobytes(), np.uint8).reshape(-1, 8)


def _field(number: int, body: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(body)) + body
