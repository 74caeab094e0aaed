"""HTTP/2 connections whose request bodies are counted before they are kept.

grpc's own server reads a whole message before anything of ours sees it, without a limit on connections, and refuses
every compression but gzip and deflate. Here the library h2 checks the protocol, all but DATA frames, of which nearly
all bytes are: they are taken from the connection as they come and handed to their request, which counts them in the
budget of input or refuses to go on. So the memory of unfinished uploads is bounded, whatever their number.
"""

import asyncio
import struct
from typing import Final, cast

import h2.errors
import h2.events
from h2.exceptions import ProtocolError

from agents.limited_log import limited_logger
from app.net.goaway import goaway_frame, refusal
from app.net.http2_types import FRAME_BYTES_MAX, STREAM_WINDOW, Exchange, Headers, Nobody, Site, new_state

log = limited_logger(__name__)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEAD: Final = struct.Struct(">HBBBL")  # length (2 + 1 bytes), type, flags, stream
_DATA, _WINDOW_UPDATE = 0, 8
_END_STREAM, _PADDED = 1, 8
_CONNECTION_WINDOW: Final = 4 << 20
_DEFAULT_WINDOW: Final = 65_535
# After so many frames others get their turn of the event loop: a header takes 0.1 ms, data some microseconds.
_TURN: Final = 400
_COST_DATA, _COST_OTHER = 1, 20
# Frames that bring nothing (pings, resets, settings, empty data …) between two requests that end.
_IDLE_FRAMES_MAX: Final = 2000
_HEADER_TABLE_BYTES: Final = 4096
_LAST_WORDS_S: Final = 1.0


class _Fault(ProtocolError):  # noqa: N818  (says what it is)
    """The client breaks the protocol in a way that the library does not see."""

    def __init__(self, code: h2.errors.ErrorCodes) -> None:
        super().__init__()
        self.error_code = code


class _Stream:
    __slots__ = ("ended", "exchange", "since_s", "window")

    def __init__(self, exchange: Exchange, since_s: float) -> None:
        self.exchange, self.since_s = exchange, since_s
        self.window = STREAM_WINDOW
        self.ended = False


