"""The requests of one HTTP/2 connection: their headers, windows, answers and ends.

The library h2 keeps the state of the connection. That of a stream is kept here: a request takes h2 0.2 ms, for which a
span of a large request is written sixteen times.
"""

import asyncio
import struct
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from h2.connection import H2Connection
from h2.errors import ErrorCodes

from app.net.http2_headers import HeaderBlocks
from app.net.http2_types import STREAM_WINDOW, Exchange, Headers, Http2Fault, Nobody, Site

if TYPE_CHECKING:
    from app.net.http2 import Http2Connection

HEAD: Final = struct.Struct(">HBBBL")  # length (2 + 1 bytes), type, flags, stream
DATA, HEADERS, RST_STREAM, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 6, 8, 9
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
_PING_BYTES: Final = 8
_NUMBER: Final = struct.Struct(">L")
_WINDOW_MAX: Final = 2**31 - 1
_OK: Final[Headers] = ((":status", "200"), ("content-type", "application/grpc"))
_GRPC_OK: Final[Headers] = (("grpc-status", "0"),)
_NOBODY: Final = Nobody()
# Continuations of a block of headers, whose size is limited: with empty ones a block would not end.
_CONTINUATIONS_MAX: Final = 64


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame's bytes."""
    return HEAD.pack(len(payload) >> 8, len(payload) & 255, kind, flags, stream) + payload


class Stream:
    """A request without an answer. window: bytes that the client may send; send_window: that we may"""

    __slots__ = ("ended", "exchange", "send_window", "since_s", "window")

    def __init__(self, since_s: float, send_window: int, *, ended: bool) -> None:
        self.exchange: Exchange = _NOBODY
        self.since_s, self.send_window, self.ended = since_s, send_window, ended
        self.window = STREAM_WINDOW


