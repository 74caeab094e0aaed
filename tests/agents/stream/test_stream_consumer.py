"""Faust's consumer and its thread without Kafka: what would end or hang a worker does not."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import ConsumerStoppedError, CorruptRecordException, IllegalStateError, KafkaError
from faust.types import TP

from agents.live_store import block_flusher
from agents.live_store.flush_queue import Flush, FlushQueue
from agents.stream.consumer_thread import ERRORS, Abandoned, ConsumerThread
from agents.stream.stream_app import rebalance_timeout_s
from tests.helpers.live.stream_apps import close_loops, in_this_loop, stream_app
from tests.helpers.loops import in_loop

P0, P1 = TP("spans", 0), TP("spans", 1)


@pytest.fixture(autouse=True)
def loops_closed() -> Iterator[None]:
    """Each thread has one, whether it runs or not."""
    yield
    close_loops()


class Fetching:
    """aiokafka's consumer, as far as the thread looks at it."""

    def __init__(self) -> None:
        self._closed = False
        loop = asyncio.get_running_loop()
        self._coordinator = SimpleNamespace(
            _coordination_task=loop.create_future(), _heartbeat_task=None, check_errors=self.check_errors
        )
        self._fetcher = SimpleNamespace(_fetch_task=loop.create_future())
        self.asked = 0
        self.error: Exception | None = None

    def check_errors(self) -> None:
        self.asked += 1
        if self.error is not None:
            error, self.error = self.error, None
            raise error


def test_nobody_is_idle(tmp_path: Path) -> None:
    """A consumer that takes no records is never taken for dead by itself: aiokafka would not let it join again.

    Faust takes none while it is in no group. After 1000 s, its default, it never came back.
    """
    made = stream_app(tmp_path)

    async def joins(max_poll_interval_s: float) -> bool:
        coordinator = object.__new__(GroupCoordinator)
        joined: list[object] = []

        async def join(subscription: object) -> bool:
            joined.append(subscription)
            return False

        async def nothing() -> None:
            pass

        coordinator.__dict__.update(
            _subscription=SimpleNamespace(subscribed_pattern=None, fetcher_idle_time=7200.0),
            _performed_join_prepare=True,
            _stop_heartbeat_task=nothing,
            _max_poll_interval=max_poll_interval_s,
            _retry_backoff_ms=1,
            _do_rejoin_group=join,
        )
        await coordinator.ensure_active_group(object(), object())
        return bool(joined)

    assert not asyncio.run(joins(1000.0))  # what aiokafka does
    assert asyncio.run(joins(made.conf.broker_max_poll_interval))


@pytest.mark.parametrize(("session_s", "rebalance_s"), [(3, 5.1), (6, 10), (10, 10), (30, 30)])
def test_rebalance_timeout(session_s: float, rebalance_s: float) -> None:
    assert rebalance_timeout_s(session_s) == pytest.approx(rebalance_s)


@in_loop
async def test_calls_do_not_wait_behind_each_other(tmp_path: Path) -> None:
    """Any number hangs, and the next is answered; when the consumer is replaced they end, with an error for each."""
    thread = stream_app(tmp_path).consumer._thread
    assert isinstance(thread, ConsumerThread)
    in_this_loop(thread)
    hanging = [asyncio.ensure_future(thread.call_thread(asyncio.sleep, 1000)) for _ in range(10)]
    await asyncio.sleep(0.01)
    assert await asyncio.wait_for(thread.call_thread(lambda: 7), 1) == 7
    ended: list[object] = []
    thread._end = lambda consumer: _note(ended, consumer)
    former, another = object(), SimpleNamespace(subscribe=lambda **kwargs: ended.append(kwargs["topics"]))
    thread._consumer, thread.topics, thread.failure = former, {"spans"}, "it has ended"
    await thread.call_thread(thread.replace, another)
    assert ended == [former, {"spans"}]
    assert (thread._consumer, thread.failure) == (another, "")
    for one in hanging:
        with pytest.raises(Abandoned):
            await one


async def _note(ended: list[object], one: object) -> None:
    ended.append(one)


@in_loop
async def test_given_up_by_its_caller(tmp_path: Path) -> None:
    """What was asked for goes on: records that are taken from aiokafka must not vanish."""
    thread = stream_app(tmp_path).consumer._thread
    in_this_loop(thread)
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0.02)
        done.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await thread.call_thread(work)
    await asyncio.wait_for(done.wait(), 1)


