"""An S3 on loopback, in a process of its own: moto's server, with one bucket."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

from tests.harness.cluster import BenchError
from tests.harness.ending import end
from tests.harness.ports import own_port

REGION: Final = "us-east-1"
SECRET: Final = "secret"  # moto takes any
_READY_S: Final = 60.0
_STOP_S: Final = 10.0


def moto_options(address: str) -> dict[str, Any]:
    """Options of `StorageConfig` for the server at host:port, or for a proxy before it."""
    return {
        "endpoint": f"http://{address}",
        "region": REGION,
        "access_key_id": SECRET,
        "secret_access_key": SECRET,
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }


@contextmanager
def moto_process(bucket: str, log: Path) -> Iterator[str]:
    """host:port of a server that listens, and has the empty bucket. Raises: BenchError"""
    port = own_port()
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        _make(bucket, address, process, log)
        yield address
    finally:
        end(process, _STOP_S)


def _make(bucket: str, address: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    """The bucket, once the server listens."""
    deadline_s = time.monotonic() + _READY_S
    while not _made(bucket, address):
        if process.poll() is not None or time.monotonic() > deadline_s:
            raise BenchError(f"the S3 server does not answer at {address}: see {log}")
        time.sleep(0.1)


def _made(bucket: str, address: str) -> bool:
    connection = HTTPConnection(address, timeout=_READY_S)
    try:
        connection.request("PUT", f"/{bucket}")
        return connection.getresponse().status == HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
