"""The querier over a real live store: what it answers, refuses, and gives up."""

import asyncio
import math
import os
import sys
import threading
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from app.api.errors import TooManyRequests, Unavailable, explain
from app.querying import querier
from app.querying.no_queries import NoQueries
from app.querying.querier import Querier
from app.querying.running import executor
from app.querying.running.executor import QueryLimits
from query import memory
from query.errors import TraceQLError, TraceTooLarge
from query.memory import MemoryExceeded, QueryTooLarge
from query.requests import (
    InstantRequest,
    Page,
    RangeRequest,
    SearchRequest,
    TagNamesRequest,
    TagValuesRequest,
    TraceRequest,
)
from query.scan.progress import Progress, QueryObserver
from query.tags.tag_text import parse_tag
from tables.errors import StorageError
from tables.wall import NativePanic
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop
from tests.helpers.querying.queriers import LIMITS, TRACE, WHOLE_TRACE, loaded
from tests.helpers.receiving.panics import PanicException


async def found(asked: Querier, query: str = "{ }") -> int:
    result = await asked.search("t", SearchRequest(query=query, spans_per_span_set=0), QueryObserver())
    return sum(spans.matched for trace in result.traces for spans in trace.span_sets)


@in_loop
async def test_every_question(tmp_path: Path) -> None:
    """Each kind of query sees all parts of the live store, before and after the flush."""
    with world(tmp_path) as w:
        asked = await loaded(w)
        for spans in (15, 16):
            assert await found(asked) == spans
            answer = await asked.trace("t", WHOLE_TRACE)
            assert (answer.table.num_rows, answer.complete) == (spans, True)
            query, observer = "{ } | count_over_time()", QueryObserver()
            instant = InstantRequest(query=query, start_ns=-(10**9), end_ns=10**9)
            counted = await asked.metrics_instant("t", instant, observer)
            assert sum(value for series in counted.series for _, value in series.samples) == spans
            ranged = await asked.metrics_range(
                "t", RangeRequest(query=query, start_ns=-(10**9), end_ns=10**9, step_ns=10**9), QueryObserver()
            )
            assert sum(value for series in ranged.series for _, value in series.samples) == spans
            names = await asked.tag_names("t", TagNamesRequest(scope="intrinsic"), QueryObserver())
            assert names
            values = await asked.tag_values(
                "t", TagValuesRequest(fields=(parse_tag("kind"),), query="{ }"), QueryObserver()
            )
            assert values
            await w.manager.take(message(2, seconds=500))
            await w.flush_all()
        assert (await asked.trace("other", WHOLE_TRACE)).table is None
        asked.close()


@in_loop
async def test_what_a_query_cost(tmp_path: Path) -> None:
    """The profile has the stages from the wait on; what is known before the end is told on the query's thread."""
    with world(tmp_path) as w:
        asked = await loaded(w)
        heard: list[tuple[Any, int]] = []
        progress = Progress(lambda result: heard.append((result, threading.get_ident())), 0)
        observer = QueryObserver(progress=progress)
        await asked.search("t", SearchRequest(query="{ name != `x` }"), observer)
        assert list(observer.profile.stages)[:3] == ["wait for a thread", "open sources", "compile"]
        assert observer.profile.rows == 15
        ((early, thread),) = heard
        assert (early.inspected.sources, early.inspected.left, thread != threading.get_ident()) == (1, 1, True)
        asked.close()


@in_loop
async def test_large_traces(tmp_path: Path) -> None:
    """Refused unread where it is certain; in pages they come whole, from segments and heads."""
    with world(tmp_path) as w:
        asked = await loaded(w)
        with pytest.raises(TraceTooLarge, match=r"15 spans.*749"):
            await asked.trace("t", TraceRequest(trace_id=TRACE, bytes_max=749))
        assert (await asked.trace("t", TraceRequest(trace_id=TRACE, bytes_max=750))).table.num_rows == 15
        ids: list[bytes] = []
        after, more = None, True
        while more:
            answer = await asked.trace("t", TraceRequest(trace_id=TRACE, bytes_max=749, page=Page(after, 4)))
            ids += answer.table["span_id"].to_pylist()
            after, more = (answer.table["start_ns"][-1].as_py(), ids[-1]), answer.more
        assert ids == (await asked.trace("t", WHOLE_TRACE)).table["span_id"].to_pylist()
        asked.close()


