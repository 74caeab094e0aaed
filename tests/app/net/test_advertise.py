"""The address that a process tells the others."""

import socket
from types import SimpleNamespace

import psutil  # type: ignore[import-untyped]
import pytest

from app.errors import StrettoError
from app.net.advertise import advertised_host, with_port

KAFKA = "127.0.0.1:9092"


def of(family, address):
    return SimpleNamespace(family=family, address=address)


INTERFACES = {
    "lo": [of(socket.AF_INET, "127.0.0.1")],
    "eth0": [of(socket.AF_INET6, "fe80::1%eth0"), of(socket.AF_INET, "10.0.0.7"), of(socket.AF_INET6, "fd00::7")],
    "six": [of(socket.AF_INET6, "fe80::2%six"), of(socket.AF_INET6, "fd00::8")],
    "down": [],
}


@pytest.mark.parametrize(
    ("listen", "setting", "interfaces", "host"),
    [
        pytest.param("0.0.0.0", "stretto-1.example", ["eth0"], "stretto-1.example", id="the setting"),
        pytest.param("127.0.0.1", "", ["eth0"], "10.0.0.7", id="an interface"),
        pytest.param("0.0.0.0", "", ["none", "down", "six", "eth0"], "fd00::8", id="the first with an address"),
        pytest.param("10.1.1.1", "", [], "10.1.1.1", id="what it listens on"),
        pytest.param("0.0.0.0", "", [], "127.0.0.1", id="whence it reaches Kafka"),
        pytest.param("::", "", [], "127.0.0.1", id="whence it reaches Kafka, IPv6"),
    ],
)
def test_hosts(monkeypatch, listen, setting, interfaces, host):
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: INTERFACES)
    assert advertised_host(listen, setting, interfaces, KAFKA) == host


def test_no_such_interface(monkeypatch):
    """The error names those that there are."""
    monkeypatch.setattr(psutil, "net_if_addrs", lambda: INTERFACES)
    with pytest.raises(StrettoError, match=r"none of eth7, down has an address.*down, eth0, lo, six"):
        advertised_host("0.0.0.0", "", ["eth7", "down"], KAFKA)


def test_kafka_cannot_be_resolved():
    """A process whose Kafka has no address yet listens for itself."""
    assert advertised_host("", "", [], "kafka.invalid:9092") == "127.0.0.1"


def test_ports():
    assert (with_port("h", 1), with_port("::1", 1)) == ("h:1", "[::1]:1")
