"""What stands behind a receiver in its tests."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from agents.distributor.span_writer import Outcome
from app.receivers.batcher import Settled
from app.receivers.input_budget import InputBytes

ACCEPTED = Outcome(1)


class FakeWriting:
    """A task that ends when its client goes away."""

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self.task = asyncio.ensure_future(work)

    def gone(self) -> None:
        self.task.cancel()


class FakeBatcher:
    """In place of the request batcher: keeps what came, answers what the test wants, once `go` is set (it is)."""

    def __init__(self, answer: Outcome | BaseException = ACCEPTED) -> None:
        self.answer = answer
        self.came: list[tuple[str, bytes]] = []
        self.go = asyncio.Event()
        self.go.set()

    def submit(self, tenant: str, body: bytes, held: InputBytes | None, settled: Settled) -> FakeWriting:
        async def written() -> None:
            try:
                outcome = await self.add(tenant, body, held)
            except asyncio.CancelledError:
                raise
            except BaseException as err:  # noqa: BLE001  (it is for the receiver)
                settled(err)
            else:
                settled(outcome)

        writing = FakeWriting(written())
        if held is not None:  # also of a task that never began
            writing.task.add_done_callback(lambda _: held.release())
        return writing

    async def add(self, tenant: str, body: bytes, held: InputBytes | None = None) -> Outcome:
        try:
            self.came.append((tenant, body))
            await self.go.wait()
            if isinstance(self.answer, BaseException):
                raise self.answer
            return self.answer
        finally:
            if held is not None:
                held.release()
