"""Cuts on their way from the partition manager to the block flusher."""

import asyncio
from typing import NamedTuple

from tables.live.partition import LivePartition
from tables.live.partition_jobs import FlushJob


class Flush(NamedTuple):
    """A cut of a partition that becomes blocks."""

    state: LivePartition
    job: FlushJob


# Few: bounded by the spans that wait to be sealed.
FlushQueue = asyncio.Queue[Flush]
