"""HTTP/2 connections of OTLP/gRPC with any bytes, in any pieces: no fault of ours, and nothing is held afterwards."""

import asyncio
import random
import struct

import h2.config
import h2.connection
import pytest

from app.net.access import Access
from app.net.http2 import Http2Connection
from app.net.http_guard import LIMITED
from app.receivers.grpc import GrpcReceiver
from app.receivers.otlp.export import EXPORT
from tests.helpers.receiving.receivers import FakeBatcher


class Transport(asyncio.Transport):
    """Takes everything, tells nothing."""

    def __init__(self):
        super().__init__()
        self.closed = False

    def write(self, data):
        pass

    def can_write_eof(self):
        return True

    def write_eof(self):
        pass

    def pause_reading(self):
        pass

    def resume_reading(self):
        pass

    def is_closing(self):
        return self.closed

    def close(self):
        self.closed = True

    abort = close


def session(seed: int) -> bytes:
    """What a client sends for some requests."""
    chance = random.Random(seed)
    client = h2.connection.H2Connection(h2.config.H2Configuration())
    client.initiate_connection()
    headers = {":method": "POST", ":scheme": "http", ":authority": "x", ":path": EXPORT.path}
    for _ in range(chance.randint(1, 4)):
        stream = client.get_next_available_stream_id()
        client.send_headers(stream, [*headers.items(), ("content-type", "application/grpc"), ("x-scope-orgid", "a")])
        body = chance.randbytes(chance.choice([0, 5, 3000]))
        client.send_data(stream, struct.pack(">BL", 0, len(body)), pad_length=chance.choice([None, 3]))
        client.send_data(stream, body, end_stream=chance.random() < 0.8)
        if chance.random() < 0.3:
            client.ping(b"12345678")
        if chance.random() < 0.3:
            client.reset_stream(stream)
    return client.data_to_send()


def mutated(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 5])):
        at = chance.randrange(24 if chance.random() < 0.9 else 0, len(changed))
        match chance.randrange(4):
            case 0:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                changed[at : at + chance.randrange(12)] = chance.randbytes(chance.randrange(12))
            case 2:
                changed[at:at] = changed[at - chance.randrange(20) : at]
            case _:
                changed[at] = chance.choice([0, 1, 255])
    return bytes(changed)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_sessions(seed):
    """A hundred of each seed."""

    async def main() -> None:
        chance = random.Random(seed)
        server = GrpcReceiver(FakeBatcher(), "127.0.0.1:1", Access(multitenancy=True), EXPORT, message_bytes_max=10_000)
        faults = LIMITED.labels(EXPORT.name, "fault")
        before = faults._value.get()
        for number in range(100):
            data, connection, transport = mutated(session(number), chance), Http2Connection(server), Transport()
            connection.connection_made(transport)
            at = 0
            while at < len(data) and not transport.closed:
                size = chance.choice([1, 9, 100, 5000])
                connection.data_received(data[at : at + size])
                at += size
                await asyncio.sleep(0)
            assert faults._value.get() == before, data.hex()
            connection.connection_lost(None)
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert server.budget.used_bytes == 0
        assert not server._connections
        await server.stop(None)

    asyncio.run(main())
