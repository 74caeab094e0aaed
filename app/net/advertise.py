"""The address under which other processes reach this one."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

import psutil  # type: ignore[import-untyped]

from app.errors import StrettoError

_LOOPBACK: Final = "127.0.0.1"
_EVERYWHERE: Final = ("", "0.0.0.0", "::")  # noqa: S104  compared, not bound


def advertised_host(listen_host: str, advertised: str, interfaces: Sequence[str], towards: str) -> str:
    """The host for others: what the setting says, else what the process listens on, else, where that is every address,
    the one of the first interface that has one, or the one from which this machine reaches `towards` (host:port).

    Raises: StrettoError where interfaces are named and none of them has an address
    """
    if advertised:
        return advertised
    if interfaces:
        return _of_interfaces(interfaces)
    if listen_host not in _EVERYWHERE:
        return listen_host
    return _towards(towards)


def with_port(host: str, port: int) -> str:
    """host:port, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _of_interfaces(names: Sequence[str]) -> str:
    there = psutil.net_if_addrs()
    for name in names:
        for family in (socket.AF_INET, socket.AF_INET6):
            for one in there.get(name, ()):
                # A link-local address needs the name of the interface beside it, which others do not have.
                if one.family == family and not ipaddress.ip_address(one.address.partition("%")[0]).is_link_local:
                    return str(one.address)
    raise StrettoError(
        f"members.instance_interface_names: none of {', '.join(names)} has an address; "
        f"the interfaces here are {', '.join(sorted(there))}"
    )


def _towards(address: str) -> str:
    """The address of this machine that a connection to host:port would have. Sends nothing."""
    host, _, port = address.rpartition(":")
    try:
        ((family, _, _, _, where), *_) = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(where)
            return str(probe.getsockname()[0])
    except OSError:
        return _LOOPBACK
