"""A conversation of two processes: frames in both directions, over one gRPC call."""

import asyncio
from typing import Any, Final, Protocol

import grpc

from app.api.errors import Stopping
from app.rpc.errors import ERROR, from_frame
from app.rpc.frames import FrameReader, RpcFrame, to_messages


class PeerGone(ConnectionError):  # noqa: N818 (says what happened)
    """The other process is not there, or ended the conversation before its time: who, and what gRPC says."""


class Conversation(Protocol):
    """One end. Only one task may send, and one receive, at a time."""

    async def send(self, frame: RpcFrame) -> None:
        """Sends a frame, when there is room on the way. Raises: PeerGone"""
        ...

    async def receive(self) -> RpcFrame:
        """The next frame. Raises: the error that the other end sent instead; PeerGone where none comes; BadFrame"""
        ...


class ServedConversation:
    """The end of the process that was called. gRPC cancels the task that has it when the caller goes away."""

    def __init__(self, context: Any, data_bytes_max: int) -> None:
        self._context, self._reader = context, FrameReader(data_bytes_max)
        self._first: Any = None

    async def send(self, frame: RpcFrame) -> None:
        for message in to_messages(frame):
            await self._context.write(message)

    async def is_asked(self) -> bool:
        """Waits until the caller asks something, which `receive` then gives; whether it does, or has ended the call."""
        self._first = await self._context.read()
        return self._first is not grpc.aio.EOF

    async def receive(self) -> RpcFrame:
        while True:
            message, self._first = self._first, None
            if message is None:
                message = await self._context.read()
            if message is grpc.aio.EOF:
                raise PeerGone("the caller has ended the call")
            if (frame := self._reader.take_message(message)) is not None:
                return checked(frame)


class CallingConversation:
    """The end of the process that calls."""

    def __init__(self, call: Any, address: str, data_bytes_max: int) -> None:
        """call: of a method with streams in both directions"""
        self._call, self.address, self._reader = call, address, FrameReader(data_bytes_max)
        self.was_used = False  # somebody has had it before: the other end may have gone since
        self.is_over = False  # whoever has it has had the last frame that comes for what was asked

    async def send(self, frame: RpcFrame) -> None:
        try:
            for message in to_messages(frame):
                await self._call.write(message)
        except (grpc.RpcError, asyncio.InvalidStateError) as err:
            raise self._gone(err) from None

    async def receive(self) -> RpcFrame:
        while True:
            try:
                message = await self._call.read()
            except grpc.RpcError as err:
                raise self._gone(err) from None
            except asyncio.CancelledError:
                # gRPC cancels also the task that reads when the call was cancelled here.
                self._call.cancel()
                raise
            if message is grpc.aio.EOF:
                raise PeerGone(f"{self.address} has ended the call")
            if (frame := self._reader.take_message(message)) is not None:
                return checked(frame)

    def over(self) -> None:
        """All has come that was asked for: another may ask with it."""
        self.is_over = True

    @property
    def can_ask_again(self) -> bool:
        """Whether somebody else may have it now."""
        return self.is_over and not self._call.done()

    def close(self) -> None:
        """Ends the call; the other process gives up what it does for it."""
        self._call.cancel()

    def _gone(self, err: BaseException) -> PeerGone:
        if isinstance(err, grpc.aio.AioRpcError):
            return PeerGone(f"{self.address}: {err.code().name}: {err.details()}")
        return PeerGone(f"{self.address}: {err!r}")


def checked(frame: RpcFrame) -> RpcFrame:
    """The frame. Raises: the error that was sent instead; PeerGone if that was that the process stops"""
    if frame.name != ERROR:
        return frame
    err = from_frame(frame)
    raise PeerGone(str(err)) if isinstance(err, Stopping) else err


# How long nothing may come from a process before it is asked whether it is there, and for the answer: one that stands
# still, or is cut off, is noticed within both.
KEEPALIVE_MS: Final = 3_000
KEEPALIVE_OPTIONS: Final = (
    ("grpc.keepalive_time_ms", KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
)
