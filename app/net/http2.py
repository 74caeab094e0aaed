"""HTTP/2 connections that count request bodies before they keep them.

grpc's own server reads a whole message before our code sees it, has no limit on connections, and refuses every
compression but gzip and deflate. Here the library h2 checks the protocol, except for DATA frames, which are nearly all
of the bytes, and for streams (`http2_streams`). This module passes the content of DATA on as it arrives to the request,
which counts it in the budget or refuses it. So the memory of unfinished uploads is bounded, whatever their number.
"""

import asyncio
import struct
from typing import Final, cast

import h2.errors
import h2.events
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from agents.limited_log import limited_logger
from app.net.goaway import goaway_frame, refusal
from app.net.http2_streams import DATA, END_STREAM, HEAD, HEADERS, PADDED, WINDOW_UPDATE, Streams, frame
from app.net.http2_types import FRAME_BYTES_MAX, STREAM_WINDOW, Headers, Http2Fault, Site, new_state

log = limited_logger(__name__)

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_CONNECTION_WINDOW: Final = 4 << 20
_DEFAULT_WINDOW: Final = 65_535
# After this cost of frames the event loop serves others: data take some microseconds, headers of a request that is like
# the one before 20, others 0.1 ms.
_TURN: Final = 400
_COST_DATA, _COST_HEADERS, _COST_OTHER = 1, 5, 20
# Frames without content (pings, resets, settings, empty data …) between the ends of two requests.
_IDLE_FRAMES_MAX: Final = 2000
_HEADER_TABLE_BYTES: Final = 4096
_LAST_WORDS_S: Final = 1.0


