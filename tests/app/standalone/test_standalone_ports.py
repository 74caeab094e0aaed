"""Started twice, or beside somebody else: the text says who is in the way."""

import os
import re
import socket
import subprocess
import sys

import pytest

from app.standalone import ports
from app.standalone.errors import StandaloneError
from app.standalone.ports import Listener
from tests.harness.ports import own_ports


@pytest.fixture
def taken():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", ""])
def test_a_port_in_use_names_the_process(taken, host):
    """Port, what for, pid, command, and the two ways out."""
    listener = Listener("OTLP over gRPC", host, taken, "grpc.endpoint")
    with pytest.raises(StandaloneError) as raised:
        ports.wait_free([listener], within_s=0.0)
    assert re.fullmatch(
        rf"port {taken} \(OTLP over gRPC\) is in use by pid {os.getpid()} \(.+\); "
        rf"stop that process \(kill {os.getpid()}\), or change grpc.endpoint",
        str(raised.value),
    )


def test_all_ports_that_are_in_use_are_named(taken):
    """One start tells all; a free port is not mentioned."""
    free = ports.free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        second = other.getsockname()[1]
        listeners = [Listener("x", "127.0.0.1", port, "key") for port in (taken, free, second)]
        with pytest.raises(StandaloneError) as raised:
            ports.wait_free(listeners, within_s=0.0)
    assert [line.split()[1] for line in str(raised.value).splitlines()] == [str(taken), str(second)]


def test_free_ports():
    """Each is another, free, and none that was promised, nor one that a connection could go out from."""
    found = own_ports(50)
    assert len(set(found)) == 50
    assert all(20_000 <= port < 32_768 for port in found)
    ports.wait_free([Listener("x", "127.0.0.1", port, "key") for port in found], within_s=0.0)
    promised = set(range(20_000, 32_768)) - {found[0]}
    assert ports.free_port(avoid=promised) == found[0]


def test_no_free_port():
    """Said, not searched for without end."""
    with pytest.raises(StandaloneError, match=r"no free port of 127\.0\.0\.1 between 20000 and 32767"):
        ports.free_port(avoid=range(20_000, 32_768))


def test_a_port_that_is_let_go_in_time():
    """What a killed run held is free within moments: no error."""
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0)); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        assert not ports.is_free("127.0.0.1", port)
        holder.kill()
        ports.wait_free([Listener("x", "127.0.0.1", port, "key")], within_s=20)


def test_an_address_of_another_machine():
    """Not a port in use: another text."""
    with pytest.raises(StandaloneError, match=r"cannot listen on 192\.0\.2\.1:1234"):
        ports.is_free("192.0.2.1", 1234)


def test_the_data_folder_is_held_once(tmp_path):
    """The second one learns the pid; the folder is free again after the first."""
    with ports.data_lock(tmp_path / "data", 3200):
        second = f"""
from pathlib import Path
from app.standalone.ports import data_lock
try:
    with data_lock(Path({str(tmp_path / "data")!r}), 3200): print("held")
except Exception as err: print(err)
"""
        reply = subprocess.run([sys.executable, "-c", second], capture_output=True, text=True, check=True).stdout
        assert f"port 3200 as pid {os.getpid()}: it holds {tmp_path / 'data' / 'stretto.pid'}" in reply
        assert f"kill {os.getpid()}" in reply
    with ports.data_lock(tmp_path / "data", 3200):
        assert (tmp_path / "data" / "stretto.pid").read_text() == f"{os.getpid()} 3200\n"


def test_a_data_folder_that_cannot_be_made(tmp_path):
    """The text names it and the variable."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StandaloneError, match="STRETTO_DATA_DIR"), ports.data_lock(tmp_path / "file" / "data", 3200):
        pass


@pytest.mark.parametrize(
    ("host", "local"),
    [
        pytest.param("0.0.0.0", "127.0.0.1:80", id="all"),
        pytest.param("::", "127.0.0.1:80", id="all of IPv6"),
        pytest.param("10.0.0.7", "10.0.0.7:80", id="one"),
        pytest.param("::1", "[::1]:80", id="IPv6"),
    ],
)
def test_the_address_for_this_machine(host, local):
    """What a reader can type into curl."""
    assert Listener("x", host, 80, "key").local == local
