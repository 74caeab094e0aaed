"""Calls to other processes: one connection to each, made when it is first needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import grpc

from app.rpc.conversation import KEEPALIVE_OPTIONS, CallingConversation
from app.rpc.frames import MESSAGE_BYTES_MAX
from app.rpc.security import InternalSecurity
from app.rpc.server import path_of

# Conversations with one method of a process that are kept while nobody asks.
KEPT_MAX: Final = 16


class InternalClient:
    """One for a process; belongs to its event loop."""

    def __init__(self, security: InternalSecurity, data_bytes_max: int) -> None:
        """data_bytes_max: the most bytes of one frame that comes back"""
        self._security, self._data_bytes_max = security, data_bytes_max
        self._channels: dict[str, tuple[int, Any]] = {}  # by address: the version of the secrets, the channel
        # By address, method and version of the secrets: conversations in which nobody asks just now.
        self._kept: dict[tuple[str, str, int], list[CallingConversation]] = {}

    @contextmanager
    def call(self, address: str, method: str) -> Iterator[CallingConversation]:
        """A conversation with a process, which ends with the `with`. In: host:port. It does not wait for a connection:
        `send` and `receive` do, and raise PeerGone where there is none.
        """
        conversation = self._new(address, method)
        try:
            yield conversation
        finally:
            conversation.close()

    @contextmanager
    def kept_call(self, address: str, method: str, *, new: bool = False) -> Iterator[CallingConversation]:
        """As `call`, of a method that answers again and again: a conversation that was `over` is kept for the next who
        asks, for whom it costs a third of a new call. new: not one that was kept
        """
        place = (address, method, self._security.version)
        kept = self._kept_at(place)
        conversation = None
        while kept and conversation is None and not new:
            last = kept.pop()
            if last.can_ask_again:
                conversation, last.is_over, last.was_used = last, False, True
        if conversation is None:
            conversation = self._new(address, method)
        try:
            yield conversation
        finally:
            if conversation.can_ask_again and len(kept) < KEPT_MAX and self._kept.get(place) is kept:
                kept.append(conversation)
            else:
                conversation.close()

    def _kept_at(self, place: tuple[str, str, int]) -> list[CallingConversation]:
        if place not in self._kept:
            for former in [
                one for one in self._kept if one[:2] == place[:2]
            ]:  # with secrets that are not sent any more
                for conversation in self._kept.pop(former):
                    conversation.close()
            self._kept[place] = []
        return self._kept[place]

    def _new(self, address: str, method: str) -> CallingConversation:
        stream = self._channel(address).stream_stream(path_of(method))
        call = stream(metadata=self._security.metadata(), wait_for_ready=False)
        return CallingConversation(call, address, self._data_bytes_max)

    def keep_only(self, addresses: set[str]) -> list[Any]:
        """Takes out the connections to all other processes. Out: what to `close`"""
        for place in [place for place in self._kept if place[0] not in addresses]:
            for conversation in self._kept.pop(place):
                conversation.close()
        gone = [address for address in self._channels if address not in addresses]
        return [self._channels.pop(address)[1] for address in gone]

    async def close(self) -> None:
        """Ends all calls, and closes all connections."""
        for channel in self.keep_only(set()):
            await channel.close(None)

    def _channel(self, address: str) -> Any:
        version, channel = self._channels.get(address, (-1, None))
        if channel is None or version != self._security.version:
            options: list[tuple[str, Any]] = [
                *KEEPALIVE_OPTIONS,
                ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
                # A process that comes back is found within seconds, not minutes.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 1000),
            ]
            if self._security.server_name:
                options.append(("grpc.ssl_target_name_override", self._security.server_name))
            credentials = self._security.channel_credentials()
            if credentials is None:
                channel = grpc.aio.insecure_channel(address, options)
            else:
                channel = grpc.aio.secure_channel(address, credentials, options)
            self._channels[address] = (self._security.version, channel)
        return channel