class Streams:
    """The streams of a connection that have no answer yet."""

    def __init__(self, connection: "Http2Connection", site: Site, state: H2Connection) -> None:
        self._connection, self._site, self._state = connection, site, state
        self._loop = asyncio.get_running_loop()
        self._blocks = HeaderBlocks(state, [_OK, _GRPC_OK], site.checked_headers)
        self._open: dict[int, Stream] = {}
        self._answers: dict[int, tuple[bytes, Headers]] = {}  # that wait for the client's window
        self._partial: tuple[int, int, bytearray, int] | None = None  # stream, flags and bytes of an unfinished block
        self.highest = 0
        self.idle_since_s = self._loop.time()  # since when there is none
        self.write: Callable[[bytes], None] = lambda _: None
        self.answered: Callable[[], None] = lambda: None  # called after each answer

    def __len__(self) -> int:
        return len(self._open)

    def get(self, number: int) -> Stream | None:
        """A stream that has no answer yet."""
        return self._open.get(number)

    def unfinished(self) -> Iterator[Stream]:
        """Streams whose request has not arrived whole."""
        return iter([stream for stream in self._open.values() if not stream.ended])

    def waits_for_window(self, since_s: float) -> bool:
        """Whether an answer waits for the client to take it, and has since then."""
        return any(self._open[number].since_s < since_s for number in self._answers)

    def end_all(self) -> None:
        """The connection has ended."""
        streams, self._open = self._open, {}
        self._answers.clear()
        self._blocks.forget()
        for stream in streams.values():
            stream.exchange.gone()

    # ---- frames of the client

    def frame(self, kind: int, flags: int, number: int, payload: memoryview) -> bool:
        """Takes a frame. False: it concerns the connection, and is the library's. Raises: Http2Fault"""
        if self._partial is not None and (kind != CONTINUATION or number != self._partial[0]):
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        match kind:
            case 1:
                self._headers_frame(flags, number, payload)
            case 9:
                self._continuation(flags, payload)
            case 3:
                self._reset(number, payload)
            case 8:
                self._window_update(number, payload)
            case 6:  # clients of gRPC send one with nearly every window
                self._ping(flags, number, payload)
            case _:
                return False
        return True

    def _headers_frame(self, flags: int, number: int, payload: memoryview) -> None:
        if not number & 1:
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        at = padding = 0
        if flags & PADDED and len(payload):
            at, padding = 1, payload[0]
        if flags & PRIORITY:
            if len(payload) >= at + 4 and _NUMBER.unpack_from(payload, at)[0] & _WINDOW_MAX == number:
                raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)  # it depends on itself
            at += 5
        if at + padding > len(payload) or (flags & PADDED and not len(payload)):
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        block = payload[at : len(payload) - padding]
        if flags & END_HEADERS:
            self._block(number, bytes(block), ended=bool(flags & END_STREAM))
        else:
            self._partial = (number, flags, bytearray(block), 0)

    def _continuation(self, flags: int, payload: memoryview) -> None:
        if self._partial is None:
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        number, first_flags, block, count = self._partial
        block += payload
        if len(block) > self._site.limits.header_bytes_max or count >= _CONTINUATIONS_MAX:
            raise Http2Fault(ErrorCodes.ENHANCE_YOUR_CALM)
        self._partial = (number, first_flags, block, count + 1)
        if flags & END_HEADERS:
            self._partial = None
            self._block(number, bytes(block), ended=bool(first_flags & END_STREAM))

    def _block(self, number: int, block: bytes, *, ended: bool) -> None:
        """The headers of a new request, or the trailers of one."""
        if number <= self.highest:
            self._blocks.trailers(block)
            stream = self._open.get(number)
            if stream is not None:
                if stream.ended or not ended:
                    raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
                stream.ended = True
                stream.exchange.end()
            return  # else it has its answer, which the client did not know
        headers = self._blocks.request(block)
        self.highest = number
        if len(self._open) >= self._site.limits.streams_max:
            self.write(frame(RST_STREAM, 0, number, _NUMBER.pack(ErrorCodes.REFUSED_STREAM)))
            return
        # Registered before it is answered, which may happen at once.
        stream = Stream(self._loop.time(), self._state.remote_settings.initial_window_size, ended=ended)
        self._open[number] = stream
        exchange = self._site.exchange(self._connection, number, headers)
        if exchange is None:
            return
        stream.exchange = exchange
        if ended:
            exchange.end()

    def _reset(self, number: int, payload: memoryview) -> None:
        if len(payload) != _NUMBER.size:
            raise Http2Fault(ErrorCodes.FRAME_SIZE_ERROR)
        if number == 0 or number > self.highest:
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        if (stream := self._forget(number)) is not None:
            stream.exchange.gone()

    def _window_update(self, number: int, payload: memoryview) -> None:
        if len(payload) != _NUMBER.size:
            raise Http2Fault(ErrorCodes.FRAME_SIZE_ERROR)
        if number > self.highest:
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        more = _NUMBER.unpack(payload)[0] & _WINDOW_MAX
        if not number:
            self._state.outbound_flow_control_window += more
            if not more or self._state.outbound_flow_control_window > _WINDOW_MAX:
                raise Http2Fault(ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR)
            self.send_waiting()
            return
        stream = self._open.get(number)
        if stream is None:
            return
        stream.send_window += more
        if not more or stream.send_window > _WINDOW_MAX:
            fault = ErrorCodes.FLOW_CONTROL_ERROR if more else ErrorCodes.PROTOCOL_ERROR
            self.write(frame(RST_STREAM, 0, number, _NUMBER.pack(fault)))
            self._forget(number)
            stream.exchange.gone()
        elif number in self._answers:
            self._send(number)

    def _ping(self, flags: int, number: int, payload: memoryview) -> None:
        if number:
            raise Http2Fault(ErrorCodes.PROTOCOL_ERROR)
        if len(payload) != _PING_BYTES:
            raise Http2Fault(ErrorCodes.FRAME_SIZE_ERROR)
        if not flags & ACK:
            self.write(frame(PING, ACK, 0, bytes(payload)))

    def initial_window_changed(self, change: int) -> None:
        """The client's settings: all of its windows grow or shrink. Raises: Http2Fault"""
        for stream in self._open.values():
            stream.send_window += change
            if stream.send_window > _WINDOW_MAX:
                raise Http2Fault(ErrorCodes.FLOW_CONTROL_ERROR)

    # ---- answers

    def answer(self, number: int, body: bytes, trailers: Headers) -> None:
        """Answers a request whose client still waits."""
        if number in self._open:
            self._answers[number] = (body, trailers)
            self._send(number)

    def send_waiting(self) -> None:
        """Sends answers that waited for a window."""
        for number in list(self._answers):
            self._send(number)

    def _send(self, number: int) -> None:
        """Sends an answer, or nothing while the client's window does not allow it."""
        body, trailers = self._answers[number]
        stream, state = self._open[number], self._state
        if len(body) > min(stream.send_window, state.outbound_flow_control_window):
            stream.since_s = self._loop.time()
            return
        del self._answers[number]
        if body:
            parts = [frame(HEADERS, END_HEADERS, number, self._blocks.encode(_OK))]
            size = state.max_outbound_frame_size
            parts += [frame(DATA, 0, number, body[at : at + size]) for at in range(0, len(body), size)]
            state.outbound_flow_control_window -= len(body)
            parts.append(frame(HEADERS, END_HEADERS | END_STREAM, number, self._blocks.encode(trailers)))
        else:
            parts = [frame(HEADERS, END_HEADERS | END_STREAM, number, self._blocks.encode((*_OK, *trailers)))]
        self._forget(number)
        if not stream.ended:
            # The rest of the request is not wanted.
            parts.append(frame(RST_STREAM, 0, number, _NUMBER.pack(ErrorCodes.NO_ERROR)))
        self.write(b"".join(parts))
        self.answered()

    def _forget(self, number: int) -> Stream | None:
        self._answers.pop(number, None)
        stream = self._open.pop(number, None)
        if not self._open:
            self.idle_since_s = self._loop.time()
        return stream
