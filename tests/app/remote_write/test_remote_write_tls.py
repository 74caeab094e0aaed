"""Remote write over TLS."""

import asyncio
import os
import ssl
import stat
import subprocess
from contextlib import suppress

import pytest

from tests.helpers.generator.remote_write_target import Receiver, send, sent


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """An authority, and certificates of a server and a client that it has signed."""
    folder = tmp_path_factory.mktemp("pki")

    def openssl(*command):
        subprocess.run(["openssl", *command], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    openssl("req", "-x509", *key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    for name, host in (("server", "DNS:metrics.example"), ("client", "DNS:client")):
        openssl(
            "req", "-x509", *key, "-subj", f"/CN={name}", "-addext", f"subjectAltName={host}",
            "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE",
            "-keyout", f"{name}.key", "-out", f"{name}.pem",
        )  # fmt: skip
    return folder


def server_tls(pki):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.pem"))
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls_config(pki, **changes):
    files = {"ca_file": "ca.pem", "cert_file": "client.pem", "key_file": "client.key"}
    return {key: str(pki / name) for key, name in files.items()} | {"server_name": "metrics.example"} | changes


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="both sides known"),
        pytest.param({"ca_file": "", "server_name": "", "insecure_skip_verify": True}, id="server not looked at"),
    ],
)
def test_tls(pki, changes):
    """The server shows a certificate of the authority, and so does the client."""
    assert send(Receiver(tls=server_tls(pki)), scheme="https", tls_config=tls_config(pki, **changes))[0]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"ca_file": ""}, id="unknown authority"),
        pytest.param({"server_name": "other.example"}, id="another name"),
        pytest.param({"cert_file": "", "key_file": ""}, id="no client's certificate"),
        pytest.param({"ca_file": "/nowhere"}, id="no file"),
    ],
)
def test_wrong_tls(pki, changes):
    """Nothing is sent, and it is tried again."""
    receiver = Receiver(tls=server_tls(pki))

    async def run():
        before = open_sockets()
        async with receiver:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await sent(receiver, scheme="https", tls_config=tls_config(pki, **changes))
        # A connection that was given up in its handshake is closed in one of the loop's next turns.
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while open_sockets() > before:
                    await asyncio.sleep(0)

    asyncio.run(run())
    assert not receiver.seen


def open_sockets() -> int:
    """How many this process has."""

    def is_socket(fd: int) -> bool:
        with suppress(OSError):
            return stat.S_ISSOCK(os.fstat(fd).st_mode)
        return False

    return sum(map(is_socket, range(1024)))


def test_certificates_that_are_renewed(pki, tmp_path):
    """Files are looked at with each request."""
    ca = tmp_path / "ca.pem"

    async def run():
        async with Receiver(tls=server_tls(pki)) as receiver:
            changes = {"scheme": "https", "tls_config": tls_config(pki, ca_file=str(ca))}
            ca.write_text((pki / "client.pem").read_text())
            sending = asyncio.create_task(sent(receiver, b"one", **changes))
            await asyncio.sleep(0.1)
            assert not receiver.seen
            ca.write_text((pki / "ca.pem").read_text())
            await sending
            assert receiver.bodies == [b"one"]

    asyncio.run(run())