@in_loop
async def test_never_silently_less(tmp_path: Path) -> None:
    """A partition that is not here, or not read up to its end, makes an answer incomplete: it says so."""
    with world(tmp_path) as w:
        asked = Querier(w.manager, LIMITS)
        with pytest.raises(Unavailable, match="partition 0"):
            await found(asked)
        w.consumer.end = 2
        await w.manager.resume([TP0])
        await w.manager.take(message(0))
        with pytest.raises(Unavailable, match="partition 0"):
            await found(asked)
        answer = await asked.trace("t", WHOLE_TRACE)
        assert (answer.table.num_rows, answer.complete, "partition 0" in answer.message) == (1, False, True)
        await w.manager.take(message(1))
        assert await found(asked) == 2
        asked.close()


@in_loop
async def test_faulty_queries_need_no_thread(tmp_path: Path) -> None:
    """They are told at once, even while all threads are busy."""
    with world(tmp_path) as w:
        asked = await loaded(w)
        with pytest.raises(TraceQLError):
            await found(asked, "{ nonsense")
        asked.close()


@in_loop
async def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is worked on, one waits, the third is refused. What takes too long is given up and told to stop; what waited
    for it all the time is told to come back.
    """
    with world(tmp_path) as w:
        asked = await loaded(w, QueryLimits(threads=1, concurrent_max=1, timeout_s=0.2))
        stopped = threading.Event()

        def slow(*_: Any, cancelled: Any, **__: Any) -> Any:
            while not cancelled():
                sum(range(1000))  # it computes: nobody keeps it from that
            stopped.set()

        monkeypatch.setattr(querier, "search", slow)
        monkeypatch.setattr(executor, "thread_cpu_s", lambda _: math.inf)  # however busy the machine is
        waiting = [asyncio.create_task(found(asked)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyRequests, match="concurrent_max"):
            await found(asked)
        for task, error in zip(waiting, (TimeoutError, TooManyRequests), strict=True):
            with pytest.raises(error):
                await task
        assert await asyncio.to_thread(stopped.wait, 5)
        asked.close()


@in_loop
async def test_memory_is_given_back_however_a_query_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answered, refused, failed, or given up while it goes on: then when it has really ended."""
    with world(tmp_path) as w:
        asked = await loaded(w, QueryLimits(threads=1, concurrent_max=1, timeout_s=0.2, memory_bytes_max=20 << 20))
        shared, go_on = asked._executor.memory, threading.Event()

        def take(size: int, then: Any = None) -> Any:
            def work(*_: Any, **__: Any) -> Any:
                memory.reserve(size, "a test")
                assert shared.bytes >= size - memory.FREE_BYTES
                return then and then()

            return work

        def fail() -> None:
            raise MemoryError

        for size, then, error in (
            (10 << 20, None, None),
            (30 << 20, None, QueryTooLarge),
            (10 << 20, fail, MemoryExceeded),
        ):
            monkeypatch.setattr(querier, "search", take(size, then))
            with pytest.raises(error) if error else nullcontext():
                await asked.search("t", SearchRequest(query="{ }"), QueryObserver())
            assert shared.bytes == 0
        monkeypatch.setattr(querier, "search", take(10 << 20, go_on.wait))
        with pytest.raises(TooManyRequests):
            await asked.search("t", SearchRequest(query="{ }"), QueryObserver())
        assert shared.bytes > 0
        go_on.set()
        await asyncio.to_thread(asked._executor.pool.submit(int).result)
        assert shared.bytes == 0
        with memory.request():
            await asked.run_in_thread(take(10 << 20))
            assert shared.bytes > 0
        assert shared.bytes == 0
        asked.close()


class Held:
    """Something that a query has in its hands; ended: the name of the thread that let it go"""

    def __init__(self, ended: list[str]) -> None:
        self._ended = ended

    def __del__(self) -> None:
        self._ended.append(threading.current_thread().name)