class Http2Connection(asyncio.Protocol):
    """One connection of an HTTP/2 client, and its requests."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._loop = asyncio.get_running_loop()
        self._h2 = new_state(site.limits)
        self._transport: asyncio.Transport | None = None
        self._rest = b""  # that has come and is not taken: part of a frame, or what waits for its turn
        self._begun = self._ended = self._writes_wait = self._turn_waits = self._refused = self._paused = False
        self._streams = Streams(self, site, self._h2)
        self._streams.answered = self._was_answered
        self._window = _CONNECTION_WINDOW
        self._idle_frames = 0
        self._since_s = self._loop.time()
        self._stuck_since_s: float | None = None
        # An incomplete DATA frame: missing bytes, stream, flags.
        self._left = self._of = self._flags = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accepts the connection, or refuses it if there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        self._streams.write = self._transport.write
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
        self._streams.end_all()

    def data_received(self, data: bytes) -> None:
        """Buffers bytes as they arrive; `_turn` processes them."""
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
        """Ends requests and connections that take too long. Called periodically."""
        limits = self._site.limits
        if self._stuck_since_s is not None and now_s - self._stuck_since_s > limits.write_s:
            self._cut("write_time")
        elif not self._begun and now_s - self._since_s > limits.head_s:
            self._cut("head_time")
        elif not self._streams and now_s - max(self._since_s, self._streams.idle_since_s) > limits.idle_s:
            self._site.limited("idle")
            self._close()
        elif self._streams.waits_for_window(now_s - limits.write_s):
            self._cut("write_time")
        else:
            for stream in self._streams.unfinished():
                if now_s - stream.since_s > limits.request_s:
                    stream.exchange.late()

    def answer(self, stream: int, body: bytes, trailers: Headers) -> None:
        """Answers a request whose client still waits. body: b"": the answer is only trailers"""
        if not self._ended:
            self._streams.answer(stream, body, trailers)

    def _was_answered(self) -> None:
        self._idle_frames = 0

    def go_away(self) -> None:
        """The server stops: tells the client to send no new requests; running ones still get their answers."""
        if self._transport is not None and not self._ended:
            self._transport.write(goaway_frame())

    def close(self) -> None:
        """Closes the connection after sending what is already written."""
        if not self._ended:
            self._close()
        elif self._transport is not None:
            self._transport.abort()

    def _turn(self) -> None:
        """Processes frames from the buffer, for some milliseconds at most."""
        self._turn_waits = False
        if self._ended:
            return
        try:
            taken, done = self._take_frames(memoryview(self._rest))
        except Http2Fault as err:
            self._h2.highest_inbound_stream_id = self._streams.highest
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
        if not done and not self._ended:
            self._turn_waits = True
            self._loop.call_soon(self._turn)
        self._may_read()

    def _take_frames(self, view: memoryview) -> tuple[int, bool]:
        """Out: number of bytes processed; whether to stop for now. Raises: ProtocolError"""
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
            if len(view) - at < HEAD.size:
                return at, True
            high, low, kind, flags, stream = HEAD.unpack_from(view, at)
            length = high << 8 | low
            if length > FRAME_BYTES_MAX:
                raise Http2Fault(h2.errors.ErrorCodes.FRAME_SIZE_ERROR)
            end = at + HEAD.size + length
            if kind == DATA and not flags & PADDED:
                at += HEAD.size
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
            cost += _COST_HEADERS if kind == HEADERS else _COST_OTHER
        return at, False

    def _count_data(self, stream: int, length: int, flags: int) -> None:
        """Counts a DATA frame in the flow-control windows. Raises: Http2Fault if there is no such stream, or no room"""
        if stream == 0 or stream > self._streams.highest:
            raise Http2Fault(h2.errors.ErrorCodes.PROTOCOL_ERROR)
        self._window -= length
        entry = self._streams.get(stream)
        if entry is not None:
            entry.window -= length
        if self._window < 0 or (entry is not None and (entry.window < 0 or entry.ended)):
            raise Http2Fault(h2.errors.ErrorCodes.FLOW_CONTROL_ERROR)
        if not length and not flags & END_STREAM:
            self._idle_frame()

    def _data(self, piece: memoryview) -> None:
        size, number = len(piece), self._of
        self._left -= size
        entry = self._streams.get(number)
        # The data of an answered request is discarded, but counts in the connection's window, which all requests share.
        if entry is not None and size:
            entry.exchange.data(piece)
            entry = self._streams.get(number)
        if self._window < _CONNECTION_WINDOW // 2:
            self._grant(0, _CONNECTION_WINDOW - self._window)
            self._window = _CONNECTION_WINDOW
        if entry is None or self._left:
            return
        if self._flags & END_STREAM:
            entry.ended = True
            entry.exchange.end()
        elif entry.window < STREAM_WINDOW // 2:
            self._grant(number, STREAM_WINDOW - entry.window)
            entry.window = STREAM_WINDOW

    def _frame(self, kind: int, flags: int, stream: int, frame: memoryview) -> None:
        """Takes a whole frame, its head included. Raises: ProtocolError"""
        if kind == DATA:  # padded
            length = len(frame) - 9
            padding = frame[9] if length else 0
            if not length or padding >= length:
                raise Http2Fault(h2.errors.ErrorCodes.PROTOCOL_ERROR)
            self._count_data(stream, length, flags)
            self._of, self._flags, self._left = stream, flags, length - 1 - padding
            self._data(frame[10 : 9 + length - padding])
            return
        self._idle_frame()
        if not self._streams.frame(kind, flags, stream, frame[HEAD.size :]):
            self._h2.highest_inbound_stream_id = self._streams.highest  # for its GOAWAY
            events = self._h2.receive_data(bytes(frame))
            # An answer must not overtake the acknowledgement of the settings that it follows.
            self._flush()
            for event in events:
                self._event(event)

    def _event(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RemoteSettingsChanged(changed_settings=changed):
                # The client may offer any size; what it makes us remember of our answers is our memory.
                if self._h2.encoder.header_table_size > _HEADER_TABLE_BYTES:
                    self._h2.encoder.header_table_size = _HEADER_TABLE_BYTES
                if (window := changed.get(SettingCodes.INITIAL_WINDOW_SIZE)) is not None:
                    self._streams.initial_window_changed(window.new_value - (window.original_value or 0))
                self._streams.send_waiting()
            case h2.events.ConnectionTerminated():
                if not self._streams:
                    self._close()
            case _:
                pass

    def _idle_frame(self) -> None:
        """Counts a frame that carries no request. Raises: ProtocolError if there are too many"""
        self._idle_frames += 1
        if self._idle_frames > _IDLE_FRAMES_MAX:
            self._site.limited("idle_frames")
            raise Http2Fault(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)

    def _grant(self, stream: int, more_bytes: int) -> None:
        assert self._transport is not None
        self._transport.write(frame(WINDOW_UPDATE, 0, stream, struct.pack(">L", more_bytes)))

    def _may_read(self) -> None:
        """Pauses reading while this connection's frames or answers wait."""
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
        # Input is discarded for a while: after an immediate close, the client would never see the last frames.
        self._writes_wait = self._turn_waits = False
        self._may_read()
        self._loop.call_later(_LAST_WORDS_S, transport.abort)

    def _close(self) -> None:
        self.go_away()
        self._ended = True
        if self._transport is not None:
            self._transport.close()
            # A client that does not read the last frames must not stay.
            self._loop.call_later(_LAST_WORDS_S, self._transport.abort)

    def _cut(self, limit: str) -> None:
        self._site.limited(limit)
        self._ended = True
        assert self._transport is not None
        self._transport.abort()
