"""Disks that are full and storages that are away: ingest goes on or waits, nothing is lost, all recovers by itself."""

import errno
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.client import Client, eventually, request
from tests.harness.cluster import SHORT_WINDOWS, Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


def not_ready(client: Client) -> str:
    """What /ready says while it says no; "" when ready."""
    try:
        urllib.request.urlopen(f"{client.cluster.http_url}/ready", timeout=5).close()
    except urllib.error.HTTPError as err:
        return err.read().decode()
    return ""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own for the segments. Mounting takes root, as CI has."""
    folder = tmp_path / "data" / "live"
    folder.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(filler: Path) -> None:
    """Writes until the disk takes no more."""
    try:
        with filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))
    except OSError as err:
        if err.errno != errno.ENOSPC:
            raise


def test_disk_full(small_disk: Path, tmp_path: Path) -> None:
    """Segments do not fit: /ready says why, clients go on, and with room everything is sealed and flushed."""
    with Cluster(tmp_path, SHORT_WINDOWS) as running:
        client = Client(running)
        filler = small_disk / "filler"
        fill_up(filler)
        sent = 0
        for n in range(4):
            client.send(request("full", 2000, 5, first_trace=1 + 2000 * n))
            sent += 10_000
        eventually(lambda: not_ready(client), lambda text: "No space left" in text, what="ready on a full disk")
        client.send(request("full", 2000, 5, first_trace=100_000))
        sent += 10_000
        client.expect_spans("full", sent)  # what is not sealed is searchable all the same
        filler.unlink()
        eventually(lambda: not_ready(client), lambda text: not text, 60, "not ready with room")
        client.expect_spans("full", sent, 60)
        flushed = "stretto_block_spans_flushed_total"
        eventually(lambda: client.metric(flushed), lambda spans: spans == sent, 60, "not flushed")


def counted_or_refused(client: Client, service: str, secret: str) -> int | None:
    """None: 503, with a text that tells nothing of the server's insides."""
    try:
        return client.span_count(service)
    except urllib.error.HTTPError as err:
        text = err.read().decode()
        if err.code != 503 or secret in text:
            raise
    return None


def test_storage_away(own_cluster: Cluster) -> None:
    """Blocks cannot be written: spans come in and are found; blocks catch up when the storage is back."""
    client = Client(own_cluster)
    client.send(request("away", 100, 5))
    flushed = "stretto_block_spans_flushed_total"
    eventually(lambda: client.metric(flushed), lambda spans: spans == 500, what="no first flush")
    blocks = own_cluster.data_dir / "blocks"
    blocks.rename(blocks.with_name("blocks-away"))
    blocks.write_text("not a folder")
    client.send(request("live", 100, 5))
    failures = "stretto_block_flush_failures_total"
    eventually(lambda: client.metric(failures), lambda count: count >= 2, what="no failure")
    client.send(request("live", 100, 5, first_trace=1000))
    assert not_ready(client) == ""
    # Both are found, or the answer says that blocks cannot be read: never silently less.
    assert counted_or_refused(client, "live", str(blocks)) in (1000, None)
    blocks.unlink()
    blocks.with_name("blocks-away").rename(blocks)
    eventually(lambda: client.metric(flushed), lambda spans: spans == 1500, 60, "blocks did not catch up")
    client.expect_spans("away", 500)
    client.expect_spans("live", 1000)
