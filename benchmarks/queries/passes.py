"""One workload sent several times as different spans: each pass has trace ids, order ids and times of its own.

Ten million spans thus need the file and the truth of one million. Span ids stay: they are unique within a trace.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.workload import LENGTH, spans_of

ORDER_ID: Final = "shop.order.id"  # the attribute by which the needle is searched: no two orders share one
ORDER_DIGITS: Final = 4  # hex digits at its end that say the pass
PASSES_MAX: Final = 16**ORDER_DIGITS


@dataclass(frozen=True, slots=True)
class Pass:
    """`shift_ns`: how much later everything happens than in the workload's file."""

    number: int
    shift_ns: int

    @property
    def _key(self) -> int:
        return int.from_bytes(hashlib.blake2b(self.number.to_bytes(4, "big"), digest_size=16).digest(), "big")

    def trace_ids(self, ids: Sequence[bytes]) -> list[bytes]:
        """Those of the file → those of this pass: never two for one."""
        key = self._key
        return [(int.from_bytes(one, "big") ^ key).to_bytes(16, "big") for one in ids]

    def order_id(self, of: str) -> str:
        """As `trace_ids`, for an order."""
        return f"{of[:-ORDER_DIGITS]}{self.number:0{ORDER_DIGITS}x}"

    def requests(self, kept: Sequence[bytes]) -> Iterator[bytes]:
        """The file's requests as this pass sends them."""
        key, shift_ns = self._key, self.shift_ns
        for request in kept:
            message = ExportTraceServiceRequest.FromString(request)
            for span in spans_of(message):
                span.trace_id = (int.from_bytes(span.trace_id, "big") ^ key).to_bytes(16, "big")
                span.start_time_unix_nano += shift_ns
                span.end_time_unix_nano += shift_ns
                for event in span.events:
                    event.time_unix_nano += shift_ns
                for link in span.links:
                    link.trace_id = (int.from_bytes(link.trace_id, "big") ^ key).to_bytes(16, "big")
                for attribute in span.attributes:
                    if attribute.key == ORDER_ID:
                        attribute.value.string_value = self.order_id(attribute.value.string_value)
            yield message.SerializeToString()


def write(requests: Iterator[bytes], path: Path, requests_max: int | None = None) -> int:
    """A workload's file of them, or of the first `requests_max`. Returns how many it holds."""
    written = 0
    with path.open("wb") as file:
        for request in requests:
            if written == requests_max:
                break
            file.write(LENGTH.pack(len(request)))
            file.write(request)
            written += 1
    return written
