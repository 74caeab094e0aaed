"""Object storage that does not answer."""

import socket
import time
from collections.abc import Callable
from typing import Any

import pytest

from tables.errors import StorageError
from tables.storage.object_store import ObjectStore, StorageConfig


def s3(port: int, read_timeout_s: float) -> ObjectStore:
    options = {
        "endpoint": f"http://127.0.0.1:{port}",
        "region": "here",
        "access_key_id": "key",
        "secret_access_key": "secret",
        "virtual_hosted_style_request": False,
        "client_options": {"allow_http": True},
    }
    return ObjectStore(StorageConfig("s3", "bucket", options=options, read_timeout_s=read_timeout_s))


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda store: store.get("a"), id="an object"),
        pytest.param(lambda store: store.get_ranges("a", [(0, 4)]), id="a range"),
        pytest.param(lambda store: list(store.paths("a")), id="a list"),
    ],
)
@pytest.mark.parametrize("listens", [True, False], ids=["silent", "refused"])
def test_reads_end_in_time(read: Callable[[ObjectStore], Any], listens: bool) -> None:
    """A read of a storage that is away ends with an error that says so, and holds its thread no longer."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if listens:
            server.listen()
        store = s3(server.getsockname()[1], 0.5)
        began_s = time.monotonic()
        with pytest.raises(StorageError, match=r"cannot (read|list) a in s3 storage bucket"):
            read(store)
        assert time.monotonic() - began_s < 5
