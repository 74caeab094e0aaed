"""Free ports that no other test takes, though nobody listens there yet: clusters of several test processes start at
the same time, and Kafka takes seconds until the others listen.
"""

import fcntl
import tempfile
from pathlib import Path
from typing import Any, Final

from app.standalone.ports import free_port

_FOLDER: Final = Path(tempfile.gettempdir()) / "stretto-test-ports"
_held: list[Any] = []  # files whose locks end with this process
_taken: set[int] = set()


def own_port() -> int:
    """A free port of 127.0.0.1. Raises: StandaloneError if there is none"""
    _FOLDER.mkdir(exist_ok=True)
    while True:
        port = free_port(avoid=_taken)
        _taken.add(port)
        file = (_FOLDER / str(port)).open("w", encoding="ascii")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return port


def own_ports(count: int) -> list[int]:
    """Several ports as of `own_port`, each another one."""
    return [own_port() for _ in range(count)]