@in_loop
async def test_errors_are_consumed(tmp_path: Path) -> None:
    """Until somebody asks, aiokafka's coordinator does nothing more; Faust never does."""
    thread = stream_app(tmp_path).consumer._thread
    thread._consumer = consumer = Fetching()
    thread._look()
    consumer.error = KafkaError("the heartbeat failed")
    with pytest.raises(KafkaError):
        thread._look()
    assert (consumer.asked, thread.failure) == (2, "")


@pytest.mark.parametrize(
    ("which", "how"),
    [
        *((which, how) for which in ("coordinator", "fetcher") for how in ("error", "cancelled", "returned")),
        ("heartbeat", "error"),  # otherwise it ends so when all is well
    ],
)
@in_loop
async def test_task_that_ended(tmp_path: Path, which: str, how: str) -> None:
    """aiokafka's own tasks end without a word; the watchdog hears of it."""
    thread = stream_app(tmp_path).consumer._thread
    thread._consumer = consumer = Fetching()
    if which == "heartbeat":
        consumer._coordinator._heartbeat_task = asyncio.get_running_loop().create_future()
    task = {
        "coordinator": consumer._coordinator._coordination_task,
        "fetcher": consumer._fetcher._fetch_task,
        "heartbeat": consumer._coordinator._heartbeat_task,
    }[which]
    match how:
        case "error":
            task.set_exception(KeyError("spans"))
        case "cancelled":
            task.cancel()
        case "returned":
            task.set_result(None)
    thread._look()
    assert "ended" in thread.failure


@pytest.mark.parametrize("error", [CorruptRecordException("x"), KeyError(P1), AssertionError(), ConsumerStoppedError()])
@in_loop
async def test_fetching_goes_on(tmp_path: Path, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever aiokafka raises when records are taken."""
    monkeypatch.setattr("agents.stream.consumer_thread._AFTER_ERROR_S", 0.0)
    thread = stream_app(tmp_path).consumer._thread
    thread.consumer.flow_active = True

    class Fetcher:
        _closed = False
        _subscriptions = SimpleNamespace(fetchFetchContext=FetchContext)

        async def fetched_records(self, *_: Any, **__: Any) -> Any:
            raise error

    consumer: Any = SimpleNamespace(_fetcher=Fetcher(), _closed=False)
    assert await thread._fetch_records(consumer, {P0}) == {}


class FetchContext:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


@in_loop
async def test_record_of_a_partition_that_went(tmp_path: Path) -> None:
    """Faust raises KeyError(TopicPartition), and would end the worker. Of a partition that is ours it is an error."""
    consumer = stream_app(tmp_path).consumer
    consumer._thread._consumer = SimpleNamespace(assignment=lambda: {P0})

    async def take(message: Any) -> None:
        raise KeyError(message.tp)

    consumer._take = take
    await consumer.callback(SimpleNamespace(tp=P1))
    with pytest.raises(KeyError):
        await consumer.callback(SimpleNamespace(tp=P0))


@in_loop
async def test_record_that_cannot_be_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the end of the worker, but a new assignment: the record is read again."""
    monkeypatch.setattr("agents.stream.stream_consumer._SEEK_AGAIN_S", 0.0)
    consumer = stream_app(tmp_path).consumer
    times = 0

    async def getmany(timeout: float) -> Any:
        nonlocal times
        times += 1
        if times == 3:
            consumer._stopped.set()
        raise ValueError("no")
        yield

    consumer.getmany = getmany
    before = ERRORS.labels("app", "ValueError")._value.get()
    await asyncio.wait_for(consumer._drain_messages(SimpleNamespace(should_stop=False, _stopped=asyncio.Event())), 5)
    assert "ValueError" in consumer.failure
    assert ERRORS.labels("app", "ValueError")._value.get() == before + 3


@in_loop
async def test_resuming_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kafka away in the midst of an assignment: Faust would end the worker, or go on without having sought."""
    monkeypatch.setattr("agents.stream.stream_consumer._SEEK_AGAIN_S", 0.0)
    made = stream_app(tmp_path)
    consumer = made.consumer
    errors: Iterator[Exception | None] = iter([KeyError(P0), KafkaError(), TimeoutError(), None])
    resumed: list[int] = []

    async def resume(_: object) -> dict[TP, int]:
        error = next(errors)
        if error is not None:
            raise error
        resumed.append(1)
        return {}

    async def committed() -> dict[TP, int]:
        return {}

    consumer._thread._consumer = SimpleNamespace(assignment=lambda: {P0})
    consumer.seek_to_committed = committed
    made.owned_by(SimpleNamespace(resume=resume))  # type: ignore[arg-type]
    await consumer.perform_seek()
    assert resumed == [1]

    async def another(_: object) -> dict[TP, int]:
        made.consumer_generation_id += 1
        raise KafkaError

    made.partition_owner.resume = another
    with pytest.raises(IllegalStateError):
        await consumer.perform_seek()


@in_loop
async def test_resuming_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Faust would take its own time limit for the end of the worker, and resume nothing any more."""
    made = stream_app(tmp_path)
    monkeypatch.setattr("agents.stream.stream_consumer._SEEK_SPARE_S", made.conf.broker_request_timeout - 0.01)
    made.consumer._thread._consumer = SimpleNamespace(assignment=lambda: {P0})
    made.consumer.seek_to_committed = lambda: asyncio.sleep(1000)
    with pytest.raises(IllegalStateError):
        await made.consumer.perform_seek()
    assert "where to read on" in made.consumer.failure


@pytest.mark.parametrize("asks", ["perform_seek", "committed", "offsets_at", "highwaters"])
@in_loop
async def test_answer_that_is_lost_while_resuming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: str) -> None:
    """The connection is dead: only another consumer helps, and the watchdog hears of it long before Faust's limit."""

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("agents.stream.stream_consumer._ASK_S", 0.01)
    consumer = stream_app(tmp_path).consumer
    consumer._thread._consumer = SimpleNamespace(assignment=lambda: {P0})
    consumer._thread.call_thread = consumer.seek_to_committed = never
    arguments = {"perform_seek": (), "committed": ([P0],), "offsets_at": ({P0: 1},), "highwaters": (P0,)}[asks]
    with pytest.raises(IllegalStateError):
        await asyncio.wait_for(getattr(consumer, asks)(*arguments), 5)
    assert consumer.failure.startswith("Kafka did not say")


