"""What processes send each other: a frame is a name, some fields as JSON, and bytes.

A frame goes as one gRPC message, or as several where its bytes are many: the first has the name, the fields and the
length of all bytes. So no message is large, and a receiver knows before it takes them how many bytes come.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from agents.tracing import TRACEPARENT, OwnSpan

PIECE_BYTES: Final = 1 << 20
# Fields say what is asked; what is long goes as bytes. Metas of a thousand blocks are about a megabyte.
FIELDS_BYTES_MAX: Final = 16 << 20
MESSAGE_BYTES_MAX: Final = FIELDS_BYTES_MAX + PIECE_BYTES + 64
_LENGTHS: Final = 12


class BadFrame(ValueError):  # noqa: N818 (says what it is)
    """Bytes from another process that are no frame of this version, or one that is too large: what is wrong."""


@dataclass(frozen=True, slots=True)
class RpcFrame:
    """name: what it is. fields: values that JSON can hold. data: bytes"""

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""


def with_traceparent(frame: RpcFrame, span: OwnSpan) -> RpcFrame:
    """The first frame of a conversation, so that the other process goes on with the trace of the span."""
    traceparent = span.traceparent
    return replace(frame, fields={**frame.fields, TRACEPARENT: traceparent}) if traceparent else frame


def to_messages(frame: RpcFrame) -> Iterator[bytes]:
    """The gRPC messages of a frame. Raises: BadFrame where its fields are too large"""
    head = orjson.dumps([frame.name, frame.fields], option=orjson.OPT_NON_STR_KEYS)
    if len(head) > FIELDS_BYTES_MAX:
        raise BadFrame(f"the fields of a frame {frame.name} take {len(head)} bytes; {FIELDS_BYTES_MAX} are allowed")
    lengths = len(head).to_bytes(4, "little") + len(frame.data).to_bytes(8, "little")
    yield b"".join([lengths, head, frame.data[:PIECE_BYTES]])
    for at in range(PIECE_BYTES, len(frame.data), PIECE_BYTES):
        yield frame.data[at : at + PIECE_BYTES]


class FrameReader:
    """Makes frames of gRPC messages that come one after the other."""

    def __init__(self, data_bytes_max: int) -> None:
        """data_bytes_max: the most bytes of one frame, besides its fields"""
        self._data_bytes_max = data_bytes_max
        self._head: tuple[str, Mapping[str, Any]] | None = None
        self._pieces: list[bytes] = []
        self._missing = 0

    def take_message(self, message: bytes) -> RpcFrame | None:
        """The frame that the message completes; None: more messages of it follow. Raises: BadFrame"""
        if self._head is None:
            self._begin(message)
        else:
            self._add(message)
        if self._missing or self._head is None:
            return None
        (name, fields), pieces = self._head, self._pieces
        self._head, self._pieces = None, []
        return RpcFrame(name, fields, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _begin(self, message: bytes) -> None:
        head_bytes, data_bytes = int.from_bytes(message[:4], "little"), int.from_bytes(message[4:_LENGTHS], "little")
        if len(message) < _LENGTHS + head_bytes:
            raise BadFrame("a frame ends within its head")
        if data_bytes > self._data_bytes_max:
            raise BadFrame(
                f"a frame has {data_bytes} bytes; the setting server.internal_message_bytes_max allows "
                f"{self._data_bytes_max}"
            )
        try:
            name, fields = orjson.loads(message[_LENGTHS : _LENGTHS + head_bytes])
        except (ValueError, TypeError) as err:
            raise BadFrame(f"the head of a frame is damaged: {err}") from err
        if not isinstance(name, str) or not isinstance(fields, dict):
            raise BadFrame("the head of a frame has no name and fields")
        self._head, self._missing = (name, fields), data_bytes
        self._add(message[_LENGTHS + head_bytes :])

    def _add(self, piece: bytes) -> None:
        if len(piece) > self._missing:
            raise BadFrame("a frame has more bytes than its head says")
        self._missing -= len(piece)
        self._pieces.append(piece)
