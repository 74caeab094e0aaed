"""Snapshots of series → bodies of remote-write requests."""

from collections.abc import Iterator

from agents.generator.remote_write.write_request import requests
from agents.generator.series.snapshot import Snapshot


def encoded(
    snapshots: list[Snapshot],
    time_ms: int,
    created_ms: int,
    series_max: int = 5_000,
    *,
    version: int = 1,
    exemplars: bool = True,
) -> Iterator[bytes]:
    """The remote-write requests of a push, uncompressed. version: of the protocol, 1 or 2. Raises: ValueError"""
    for part in snapshots:
        yield from requests(part, time_ms, created_ms, series_max, version=version, exemplars=exemplars)