@in_loop
async def test_partition_gone_before_it_is_sought(tmp_path: Path) -> None:
    """The next assignment says where to read on."""
    consumer = stream_app(tmp_path).consumer

    def gone(*_: object) -> None:
        raise IllegalStateError("No current assignment for partition")

    consumer._thread._consumer = SimpleNamespace(seek=gone)
    await consumer.seek(P0, 7)


@in_loop
async def test_commit_that_is_given_up(tmp_path: Path) -> None:
    """A later one makes up for it."""
    consumer = stream_app(tmp_path).consumer

    async def call(*_: object) -> None:
        raise Abandoned("commit was cancelled")

    consumer._thread.call_thread = call
    assert not await consumer.commit_through({P0: 7})


@in_loop
async def test_beats(tmp_path: Path) -> None:
    """The thread says that it lives."""
    thread = stream_app(tmp_path).consumer._thread
    thread.beat_s = 0.0
    task = asyncio.ensure_future(thread._look_after(thread))
    await asyncio.sleep(0.01)
    task.cancel()
    assert time.monotonic() - thread.consumer.beat_s < 5


@in_loop
async def test_flush_jobs_survive_a_rebalance(tmp_path: Path) -> None:
    """Faust empties the queues of agents then. A flush that is lost is a hole in what is flushed_offset, for ever."""
    made = stream_app(tmp_path)
    flushes: FlushQueue = asyncio.Queue()
    flushed: list[object] = []
    broken = iter([True, False])

    async def flush(one: Any) -> None:
        flushed.append(one.job)
        if next(broken):
            raise ValueError("the end of a flush failed")

    block_flusher.register(made, flushes, SimpleNamespace(flush=flush))  # type: ignore[arg-type]
    state: Any = SimpleNamespace(partition=0)
    for job in ("0-2", "3-19"):
        flushes.put_nowait(Flush(state, job))
    made.flow_control.clear()
    task = asyncio.ensure_future(made._app_tasks[0]())
    while len(flushed) < 2:
        await asyncio.sleep(0)
    task.cancel()
    assert flushed == ["0-2", "3-19"]
