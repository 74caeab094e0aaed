"""Fetches are apart in time, none is held back longer, and none waits for long with partitions left out."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.stream import fetch_pace
from agents.stream.fetch_pace import APART_S, FetchPace

LONG_MS = 1500
TICK_S = 0.001  # the clock of the tests: exact, and far from rounding


class Fetcher:
    """aiokafka's, as far as the pace needs it: notes when a request was sent; an answer takes some ticks."""

    def __init__(self, now: list[int]) -> None:
        self._records: dict[str, Any] = {}
        self._now = now
        self.answer_ticks = 0
        self.sent: list[tuple[int, int, Any]] = []  # tick, broker, request

    async def _proc_fetch_request(self, assignment: Any, broker: int, request: Any) -> bool:
        assert assignment == "assignment"
        self.sent.append((self._now[0], broker, request))
        self._now[0] += self.answer_ticks
        return broker == 1


def request() -> Any:
    return SimpleNamespace(_max_wait_ms=LONG_MS)


class Clock:
    """time.monotonic() and asyncio.sleep(), with a clock that only goes on while somebody sleeps."""

    def __init__(self, now: list[int], patch: pytest.MonkeyPatch) -> None:
        self._now = now
        patch.setattr(fetch_pace, "time", SimpleNamespace(monotonic=lambda: now[0] * TICK_S))
        patch.setattr(fetch_pace, "asyncio", SimpleNamespace(sleep=self._sleep, CancelledError=asyncio.CancelledError))

    async def _sleep(self, seconds: float) -> None:
        self._now[0] += round(seconds / TICK_S)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 2), st.integers(0, 80)), max_size=30))
def test_each_is_sent_as_soon_as_it_may(steps: list[tuple[int, int, int]]) -> None:
    """steps: ticks until the next request, its broker, ticks until its answer"""
    apart = round(APART_S / TICK_S)
    now = [10_000]
    fetcher = Fetcher(now)
    with pytest.MonkeyPatch.context() as patch:
        Clock(now, patch)
        FetchPace(fetcher)
        last: dict[int, int] = {}
        for pause, broker, answer in steps:
            now[0] += pause
            fetcher.answer_ticks = answer
            began = now[0]
            assert asyncio.run(fetcher._proc_fetch_request("assignment", broker, request())) == (broker == 1)
            sent, to, asked = fetcher.sent[-1]
            assert (to, asked._max_wait_ms) == (broker, LONG_MS)
            assert sent == max(began, last.get(broker, 0) + apart)
            last[broker] = sent


def test_one_without_all_partitions_ends_soon() -> None:
    """Records of the others may be taken at any time; they cannot be fetched before it ends."""
    fetcher = Fetcher([0])
    FetchPace(fetcher)
    fetcher._records["spans-0"] = object()
    coming: Any = fetcher._proc_fetch_request("assignment", 1, request())
    fetcher._records.clear()  # what counts is what the request was made of
    assert asyncio.run(coming)
    assert fetcher.sent[0][2]._max_wait_ms <= APART_S * 1000
    assert asyncio.run(fetcher._proc_fetch_request("assignment", 1, request()))
    assert fetcher.sent[1][2]._max_wait_ms == LONG_MS


def test_one_that_is_not_wanted_any_more_is_not_sent() -> None:
    fetcher = Fetcher([0])
    FetchPace(fetcher)

    async def run() -> bool:
        await fetcher._proc_fetch_request("assignment", 1, request())
        waiting = asyncio.ensure_future(fetcher._proc_fetch_request("assignment", 1, request()))
        await asyncio.sleep(0)
        waiting.cancel()
        return await waiting

    assert asyncio.run(run()) is False
    assert len(fetcher.sent) == 1
