"""A memcached and a Redis in one: as much of their protocols as a cache needs, on loopback, for tests."""

import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class CacheStub(socketserver.ThreadingTCPServer):
    """values: by key; delay_s: before each answer; garbage: answers nonsense; calls: how many there were"""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.values: dict[bytes, bytes] = {}
        self.delay_s = 0.0
        self.garbage = False
        self.calls = 0
        self.connections: set[socket.socket] = set()
        self.connected_max = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Connection(socketserver.StreamRequestHandler):
    server: CacheStub

    def handle(self) -> None:
        self.server.connections.add(self.connection)
        self.server.connected_max = max(self.server.connected_max, len(self.server.connections))
        try:
            while line := self.rfile.readline():
                self.server.calls += 1
                time.sleep(self.server.delay_s)
                if self.server.garbage:
                    self.wfile.write(b"nonsense\r\n")
                elif line.startswith(b"*"):
                    self._redis(int(line[1:]))
                else:
                    self._memcached(line.split())
        except (OSError, ValueError):
            pass
        finally:
            self.server.connections.discard(self.connection)

    def _memcached(self, words: list[bytes]) -> None:
        if words[0] == b"get":
            found = [(key, self.server.values[key]) for key in words[1:] if key in self.server.values]
            parts = [b"VALUE %b 0 %d\r\n%b\r\n" % (key, len(value), value) for key, value in found]
            self.wfile.write(b"".join([*parts, b"END\r\n"]))
        elif words[0] == b"set":
            self.server.values[words[1]] = self.rfile.read(int(words[4]) + 2)[:-2]
            self.wfile.write(b"STORED\r\n")
        else:
            self.wfile.write(b"ERROR\r\n")

    def _redis(self, count: int) -> None:
        words = [self.rfile.read(int(self.rfile.readline()[1:]) + 2)[:-2] for _ in range(count)]
        match words[0].upper():
            case b"MGET":
                values = [self.server.values.get(key) for key in words[1:]]
                bulk = [b"$-1\r\n" if value is None else b"$%d\r\n%b\r\n" % (len(value), value) for value in values]
                self.wfile.write(b"".join([b"*%d\r\n" % len(values), *bulk]))
            case b"SET":
                self.server.values[words[1]] = words[2]
                self.wfile.write(b"+OK\r\n")
            case _:
                self.wfile.write(b"+OK\r\n")


@contextmanager
def cache_stub() -> Iterator[CacheStub]:
    """A server that runs; on leaving, it and its connections are closed."""
    with CacheStub() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            stop(server)
            thread.join()


def stop(server: Any) -> None:
    """Ends the server and cuts all connections."""
    server.shutdown()
    server.server_close()
    for connection in list(server.connections):
        try:
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
