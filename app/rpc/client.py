"""Calls to other processes: one connection to each, made when it is first needed."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from app.rpc.conversation import KEEPALIVE_OPTIONS, CallingConversation
from app.rpc.frames import MESSAGE_BYTES_MAX
from app.rpc.security import InternalSecurity
from app.rpc.server import path_of


class InternalClient:
    """One for a process; belongs to its event loop."""

    def __init__(self, security: InternalSecurity, data_bytes_max: int) -> None:
        """data_bytes_max: the most bytes of one frame that comes back"""
        self._security, self._data_bytes_max = security, data_bytes_max
        self._channels: dict[str, tuple[int, Any]] = {}  # by address: the version of the secrets, the channel

    @contextmanager
    def call(self, address: str, method: str) -> Iterator[CallingConversation]:
        """A conversation with a process, which ends with the `with`. In: host:port. It does not wait for a connection:
        `send` and `receive` do, and raise PeerGone where there is none.
        """
        stream = self._channel(address).stream_stream(path_of(method))
        call = stream(metadata=self._security.metadata(), wait_for_ready=False)
        conversation = CallingConversation(call, address, self._data_bytes_max)
        try:
            yield conversation
        finally:
            conversation.close()

    def keep_only(self, addresses: set[str]) -> list[Any]:
        """Takes out the connections to all other processes. Out: what to `close`"""
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
