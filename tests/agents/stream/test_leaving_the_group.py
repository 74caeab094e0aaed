"""A consumer that leaves its group before it stops, without Kafka."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator

from tests.helpers.live.stream_apps import close_loops, in_this_loop, stream_app
from tests.helpers.loops import in_loop


@pytest.fixture(autouse=True)
def loops_closed() -> Iterator[None]:
    """Each thread has one, whether it runs or not."""
    yield
    close_loops()


class Coordinator:
    """aiokafka's, as far as leaving the group touches it."""

    group_id, member_id = "stretto-live-store", "me"

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._closing = loop.create_future()
        self._coordination_task = asyncio.ensure_future(asyncio.sleep(1000))
        self._heartbeat_task = asyncio.ensure_future(asyncio.sleep(1000))
        self.sent: list[Any] = []

    async def _send_req(self, request: Any) -> None:
        self.sent.append(request)

    check_errors = GroupCoordinator.check_errors
    _error_consumed_fut = _pending_exception = None


@in_loop
async def test_reads_on_without_the_group(tmp_path: Path) -> None:
    """It says that it leaves, as static members of aiokafka never do. Nothing joins or beats any more, fetching goes
    on, and nothing takes the consumer for broken; the end of the consumer waits for nothing.
    """
    made = stream_app(tmp_path, keeps_partitions=True)
    thread = made.consumer._thread
    in_this_loop(thread)
    coordinator = Coordinator()
    joining, beating = coordinator._coordination_task, coordinator._heartbeat_task
    fetching = asyncio.get_running_loop().create_future()
    thread._consumer = SimpleNamespace(
        _closed=False, _coordinator=coordinator, _fetcher=SimpleNamespace(_fetch_task=fetching)
    )
    assert not made.consumer.has_left
    await made.consumer.leave_group()
    assert made.consumer.has_left
    assert joining.cancelled()
    assert beating.cancelled()
    assert [(one._group, one._member_id) for one in coordinator.sent] == [("stretto-live-store", "me")]
    thread._look()
    coordinator.check_errors()
    assert thread.failure == ""
    assert not fetching.done()
    coordinator._closing.set_result(None)
    await asyncio.wait_for(coordinator._coordination_task, 1)


@in_loop
async def test_what_comes_before_the_stop(tmp_path: Path) -> None:
    """Hooks run while the app still works; one that fails keeps nobody from stopping."""
    made = stream_app(tmp_path)
    ran: list[tuple[str, bool, bool]] = []

    async def fails() -> None:
        ran.append(("fails", made.leaving, made.should_stop))
        raise RuntimeError("no")

    async def works() -> None:
        ran.append(("works", made.leaving, made.should_stop))

    made.before_stop += [fails, works]
    await made.stop()
    await made.stop()
    assert ran == [("fails", True, False), ("works", True, False)]
    assert made.should_stop
