"""What processes ask each other about spans that a client may have sent twice, and answer: `query.scan.suspects`."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from query.request_json import BadRequest
from query.results import Inspected
from query.scan.ipc import read_partial, write_partial
from query.scan.reader import Reader
from query.scan.suspects import SuspectSpans, rows_of_suspects
from tables.columns.sorted_sets import unique

SUSPECTS: Final = "suspects"  # the frame of an answer
_KIND: Final = b"stretto.suspects"
_KEY_BYTES: Final = 8


def asked_to_json(asked: SuspectSpans) -> dict[str, Any]:
    """The fields of a frame; `asked_data` is its bytes."""
    return {"traces": len(asked.traces), "columns": list(asked.columns)}


def asked_data(asked: SuspectSpans) -> bytes:
    """The keys of the traces, then those of the spans."""
    return np.concatenate([asked.traces, asked.spans]).astype("<u8").tobytes()


def asked_from_json(values: Any, data: bytes) -> SuspectSpans:
    """The question in a frame with these fields and bytes. Raises: BadRequest where they are damaged"""
    match values:
        case {"traces": int(traces), "columns": [*columns]} if (
            len(data) % _KEY_BYTES == 0
            and 0 <= traces <= len(data) // _KEY_BYTES
            and all(isinstance(column, str) for column in columns)
        ):
            keys = np.frombuffer(data, "<u8").astype(np.uint64)
            return SuspectSpans(unique(keys[:traces]), unique(keys[traces:]), tuple(columns))
    raise BadRequest("a damaged question about spans that a client may have sent twice")


class SuspectsFound(NamedTuple):
    """Rows with digests; None: there are none. inspected: what it took"""

    rows: pa.Table | None
    inspected: Inspected

    @classmethod
    def of_sources(cls, sources: Sequence[Any], asked: SuspectSpans, cancelled: Callable[[], bool]) -> "SuspectsFound":
        """Raises: QueryCancelled, OSError, MemoryExceeded"""
        readers = [Reader(source) for source in sources if source.rows]
        rows = rows_of_suspects(readers, asked, cancelled)
        return cls(rows, Inspected(bytes=sum(reader.bytes_read for reader in readers)))

    def to_ipc(self) -> bytes:
        """Makes the bytes of an Arrow IPC stream of it."""
        return write_partial(_KIND, {}, self.inspected, [], self.rows)

    @classmethod
    def from_ipc(cls, data: bytes) -> "SuspectsFound":
        """What `to_ipc` wrote. Raises: as `read_partial`"""
        _, inspected, _, rows = read_partial(_KIND, data)
        return cls(rows, inspected)
