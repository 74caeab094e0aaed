"""Batching: what is written together, who is told what, and what a client that comes back finds."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from agents.distributor.record_producer import KafkaUnavailable
from agents.distributor.span_encoder import PIECE_BYTES
from agents.distributor.span_writer import NotAcknowledged, Outcome, Request
from app.receivers.input_budget import InputBudget
from app.receivers.request_batcher import BatchLimits, RequestBatcher
from tests.helpers.loops import in_loop

LIMITS = BatchLimits(window_s=0.02, batch_bytes=1000, wait_s=0.2)


class Writer:
    """In place of Kafka: what each call does is set by the test."""

    def __init__(self) -> None:
        self.batches: list[list[Request]] = []
        self.behave: Callable[[list[Request]], Coroutine[Any, Any, list[Outcome]]] = self.accept

    async def write(self, requests: list[Request]) -> list[Outcome]:
        self.batches.append(requests)
        return await self.behave(requests)

    async def accept(self, requests: list[Request]) -> list[Outcome]:
        return [Outcome(received=len(r.body)) for r in requests]


def new_batcher(limits: BatchLimits = LIMITS) -> tuple[RequestBatcher, Writer]:
    writer = Writer()
    return RequestBatcher(writer, limits), writer  # type: ignore[arg-type]


@in_loop
async def test_a_burst_is_one_batch():
    """Requests of all tenants that come together are written together, each with its own outcome."""
    batcher, writer = new_batcher()
    outcomes = await asyncio.gather(*(batcher.add(f"t{n}", b"x" * n) for n in range(5)))
    assert [o.received for o in outcomes] == [0, 1, 2, 3, 4]
    assert [[r.tenant for r in batch] for batch in writer.batches] == [["t0", "t1", "t2", "t3", "t4"]]


@in_loop
async def test_a_full_batch_does_not_wait():
    """Bytes, not time, end the batch."""
    batcher, writer = new_batcher(BatchLimits(60, 1000, 1))
    async with asyncio.timeout(5):
        await asyncio.gather(*(batcher.add("t", bytes([n]) * 250) for n in range(8)))
    assert [len(batch) for batch in writer.batches] == [4, 4]


@in_loop
async def test_clients_that_wait_for_their_answer_are_not_kept_waiting():
    """Four clients, each with one request at a time: a batch goes when all four are back, not when its time is over."""
    batcher, writer = new_batcher(BatchLimits(60, 1_000_000, 1))

    async def client() -> None:
        for _ in range(5):
            await batcher.add("t", b"x")

    async with asyncio.timeout(5):
        clients = asyncio.gather(*(client() for _ in range(4)))
        await asyncio.sleep(0.01)
        batcher._go()  # the first batch: nothing is known of the clients yet
        await clients
    assert [len(batch) for batch in writer.batches] == [4] * 5


@in_loop
async def test_clients_that_come_one_after_the_other_are_written_together_from_then_on():
    """Two of four are written while the others come: nobody waits until the time is over."""
    batcher, writer = new_batcher(BatchLimits(60, 1_000_000, 1))
    second_half = asyncio.Event()

    async def client(start: asyncio.Event | None) -> None:
        if start is not None:
            await start.wait()
        for _ in range(5):
            await batcher.add("t", b"x")

    async def slow_at_first(requests: list[Request]) -> list[Outcome]:
        if len(writer.batches) == 1:
            second_half.set()
            while len(batcher._waiting) < 2:
                await asyncio.sleep(0)
        return await writer.accept(requests)

    writer.behave = slow_at_first
    async with asyncio.timeout(5):
        clients = asyncio.gather(*(client(second_half if late else None) for late in (False, False, True, True)))
        while len(batcher._waiting) < 2:
            await asyncio.sleep(0)
        batcher._go()  # the first batch: nothing is known of the clients yet
        while len(writer.batches) < 6:
            await asyncio.sleep(0)
            if len(writer.batches) == 5 and len(batcher._waiting) == 2:
                batcher._go()  # the first two have no more requests
        await clients
    assert [len(batch) for batch in writer.batches] == [2, 4, 4, 4, 4, 2]


@in_loop
async def test_clients_that_send_at_their_own_pace_are_batched():
    """Something arrives while a batch is written: the next one takes its time."""
    batcher, writer = new_batcher()

    async def slow(requests: list[Request]) -> list[Outcome]:
        await asyncio.sleep(0.01)
        return await writer.accept(requests)

    writer.behave = slow
    sent = []
    for _ in range(60):
        sent.append(asyncio.create_task(batcher.add("t", b"x")))
        await asyncio.sleep(0.002)
    await asyncio.gather(*sent)
    assert len(writer.batches) < 20


@in_loop
async def test_while_a_batch_is_written_for_long_others_gather():
    """Twelve clients, of which nine fill a batch: the other three go with the next nine, and not between."""
    batcher, writer = new_batcher(BatchLimits(0.2, 900, 1))

    async def slow(requests: list[Request]) -> list[Outcome]:
        await asyncio.sleep(0.25)
        return await writer.accept(requests)

    async def client() -> None:
        for _ in range(3):
            await batcher.add("t", bytes(100))

    writer.behave = slow
    await asyncio.gather(*(client() for _ in range(12)))
    assert [len(batch) for batch in writer.batches] == [9] * 4


async def first_is_held(batcher: Any, writer: Any) -> tuple["asyncio.Task[Any]", asyncio.Event]:
    """Begins to write a first batch, which ends when the event is set."""
    released = asyncio.Event()

    async def slow(requests: list[Request]) -> list[Outcome]:
        if requests[0].body == b"first":
            await released.wait()
        return await writer.accept(requests)

    writer.behave = slow
    first = asyncio.create_task(batcher.add("t", b"first"))
    while not writer.batches:
        await asyncio.sleep(0)
    return first, released


@in_loop
async def test_others_gather_for_as_long_again_at_most():
    """A request does not wait for a slow batch longer than one more window."""
    batcher, writer = new_batcher()
    first, released = await first_is_held(batcher, writer)
    async with asyncio.timeout(5):
        await batcher.add("t", b"x")
    assert not first.done()
    released.set()
    await first


@in_loop
async def test_when_it_is_written_those_that_gathered_go():
    """Requests that gathered are sent when the batch before is written, though nobody else comes."""
    batcher, writer = new_batcher(BatchLimits(0.02, 1000, 1))
    first, released = await first_is_held(batcher, writer)
    others = [asyncio.create_task(batcher.add("t", b"x")) for _ in range(2)]
    while not batcher._is_held:
        await asyncio.sleep(0)
    batcher._limits = BatchLimits(60, 1000, 1)  # not even the next time that is over would let them go
    batcher._timer.cancel()  # type: ignore[union-attr]
    released.set()
    async with asyncio.timeout(5):
        await asyncio.gather(first, *others)
    assert [len(batch) for batch in writer.batches] == [1, 2]


@in_loop
async def test_a_large_request_goes_alone():
    """What takes long to decode keeps nobody waiting, and does not end the batch of others."""
    batcher, writer = new_batcher(BatchLimits(0.02, 10_000_000, 1))
    released = asyncio.Event()

    async def slow(requests: list[Request]) -> list[Outcome]:
        if len(requests[0].body) > PIECE_BYTES:
            await released.wait()
        return await writer.accept(requests)

    writer.behave = slow
    small = asyncio.create_task(batcher.add("t", b"a"))
    await asyncio.sleep(0)
    large = asyncio.create_task(batcher.add("t", bytes(PIECE_BYTES + 1)))
    assert (await batcher.add("t", b"b")).received == 1
    await small
    assert sorted(len(batch) for batch in writer.batches) == [1, 2]
    assert not large.done()
    released.set()
    assert (await large).received == PIECE_BYTES + 1
    await batcher.drain()


@in_loop
async def test_what_a_request_holds_is_given_back_when_it_is_done():
    """Also where its client goes away: its body is in memory until its batch is written."""
    batcher, writer = new_batcher()
    budget, released = InputBudget(10_000), asyncio.Event()

    async def slow(requests: list[Request]) -> list[Outcome]:
        await released.wait()
        return await writer.accept(requests)

    def sending(body: bytes) -> "asyncio.Task[Outcome]":
        held = budget.open("t")
        held.add("waiting", len(body))
        return asyncio.create_task(batcher.add("t", body, held))

    writer.behave = slow
    patient, impatient = sending(b"a" * 400), sending(b"b" * 600)
    while not writer.batches:
        await asyncio.sleep(0.001)
    impatient.cancel()
    await asyncio.wait({impatient})
    again = sending(b"b" * 600)
    early = sending(b"c" * 10)
    await asyncio.sleep(0)
    early.cancel()
    await asyncio.wait({early})
    assert budget.used_bytes == 1600
    # One that goes away as soon as it has come, while its first attempt is being written.
    held = budget.open("t")
    held.add("waiting", 600)
    batcher.submit("t", b"b" * 600, held, lambda _: None).gone()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert budget.used_bytes == 1600
    released.set()
    await asyncio.wait({patient, again})
    assert budget.used_bytes == 0


@in_loop
async def test_a_refused_request_that_is_written_after_all_is_not_written_again():
    """Kafka was away and came back: the client's second sending is acknowledged by the first's writing."""
    batcher, writer = new_batcher()
    settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def away(requests: list[Request]) -> list[Outcome]:
        raise NotAcknowledged("away", settled, [Outcome(received=7)] * len(requests))

    writer.behave = away
    with pytest.raises(KafkaUnavailable, match="away"):
        await batcher.add("t", b"same")
    with pytest.raises(KafkaUnavailable, match="first sending"):
        await batcher.add("t", b"same")
    again = asyncio.create_task(batcher.add("t", b"same"))
    await asyncio.sleep(0)
    settled.set_result(None)
    assert (await again).received == 7
    assert len(writer.batches) == 1
    writer.behave = writer.accept
    assert (await batcher.add("u", b"same")).received == 4, "another tenant's is another request"
    assert (await batcher.add("t", b"same")).received == 4, "acknowledged: the next one is its own"


@in_loop
async def test_a_request_that_was_never_written_is_written_again():
    """Nothing was handed to Kafka, or Kafka refused it for good."""
    batcher, writer = new_batcher()
    settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    answers: list[asyncio.Future[None] | None] = [None, settled]

    async def away(requests: list[Request]) -> list[Outcome]:
        raise NotAcknowledged("away", answers.pop(0), [Outcome()] * len(requests))

    writer.behave = away
    for _ in range(2):
        with pytest.raises(KafkaUnavailable):
            await batcher.add("t", b"same")
    settled.set_exception(KafkaUnavailable("never"))
    with pytest.raises(KafkaUnavailable, match="send again"):
        await batcher.add("t", b"same")
    writer.behave = writer.accept
    assert (await batcher.add("t", b"same")).received == 4


@in_loop
async def test_a_client_that_goes_away_and_comes_back():
    """Its request had been taken into a batch: it is written once."""
    batcher, writer = new_batcher()
    released = asyncio.Event()

    async def slow(requests: list[Request]) -> list[Outcome]:
        await released.wait()
        return await writer.accept(requests)

    writer.behave = slow
    impatient = asyncio.create_task(batcher.add("t", b"same"))
    while not writer.batches:
        await asyncio.sleep(0.001)
    impatient.cancel()
    await asyncio.wait({impatient})
    again = asyncio.create_task(batcher.add("t", b"same"))
    await asyncio.sleep(0)
    released.set()
    assert (await again).received == 4
    assert len(writer.batches) == 1


@in_loop
async def test_a_client_that_goes_away_before_its_batch():
    """Nothing is written for it."""
    batcher, writer = new_batcher()
    waiting = asyncio.create_task(batcher.add("t", b"not yet in a batch"))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait({waiting})
    await batcher.drain()
    assert not writer.batches


@in_loop
async def test_without_a_task():
    """A client that went away hears nothing; its request is written once, or not at all if it was in no batch yet."""
    batcher, writer = new_batcher()
    released = asyncio.Event()

    async def slow(requests: list[Request]) -> list[Outcome]:
        await released.wait()
        return await writer.accept(requests)

    writer.behave = slow
    heard: list[Any] = []
    batcher.submit("t", b"early", None, heard.append).gone()
    await batcher.drain()
    assert not writer.batches
    batcher.submit("t", b"stays", None, heard.append)
    impatient = batcher.submit("t", b"same", None, heard.append)
    while not writer.batches:
        await asyncio.sleep(0.001)
    impatient.gone()
    batcher.submit("t", b"same", None, heard.append)
    given_up = batcher.submit("t", b"same", None, heard.append)
    await asyncio.sleep(0)
    given_up.gone()
    released.set()
    async with asyncio.timeout(5):
        while len(heard) < 2:
            await asyncio.sleep(0.001)
    assert [one.received for one in heard] == [5, 4]
    assert [[one.body for one in batch] for batch in writer.batches] == [[b"stays", b"same"]]


@in_loop
async def test_an_answer_that_fails():
    """The others of its batch hear of theirs."""
    batcher, _ = new_batcher()
    heard: list[Any] = []

    def fails(_: object) -> None:
        raise RuntimeError("boom")

    batcher.submit("t", b"a", None, fails)
    batcher.submit("t", b"bb", None, heard.append)
    await batcher.drain()
    assert [one.received for one in heard] == [2]


@in_loop
async def test_an_unexpected_error_reaches_every_client():
    """No one waits for ever, and the batcher goes on."""
    batcher, writer = new_batcher()

    async def broken(_: list[Request]) -> list[Outcome]:
        raise RuntimeError("boom")

    writer.behave = broken
    errors = await asyncio.gather(*(batcher.add("t", bytes([n])) for n in range(3)), return_exceptions=True)
    assert [str(e) for e in errors] == ["boom"] * 3
    writer.behave = writer.accept
    assert (await batcher.add("t", b"x")).received == 1
