"""Reaching Kafka at the start: bounded attempts, again and again. Kafka is a stand-in."""

import asyncio
import time

import pytest
from aiokafka.errors import KafkaConnectionError

from agents.stream import kafka_start
from agents.stream.kafka_start import bounded, reached


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_start, "_AGAIN_S", 0.01)


def test_answers_that_are_lost() -> None:
    """One attempt hangs, one fails, one is cancelled by the client itself: the next one is what counts."""
    attempts = 0

    async def attempt() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await asyncio.Event().wait()
        if attempts == 2:
            raise KafkaConnectionError("closed")
        if attempts == 3:
            raise asyncio.CancelledError
        return attempts

    assert asyncio.run(reached("try", attempt, attempt_s=0.05)) == 4


def test_no_answer_in_time() -> None:
    """The last error is told, so that the process ends with it."""

    async def attempt() -> None:
        raise KafkaConnectionError("nobody there")

    with pytest.raises(KafkaConnectionError, match="nobody there"):
        asyncio.run(reached("try", attempt, within_s=0.05))


def test_other_errors_are_not_waited_out() -> None:
    """Trying again would not help."""

    async def attempt() -> None:
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        asyncio.run(reached("try", attempt))


def test_work_that_does_not_end_when_cancelled() -> None:
    """It is left behind."""

    async def stubborn(gate: asyncio.Event) -> None:
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue

    async def main() -> None:
        gate = asyncio.Event()
        began_s = time.monotonic()
        with pytest.raises(TimeoutError):
            await bounded(stubborn(gate), 0.05)
        assert time.monotonic() - began_s < 5
        gate.set()

    asyncio.run(main())


def test_whoever_waits_may_be_cancelled() -> None:
    """The work too, then."""
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def main() -> None:
        task = asyncio.ensure_future(bounded(work(), 60))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert ended == [True]
