"""The proxy between worker and Kafka: what it passes on, loses and delays."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Iterator

import pytest

from benchmarks.hostile.kafka_proxy import FETCH, HEARTBEAT, Fault, KafkaProxy
from tests.harness.ports import own_ports


def answer(server: socket.socket) -> None:
    """A Kafka that answers each request with its correlation id."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = server.accept()
            threading.Thread(target=serve, args=(connection,), daemon=True).start()


def serve(connection: socket.socket) -> None:
    with connection, contextlib.suppress(OSError, struct.error):
        while True:
            (length,) = struct.unpack(">i", connection.recv(4, socket.MSG_WAITALL))
            body = connection.recv(length, socket.MSG_WAITALL)
            connection.sendall(struct.pack(">i", 4) + body[4:8])


@pytest.fixture
def proxy() -> Iterator[KafkaProxy]:
    port, kafka_port = own_ports(2)
    with socket.create_server(("127.0.0.1", kafka_port)) as server:
        threading.Thread(target=answer, args=(server,), daemon=True).start()
        with KafkaProxy(port, kafka_port) as running:
            yield running


class Connection:
    def __init__(self, proxy: KafkaProxy, client: str = "faust-1") -> None:
        self.socket = socket.create_connection(("127.0.0.1", proxy._port))
        self.client, self.number = client.encode(), 0

    def ask(self, api: int, within_s: float = 0.3) -> bool:
        """Whether there is an answer."""
        self.number += 1
        body = struct.pack(">hhih", api, 1, self.number, len(self.client)) + self.client + b"rest"
        self.socket.sendall(struct.pack(">i", len(body)) + body)
        self.socket.settimeout(within_s)
        try:
            return self.socket.recv(8, socket.MSG_WAITALL) == struct.pack(">ii", 4, self.number)
        except TimeoutError:
            return False


@pytest.mark.parametrize("fault", [Fault(frozenset({FETCH}), answers=True), Fault(frozenset({FETCH}), requests=True)])
def test_lost(proxy: KafkaProxy, fault: Fault) -> None:
    """Only what was told; but then all that follows on that connection, also afterwards."""
    with (
        contextlib.closing(Connection(proxy).socket),
        contextlib.closing((one := Connection(proxy)).socket),
        contextlib.closing((other := Connection(proxy, "aiokafka")).socket),
        contextlib.closing((third := Connection(proxy)).socket),
    ):
        assert one.ask(FETCH)
        proxy.set(fault)
        assert one.ask(HEARTBEAT)
        assert other.ask(FETCH)
        assert not one.ask(FETCH)
        assert not one.ask(HEARTBEAT)
        proxy.set()
        assert not one.ask(HEARTBEAT)
        assert third.ask(FETCH)
        assert proxy.lost == 1


def test_late_and_cut(proxy: KafkaProxy) -> None:
    with contextlib.closing((one := Connection(proxy)).socket):
        proxy.set(Fault(delay_s=0.2))
        began_s = time.monotonic()
        assert one.ask(FETCH, 5)
        assert time.monotonic() - began_s > 0.15
        proxy.cut()
        one.socket.settimeout(5)
        assert one.socket.recv(1) == b""