class Http2Connection(asyncio.Protocol):
    """One connection."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._h2 = new_state(site.limits)
        self._transport: asyncio.Transport | None = None
        self._rest = b""  # that has come and is not taken: part of a frame, or what waits for its turn
        self._begun = self._ended = self._writes_wait = self._turn_waits = self._refused = self._paused = False
        self._streams: dict[int, _Stream] = {}
        self._highest = 0
        self._window = _CONNECTION_WINDOW
        self._idle_frames = 0
        self._since_s = self._loop.time()
        self._stuck_since_s: float | None = None
        self._answers: dict[int, tuple[bytes, Headers]] = {}  # that wait for the client's window
        # Of a DATA frame that has not come whole yet: how much is missing, whose it is, its flags.
        self._left = self._of = self._flags = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refused where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        if not self._site.opened(self):
            self._refused = self._ended = True
            self._transport.write(refusal("too many connections (connections_max); try again later"))
            self._transport.close()
            self._loop.call_later(_LAST_WORDS_S, self._transport.abort)
            return
        self._flush()
        self._grant(0, _CONNECTION_WINDOW - _DEFAULT_WINDOW)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        if not self._refused:
            self._site.closed(self)
        self._ended = True
        self._rest = b""
        streams, self._streams = self._streams, {}
        self._answers.clear()
        for stream in streams.values():
            stream.exchange.gone()

    def data_received(self, data: bytes) -> None:
        """Takes bytes as they come; see _turn."""
        if self._ended:
            return
        self._rest = self._rest + data if self._rest else data
        if not self._turn_waits:
            self._turn()

    def pause_writing(self) -> None:
        self._stuck_since_s = self._loop.time()
        self._writes_wait = True
        self._may_read()

    def resume_writing(self) -> None:
        self._stuck_since_s, self._writes_wait = None, False
        self._may_read()

    def look(self, now_s: float) -> None:
        """Ends what has taken too long."""
        limits = self._site.limits
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > limits.write_s:
            self._cut("write_time")
        elif not self._begun and now_s - self._since_s > limits.head_s:
            self._cut("head_time")
        elif not self._streams and now_s - self._since_s > limits.idle_s:
            self._site.limited("idle")
            self._close()
        else:
            if any(now_s - self._streams[number].since_s > limits.write_s for number in self._answers):
                self._cut("write_time")
                return
            for stream in list(self._streams.values()):
                if not stream.ended and now_s - stream.since_s > limits.request_s:
                    stream.exchange.late()

    def answer(self, stream: int, body: bytes, trailers: Headers) -> None:
        """Answers a request of which the client still waits. body: b"": the trailers are all there is"""
        if self._ended or stream not in self._streams:
            return
        self._answers[stream] = (body, trailers)
        try:
            self._send(stream)
        except ProtocolError:  # the client reset the stream, and it is not processed yet
            self._forget(stream)
        self._flush()

    def go_away(self) -> None:
        """The server stops: no new requests on this connection, please; those that run are answered."""
        if self._transport is not None and not self._ended:
            self._transport.write(goaway_frame())

    def close(self) -> None:
        """What is written is still sent."""
        if not self._ended:
            self._close()
        elif self._transport is not None:
            self._transport.abort()

    def _turn(self) -> None:
        """Takes frames out of the buffer, for some milliseconds at most."""
        self._turn_waits = False
        if self._ended:
            return
        try:
            taken, done = self._take_frames(memoryview(self._rest))
        except _Fault as err:
            self._h2.close_connection(err.error_code)
            self._fail()
            return
        except ProtocolError:  # the library has its last words ready
            self._fail()
            return
        except Exception:
            log.exception("a connection of OTLP over gRPC is cut")
            self._cut("fault")
            return
        self._rest = self._rest[taken:]
        self._flush()
        if not done and not self._ended:
            self._turn_waits = True
            self._loop.call_soon(self._turn)
        self._may_read()

    def _take_frames(self, view: memoryview) -> tuple[int, bool]:
        """Out: how many bytes are taken; whether no more can be now. Raises: ProtocolError"""
        at = cost = 0
        if not self._begun:
            if len(view) < len(PREFACE) and PREFACE.startswith(view):
                return 0, True
            self._h2.receive_data(bytes(view[: len(PREFACE)]))
            self._begun, at = True, len(PREFACE)
        while cost < _TURN and not self._ended:
            if self._left:
                piece = view[at : at + self._left]
                if not piece:
                    return at, True
                at += len(piece)
                self._data(piece)
                cost += _COST_DATA
                continue
            if len(view) - at < _HEAD.size:
                return at, True
            high, low, kind, flags, stream = _HEAD.unpack_from(view, at)
            length = high << 8 | low
            if length > FRAME_BYTES_MAX:
                raise _Fault(h2.errors.ErrorCodes.FRAME_SIZE_ERROR)
            end = at + _HEAD.size + length
            if kind == _DATA and not flags & _PADDED:
                at += _HEAD.size
                self._count_data(stream, length, flags)
                self._left, self._of, self._flags = length, stream, flags
                if not length:
                    self._data(view[:0])
                cost += _COST_DATA
                continue
            if len(view) < end:
                return at, True
            self._frame(kind, flags, stream, view[at:end])
            at = end
            cost += _COST_OTHER
        return at, False

    def _count_data(self, stream: int, length: int, flags: int) -> None:
        """Counts a DATA frame in the windows. Raises: _Fault if there is no such stream, or no room for it"""
        if stream == 0 or stream > self._highest:
            raise _Fault(h2.errors.ErrorCodes.PROTOCOL_ERROR)
        self._window -= length
        entry = self._streams.get(stream)
        if entry is not None:
            entry.window -= length
        if self._window < 0 or (entry is not None and (entry.window < 0 or entry.ended)):
            raise _Fault(h2.errors.ErrorCodes.FLOW_CONTROL_ERROR)
        if not length and not flags & _END_STREAM:
            self._idle_frame()

    def _data(self, piece: memoryview) -> None:
        size, number = len(piece), self._of
        self._left -= size
        entry = self._streams.get(number)
        # Nobody wants the data of a request that is answered already; the connection's window is for all.
        if entry is not None and size:
            entry.exchange.data(piece)
            entry = self._streams.get(number)
        if self._window < _CONNECTION_WINDOW // 2:
            self._grant(0, _CONNECTION_WINDOW - self._window)
            self._window = _CONNECTION_WINDOW
        if entry is None or self._left:
            return
        if self._flags & _END_STREAM:
            self._end_of(number, entry)
        elif entry.window < STREAM_WINDOW // 2:
            self._grant(number, STREAM_WINDOW - entry.window)
            entry.window = STREAM_WINDOW

    def _end_of(self, number: int, entry: _Stream) -> None:
        # The library learns that the request has ended.
        self._h2.receive_data(_HEAD.pack(0, 0, _DATA, _END_STREAM, number))
        entry.ended = True
        entry.exchange.end()

    def _frame(self, kind: int, flags: int, stream: int, frame: memoryview) -> None:
        if kind == _DATA:  # padded
            length = len(frame) - 9
            padding = frame[9] if length else 0
            if not length or padding >= length:
                raise _Fault(h2.errors.ErrorCodes.PROTOCOL_ERROR)
            self._count_data(stream, length, flags)
            self._of, self._flags, self._left = stream, flags, length - 1 - padding
            self._data(frame[10 : 9 + length - padding])
            return
        self._idle_frame()
        for event in self._h2.receive_data(bytes(frame)):
            self._event(event)

    def _event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(number), headers=headers):
                texts = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in headers or ()]
                self._request(number, texts, ended=event.stream_ended is not None)
            case h2.events.TrailersReceived(stream_id=int(number)) if number in self._streams:
                entry = self._streams[number]
                entry.ended = True
                entry.exchange.end()
            case h2.events.StreamReset(stream_id=int(number)):
                if (reset := self._forget(number)) is not None:
                    reset.exchange.gone()
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                # The client may offer any size; what it makes us remember of our answers is our memory.
                if self._h2.encoder.header_table_size > _HEADER_TABLE_BYTES:
                    self._h2.encoder.header_table_size = _HEADER_TABLE_BYTES
                for number in list(self._answers):
                    self._send(number)
            case h2.events.ConnectionTerminated():
                if not self._streams:
                    self._close()
            case _:
                pass

    def _request(self, number: int, headers: Headers, *, ended: bool) -> None:
        self._highest = max(self._highest, number)
        # Known before it is answered: that may be at once.
        entry = _Stream(_NOBODY, self._loop.time())
        entry.ended = ended
        self._streams[number] = entry
        exchange = self._site.exchange(self, number, headers)
        if exchange is None:
            return
        entry.exchange = exchange
        if ended:
            exchange.end()

    def _send(self, number: int) -> None:
        """Sends an answer, or waits until the client takes it. Raises: ProtocolError"""
        body, trailers = self._answers[number]
        if len(body) > self._h2.local_flow_control_window(number):
            self._streams[number].since_s = self._loop.time()
            return
        self._idle_frames = 0
        del self._answers[number]
        if body:
            self._h2.send_headers(number, _OK)
            for start in range(0, len(body), self._h2.max_outbound_frame_size):
                self._h2.send_data(number, body[start : start + self._h2.max_outbound_frame_size])
            self._h2.send_headers(number, trailers, end_stream=True)
        else:
            self._h2.send_headers(number, [*_OK, *trailers], end_stream=True)
        entry = self._forget(number)
        if entry is not None and not entry.ended:
            # The rest of the request is not wanted.
            self._h2.reset_stream(number, h2.errors.ErrorCodes.NO_ERROR)

    def _forget(self, number: int) -> _Stream | None:
        self._answers.pop(number, None)
        entry = self._streams.pop(number, None)
        if not self._streams:
            self._since_s = self._loop.time()
        return entry

    def _idle_frame(self) -> None:
        """Raises: ProtocolError where they are too many"""
        self._idle_frames += 1
        if self._idle_frames > _IDLE_FRAMES_MAX:
            self._site.limited("idle_frames")
            raise _Fault(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _grant(self, stream: int, more_bytes: int) -> None:
        assert self._transport is not None
        self._transport.write(_HEAD.pack(0, 4, _WINDOW_UPDATE, 0, stream) + struct.pack(">L", more_bytes))

    def _may_read(self) -> None:
        """Reads no more while this connection's frames or answers wait."""
        pause = self._writes_wait or self._turn_waits
        transport = self._transport
        if transport is None or transport.is_closing() or pause == self._paused:
            return
        self._paused = pause
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def _flush(self) -> None:
        assert self._transport is not None
        if data := self._h2.data_to_send():
            self._transport.write(data)

    def _fail(self) -> None:
        self._site.limited("protocol")
        self._flush()
        self._ended = True
        transport = self._transport
        assert transport is not None
        if transport.can_write_eof():
            transport.write_eof()
        # What still comes is thrown away for a while: closed at once, the client would never see the last words.
        self._writes_wait = self._turn_waits = False
        self._may_read()
        self._loop.call_later(_LAST_WORDS_S, transport.abort)

    def _close(self) -> None:
        self.go_away()
        self._ended = True
        if self._transport is not None:
            self._transport.close()
            # A client that does not read the last words must not stay.
            self._loop.call_later(_LAST_WORDS_S, self._transport.abort)

    def _cut(self, limit: str) -> None:
        self._site.limited(limit)
        self._ended = True
        assert self._transport is not None
        self._transport.abort()


_NOBODY: Final = Nobody()
_OK: Final[Headers] = ((":status", "200"), ("content-type", "application/grpc"))
