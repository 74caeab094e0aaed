"""A member of a group that has more members than there are partitions."""

import asyncio
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.types import TP

from agents.stream import stream_app
from agents.stream.kafka_client import KafkaClient
from agents.stream.partition_owner import NoOwner
from agents.stream.stream_app import new_app
from tests.helpers.loops import in_loop


class Owner(NoOwner):
    """Not open yet at the first calls."""

    def __init__(self, fails: int) -> None:
        self.fails, self.emptied_times = fails, 0

    async def emptied(self) -> None:
        if self.fails:
            self.fails -= 1
            raise RuntimeError("the live store is not open yet")
        self.emptied_times += 1


@pytest.mark.parametrize("fails", [0, 2])
@in_loop
async def test_an_assignment_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: int) -> None:
    """Others have all partitions: the owner is told, again where it could not take it, and not where it has some."""

    async def as_faust(_app: Any, _assigned: set[TP], _generation: int = 0) -> None: ...

    monkeypatch.setattr(faust.App, "_on_partitions_assigned", as_faust)
    monkeypatch.setattr(stream_app, "_AGAIN_S", 0.001)
    made = new_app(
        "app",
        kafka=KafkaClient.plain("127.0.0.1:1"),
        datadir=tmp_path,
        session_timeout_s=6.0,
        message_bytes_max=1 << 20,
        keeps_partitions=False,
    )
    owner = Owner(fails)
    made.owned_by(owner)
    await made._on_partitions_assigned({TP("spans", 1)}, 1)
    assert made._empty_handed is None
    await made._on_partitions_assigned(set(), 2)
    await asyncio.wait_for(made._empty_handed, 5)
    assert owner.emptied_times == 1
