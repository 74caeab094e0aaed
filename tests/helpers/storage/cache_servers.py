"""Real memcached and Redis servers on loopback, for tests."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from tests.harness.ports import own_port
from tests.helpers.missing import skip_or_fail

_READY_S: Final = 30.0
# Few megabytes: the tests make them evict.
_COMMANDS: Final = {
    "memcached": ["memcached", "-l", "127.0.0.1", "-m", "4", "-I", "1m", "-u", "root", "-p"],
    "redis-server": [
        *("redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"),
        *("--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru", "--port"),
    ],
}


@contextmanager
def real_cache_server(name: str) -> Iterator[int]:
    """Starts `memcached` or `redis-server`, and gives its port. Without it the test is skipped; in CI it fails."""
    if shutil.which(name) is None:
        skip_or_fail(f"{name} is not there (Debian, Ubuntu: apt-get install {name})")
    port = own_port()
    with _running([*_COMMANDS[name], str(port)]) as process:
        end_s = time.monotonic() + _READY_S
        while not _listens(port):
            assert process.poll() is None, f"{name} ended with status {process.returncode}"
            assert time.monotonic() < end_s, f"{name} does not listen"
            time.sleep(0.01)
        yield port


@contextmanager
def _running(command: Sequence[str]) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
