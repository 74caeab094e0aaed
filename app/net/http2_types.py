"""The types around an HTTP/2 connection: its limits, its server, and each request on it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

if TYPE_CHECKING:
    from app.net.http2 import Http2Connection
    from app.net.http2_headers import CheckedHeaders

Headers = Sequence[tuple[str, str]]
FRAME_BYTES_MAX: Final = 1 << 16


class RequestHeaders(list[tuple[str, str]]):
    """The headers of a request; those of several requests where they are the same.

    facts: what a server has found out from them, and need not find out again
    """

    __slots__ = ("facts",)

    def __init__(self, headers: Iterable[tuple[str, str]]) -> None:
        super().__init__(headers)
        self.facts: Any = None


STREAM_WINDOW: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """head_s: to start HTTP/2 on a new connection; request_s: to send a whole request; idle_s: without a request;
    write_s: without reading any of the answers; streams_max: concurrent requests of a connection
    """

    head_s: float = 10.0
    request_s: float = 60.0
    idle_s: float = 600.0
    write_s: float = 30.0
    header_bytes_max: int = 64 << 10
    streams_max: int = 100
    connections_max: int = 2000


class Http2Fault(ProtocolError):  # noqa: N818  (says what it is)
    """A violation of the protocol by the client that the library does not detect. It ends the connection."""

    def __init__(self, code: ErrorCodes) -> None:
        super().__init__()
        self.error_code = code


class Exchange(Protocol):
    """One request and its answer."""

    def data(self, piece: memoryview) -> None:
        """The next bytes of the body."""

    def end(self) -> None:
        """All of the body has arrived."""

    def late(self) -> None:
        """The body took too long."""

    def gone(self) -> None:
        """The client cancelled the request, or its connection ended."""


class Site(Protocol):
    """What serves the requests of HTTP/2 connections."""

    limits: Http2Limits
    checked_headers: "CheckedHeaders"

    def opened(self, connection: "Http2Connection") -> bool:
        """A new connection. False: there are too many."""

    def closed(self, connection: "Http2Connection") -> None:
        """Called once when a connection has ended, however it did."""

    def limited(self, limit: str) -> None:
        """A connection is closed because of this limit."""

    def exchange(self, connection: "Http2Connection", stream: int, headers: RequestHeaders) -> Exchange | None:
        """A request begins; None if it already has its answer."""


class Nobody:
    """Ignores the rest of a request that already has its answer."""

    def data(self, piece: memoryview) -> None: ...

    def end(self) -> None: ...

    def late(self) -> None: ...

    def gone(self) -> None: ...


def new_state(limits: Http2Limits) -> H2Connection:
    """The library's state for a new connection, with our SETTINGS ready to be sent."""
    # What is sent is made here, and needs no check.
    config = H2Configuration(
        client_side=False, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
    )
    state = H2Connection(config)
    state.local_settings = Settings(
        client=False,
        initial_values={
            SettingCodes.MAX_CONCURRENT_STREAMS: limits.streams_max,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_FRAME_SIZE: FRAME_BYTES_MAX,
            SettingCodes.MAX_HEADER_LIST_SIZE: limits.header_bytes_max,
        },
    )
    state.max_inbound_frame_size = FRAME_BYTES_MAX
    state.decoder.max_header_list_size = limits.header_bytes_max
    state.initiate_connection()
    # A request is not the library's, see `http2_streams`; for its state machine the connection is idle.
    return state
