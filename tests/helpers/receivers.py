"""What stands behind a receiver in its tests."""

import asyncio

from agents.distributor.span_writer import Outcome
from app.receivers.input_budget import InputBytes

ACCEPTED = Outcome(1)


class FakeBatcher:
    """In place of the request batcher: keeps what came, answers what the test wants, once `go` is set (it is)."""

    def __init__(self, answer: Outcome | BaseException = ACCEPTED) -> None:
        self.answer = answer
        self.came: list[tuple[str, bytes]] = []
        self.go = asyncio.Event()
        self.go.set()

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
