"""Checks that the ports and the data folder are free, and names the process that uses them."""

import errno
import fcntl
import os
import random
import socket
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.standalone.errors import StandaloneError

PID_FILE: Final = "stretto.pid"
_RETRY_S: Final = 0.1
_FREE_PORTS: Final = range(20_000, 32_768)  # above the services, below where Linux takes ports for connections
_ALL_ADDRESSES: Final = ("", "0.0.0.0", "::")  # noqa: S104  compared, not bound


@dataclass(frozen=True, slots=True)
class Listener:
    what: str  # "OTLP gRPC"
    host: str  # as in the settings; "" or 0.0.0.0: all addresses
    port: int
    setting: str  # what to change if the port is taken: "server.http_listen_port (or PORT)"
    tls: bool = False
    only_with_certificate: bool = False  # of the client

    @property
    def on_all(self) -> bool:
        return self.host in _ALL_ADDRESSES

    @property
    def local_host(self) -> str:
        """The host name under which this machine reaches the listener; without brackets."""
        return "127.0.0.1" if self.on_all else self.host

    @property
    def local(self) -> str:
        """host:port for a client on this machine."""
        host = self.local_host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


@contextmanager
def data_lock(data_dir: Path, port: int) -> Iterator[None]:
    """Locks the data folder for this process; the kernel releases the lock even after kill -9.

    port: where this process will listen, for the error that a second process gets

    Raises: StandaloneError that names the process with the lock, or why the folder cannot be used
    """
    path = data_dir / PID_FILE
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="ascii")
    except OSError as err:
        raise StandaloneError(
            f"cannot use the data folder {data_dir}: {err}; set STRETTO_DATA_DIR to a writable folder"
        ) from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            pid, _, its_port = file.read().strip().partition(" ")
            raise StandaloneError(
                f"stretto runs already on port {its_port or '?'} as pid {pid or '?'}: it holds {path}. "
                f"Stop it (kill {pid}), or set STRETTO_DATA_DIR to another folder and PORT to another port."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()} {port}\n")
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def wait_free(listeners: Sequence[Listener], within_s: float) -> None:
    """Returns once all ports are free: after a kill, the ports of the former run are free within moments.

    Raises: StandaloneError with one line per port: who uses it, and what to do
    """
    end = time.monotonic() + within_s
    while taken := [listener for listener in listeners if not is_free(listener.host, listener.port)]:
        if time.monotonic() >= end:
            raise StandaloneError("\n".join(_refusal(listener) for listener in taken))
        time.sleep(_RETRY_S)


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen there. Raises: StandaloneError if the address does not belong to this machine"""
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            # As servers do: connections of an earlier run that linger in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
    except OSError as err:
        if err.errno == errno.EADDRINUSE:
            return False
        raise StandaloneError(f"cannot listen on {host}:{port}: {err}") from err
    return True


def free_port(host: str = "127.0.0.1", avoid: Collection[int] = ()) -> int:
    """A free port that is not in `avoid`, the ports that are already assigned.

    The system's choice (port 0) is not safe: the system may give the same port to an outgoing connection before its
    owner listens on it.
    Raises: StandaloneError if none is found
    """
    for port in random.sample(_FREE_PORTS, len(_FREE_PORTS)):
        if port not in avoid and is_free(host, port):
            return port
    raise StandaloneError(f"no free port of {host} between {_FREE_PORTS[0]} and {_FREE_PORTS[-1]}")


def _refusal(listener: Listener) -> str:
    text = f"port {listener.port} ({listener.what}) is in use"
    if not (owner := holder(listener.port)):
        return f"{text} by a process of another user; change {listener.setting}"
    pid, command = owner
    return f"{text} by pid {pid} ({command}); stop that process (kill {pid}), or change {listener.setting}"


def holder(port: int, *, udp: bool = False) -> tuple[int, str] | None:
    """(pid, command line) of the process that listens on `port`; None if we have no permission to know."""
    import psutil  # type: ignore[import-untyped]  # rarely needed: only to explain a refusal

    listening = psutil.CONN_NONE if udp else psutil.CONN_LISTEN
    for process in psutil.process_iter():
        try:
            for connection in process.net_connections(kind="udp" if udp else "tcp"):
                if connection.status != listening or not connection.laddr:
                    continue
                if connection.laddr.port == port:
                    return process.pid, " ".join(process.cmdline())[:100]
        except psutil.Error:
            continue  # another user's, or gone in the meantime
    return None
