"""A bucket that fails: flushes go on until they succeed, queries answer rightly or say 503, and nothing is lost."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from app.api.errors import Unavailable
from app.querying.querier import Querier
from query.requests import SearchRequest
from query.scan.progress import QueryObserver
from tables.storage.config import StorageConfig
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop
from tests.helpers.querying.queriers import LIMITS, WHOLE_TRACE, loaded
from tests.helpers.storage.fault_proxy import Fault, FaultProxy, Lost, Reset, Silence, Slow, Status
from tests.helpers.storage.storage_servers import StorageServer, s3_server

FAULTS = [
    pytest.param(Status(500, "InternalError"), id="500"),
    pytest.param(Status(503, "SlowDown"), id="503"),
    pytest.param(Reset(), id="reset"),
    pytest.param(Lost(), id="lost"),
    pytest.param(Silence(), id="silence"),
    pytest.param(Slow(100, 0.1), id="slow"),
]


@pytest.fixture(scope="module")
def s3() -> Iterator[StorageServer]:
    with s3_server() as running:
        yield running


@pytest.fixture
def proxy(s3: StorageServer) -> Iterator[FaultProxy]:
    with FaultProxy(s3.address) as running:
        yield running


@pytest.fixture
def storage(s3: StorageServer, proxy: FaultProxy, request: pytest.FixtureRequest) -> StorageConfig:
    prefix = request.node.name.replace("[", "-").rstrip("]")
    return s3.config(prefix, proxy.address, read_timeout_s=2, write_timeout_s=2)


async def spans(asked: Querier, observer: QueryObserver | None = None) -> int:
    observer = observer or QueryObserver()
    result = await asked.search("t", SearchRequest(query="{ }", spans_per_span_set=0), observer)
    return sum(group.matched for trace in result.traces for group in trace.span_sets)


def failures() -> float:
    return REGISTRY.get_sample_value("stretto_block_flush_failures_total") or 0.0


async def flushed(folder: Path, storage: StorageConfig) -> None:
    """A bucket with a block of 15 spans."""
    with world(folder, storage=storage) as w:
        asked = await loaded(w)
        await w.manager.take(message(2, seconds=500))
        await w.flush_all()
        asked.close()


@pytest.mark.parametrize("fault", [each for each in FAULTS if each.id not in ("reset", "slow")])
@in_loop
async def test_flushes(
    tmp_path: Path, s3: StorageServer, proxy: FaultProxy, storage: StorageConfig, fault: Fault
) -> None:
    """Answers to writes have no body that could break off. All spans are there before, while and after."""
    with world(tmp_path / "here", storage=storage) as w:
        asked = await loaded(w)
        await w.manager.take(message(2, seconds=500))
        await w.manager.drain(0)
        before = failures()
        proxy.fail(fault, concerns=lambda seen: seen.method == "PUT")
        flushing = asyncio.create_task(w.flush_all())
        while failures() == before:
            await asyncio.sleep(0.02)
            assert await spans(asked) == 16
        proxy.heal()
        await flushing
        assert await spans(asked) == 16
        assert w.consumer.committed == [2]
        assert len(list(w.storage.paths("cuts"))) == 1
        asked.close()
    with world(tmp_path / "elsewhere", storage=storage) as w:
        await w.manager.resume([TP0])
        asked = Querier(w.manager, LIMITS)
        assert await spans(asked) == 15
        asked.close()


@pytest.mark.parametrize("fault", FAULTS)
@in_loop
async def test_queries(tmp_path: Path, proxy: FaultProxy, storage: StorageConfig, fault: Fault) -> None:
    """One failure changes no answer. While the bucket is away, queries say 503 in time; then they answer again."""
    await flushed(tmp_path / "here", storage)
    with world(tmp_path / "elsewhere", storage=storage, column_cache_bytes=1) as w:
        await w.manager.resume([TP0])
        asked, observer = Querier(w.manager, LIMITS), QueryObserver()
        # A read that dribbles is given up, and not begun again.
        if not isinstance(fault, Slow):
            proxy.fail(fault, times=1)
        assert await spans(asked, observer) == 15
        assert observer.profile.storage.requests["get_range"] >= 1
        assert observer.profile.storage.bytes > 0
        proxy.heal()
        asked.close()
    # Nothing is in memory here.
    with world(tmp_path / "third", storage=storage, column_cache_bytes=1) as w:
        await w.manager.resume([TP0])
        asked = Querier(w.manager, LIMITS)
        proxy.fail(fault)
        for ask in (lambda: spans(asked), lambda: asked.trace("t", WHOLE_TRACE)):
            began_s = time.monotonic()
            with pytest.raises(Unavailable, match="cannot be read now"):
                await ask()
            assert time.monotonic() - began_s < 4
        assert not w.store.blocks.damaged()
        proxy.heal()
        assert await spans(asked) == 15
        answer = await asked.trace("t", WHOLE_TRACE)
        assert answer.table is not None
        assert (answer.table.num_rows, answer.complete) == (15, True)
        asked.close()


@pytest.mark.parametrize("fault", FAULTS)
@in_loop
async def test_partitions_open_once_the_bucket_is_back(
    tmp_path: Path, proxy: FaultProxy, storage: StorageConfig, fault: Fault
) -> None:
    """Until then /ready says why, and queries answer 503 rather than without the blocks."""
    await flushed(tmp_path / "here", storage)
    with world(tmp_path / "elsewhere", storage=storage) as w:
        asked = Querier(w.manager, LIMITS)
        proxy.fail(fault)
        opening = asyncio.create_task(w.manager.resume([TP0]))
        while not any("cannot open partition 0" in reason for reason in w.manager.not_ready()):
            await asyncio.sleep(0.02)
        with pytest.raises(Unavailable):
            await spans(asked)
        proxy.heal()
        await opening
        assert w.manager.not_ready() == []
        assert await spans(asked) == 15
        asked.close()


@in_loop
async def test_partitions_wait_for_the_probe(tmp_path: Path, s3: StorageServer, storage: StorageConfig) -> None:
    """A bucket in which nothing may be written does not get as far as the first flush."""
    with world(tmp_path, storage=storage) as w:
        refused = [OSError("the storage does not allow to create objects"), OSError("still not")]

        def check() -> None:
            if refused:
                raise refused.pop()

        w.manager.check_storage = check
        await w.manager.resume([TP0])
        assert refused == []
        assert w.manager.not_ready() == []