@pytest.mark.parametrize("part", ["query", "answer"])
@in_loop
async def test_what_failed_is_freed_on_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """With the errors that it came from, before anybody hears of it: whoever keeps the error keeps nothing else."""
    ended: list[str] = []

    def fail(*_: Any, **__: Any) -> Any:
        held = [Held(ended)]
        try:
            deeper(held)
        except KeyError as err:
            held.append(Held(ended))
            raise QueryTooLarge("a test") from err

    def deeper(held: list[Held]) -> None:
        copy = [*held, Held(ended)]
        raise KeyError(len(copy))

    with world(tmp_path) as w:
        asked = await loaded(w)
        monkeypatch.setattr(querier, "search", fail)
        with pytest.raises(QueryTooLarge) as kept:
            await (found(asked) if part == "query" else asked.run_in_thread(fail))
        assert len(ended) == 3
        assert {name.partition("_")[0] for name in ended} == {part}
        # A log says still where it was.
        assert "deeper" in "".join(traceback.format_exception(kept.value))
        asked.close()


@in_loop
async def test_an_answer_for_nobody_is_freed_on_its_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop would free it otherwise: hundreds of milliseconds for a large one."""
    ended: list[str] = []
    go_on = threading.Event()

    def answer(*_: Any, **__: Any) -> Any:
        go_on.wait(5)
        return Held(ended)

    with world(tmp_path) as w:
        asked = await loaded(w, QueryLimits(threads=1, concurrent_max=1, timeout_s=0.1))
        monkeypatch.setattr(querier, "search", answer)
        with pytest.raises(TooManyRequests):
            await found(asked)
        go_on.set()
        await asyncio.to_thread(asked._executor.pool.submit(int).result)
        assert ended == ["query_0"]
        asked.close()


@in_loop
async def test_storage_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, and no word of where things are."""
    with world(tmp_path) as w:
        asked = await loaded(w)

        def broken(*_: Any, **__: Any) -> Any:
            raise StorageError("cannot read /var/lib/secret")

        monkeypatch.setattr(querier, "search", broken)
        with pytest.raises(Unavailable) as refused:
            await found(asked)
        assert "secret" not in str(refused.value)
        asked.close()


@pytest.mark.parametrize("target", ["distributor", "metrics-generator"])
@in_loop
async def test_processes_without_queries(target: str) -> None:
    """They say what they run, and whom to ask."""
    asked = NoQueries(list, target)
    with pytest.raises(Unavailable, match=rf"answers no queries \(TARGET={target}\).*TARGET=live-store"):
        await asked.search("t", SearchRequest(query="{ }"), QueryObserver())
    assert (asked.not_ready(), asked.damage()) == ([], ())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has threads with a niceness of their own")
@pytest.mark.parametrize(("niceness", "more"), [(0, 0), (3, 3), (19, 19)])
@in_loop
async def test_queries_give_way(tmp_path: Path, niceness: int, more: int) -> None:
    """To the rest of the process: its threads stay as they are."""
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with world(tmp_path) as w:
        asked = await loaded(w, QueryLimits(threads=1, concurrent_max=1, timeout_s=5, niceness=niceness))
        assert await asked.run_in_thread(lambda: os.getpriority(os.PRIO_PROCESS, 0)) == min(19, before + more)
        assert os.getpriority(os.PRIO_PROCESS, 0) == before
        assert await asyncio.to_thread(os.getpriority, os.PRIO_PROCESS, 0) == before
        asked.close()


@in_loop
async def test_a_panic_in_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is an error of that query, an internal one; the next is answered."""
    with world(tmp_path) as w:
        asked = await loaded(w)

        def panic(*_: Any, **__: Any) -> Any:
            raise PanicException("index out of bounds")

        with monkeypatch.context() as patched:
            patched.setattr(querier, "trace_by_id", panic)
            with pytest.raises(NativePanic, match="index out of bounds") as caught:
                await asked.trace("t", WHOLE_TRACE)
        with pytest.raises(NativePanic):
            await asked.run_in_thread(panic)
        assert explain(caught.value, "GET")[0] == 500
        assert (await asked.trace("t", WHOLE_TRACE)).table.num_rows == 15
        asked.close()
