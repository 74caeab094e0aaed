"""Objects of the storage that are damaged: every answer is right or says what it lacks, and no other tenant notices."""

import asyncio
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from app.api.errors import Unavailable
from app.api.proto.tempo_pb2 import PARTIAL, QueryRangeResponse
from app.api.server import api_runner
from app.querying.querier import Querier
from query.requests import SearchRequest, TraceRequest
from query.scan.progress import QueryObserver
from tables.catalog import recheck
from tables.catalog.changes import add_blocks, replace_blocks
from tables.catalog.damage import Damage
from tables.catalog.index_store import IndexStore
from tables.storage.checksum import with_checksum
from tables.storage.local_reads import LocalReads
from tests.helpers.blocks.damage import (
    SPANS,
    WHOLE,
    changed,
    counts,
    files_of,
    is_told,
    is_whole,
    started,
    two_blocks,
)
from tests.helpers.examples import examples
from tests.helpers.live.live_store import TP0, message, world
from tests.helpers.loops import in_loop
from tests.helpers.querying.api import api_over
from tests.helpers.querying.queriers import LIMITS, TRACE

DAMAGES = [
    pytest.param(0, lambda path: shutil.rmtree(path.parent), id="folder missing"),
    pytest.param(0, Path.unlink, id="file missing"),
    pytest.param(0, lambda path: path.write_bytes(path.read_bytes()[:-100]), id="file truncated"),
    pytest.param(0, lambda path: path.write_bytes(b""), id="file empty"),
    pytest.param(0, lambda path: path.write_bytes(random.Random(0).randbytes(5000)), id="file garbage"),
    pytest.param(0, changed(-4, 4), id="no Parquet"),
    pytest.param(0, changed(-500, 20), id="footer"),
    pytest.param(0, changed(40, 30), id="page"),
]
METAS = [
    pytest.param(1, Path.unlink, id="meta missing"),
    pytest.param(1, lambda path: path.write_bytes(b""), id="meta empty"),
    pytest.param(1, lambda path: path.write_bytes(b"\xff nonsense"), id="meta garbage"),
    pytest.param(1, lambda path: path.write_bytes(path.read_bytes().replace(b"stretto1", b"stretto9")), id="version"),
    pytest.param(1, lambda path: path.write_bytes(path.read_bytes().replace(b'"spans": ', b'"spans": 1')), id="number"),
]


def damaged_gauge() -> float:
    return sum(REGISTRY.get_sample_value("stretto_blocks_damaged", {"reason": r}) or 0 for r in ("meta", "data"))


def without_metas(folder: Path) -> None:
    """The cuts become those of earlier versions: metas are read one by one."""
    for path in (folder / "storage" / "cuts").rglob("*.json"):
        body = orjson.loads(path.read_bytes())
        path.write_bytes(with_checksum(orjson.dumps({name: body[name] for name in ("last_offset", "blocks")})))


@pytest.mark.parametrize("at_start", [True, False])
@pytest.mark.parametrize(("number", "damage"), DAMAGES + METAS)
@in_loop
async def test_damaged_and_repaired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, number: int, damage: Callable[[Path], Any], at_start: bool
) -> None:
    """The tenant hears of it, the other one does not; once the bytes are back all is there without a restart."""
    bucket = await two_blocks(tmp_path) / "storage"
    if number == 1:
        without_metas(tmp_path)
    shutil.copytree(bucket, tmp_path / "kept")
    path = files_of(tmp_path, "t")[number]
    if at_start:
        damage(path)
    with world(tmp_path) as w:
        asked = await started(w)
        if not at_start:
            damage(path)
            w.store.blocks.poll([0])
        if number == 1 and not at_start:
            # What this process knows of the block it still knows.
            await is_whole(asked, "t")
        else:
            for _ in range(2):
                await is_told(asked, "t")
                w.store.blocks.poll([0])
            assert len([line for line in caplog.messages if "damaged block" in line and "tenant t" in line]) in {1, 2}
            assert damaged_gauge() == 1
            (line,) = asked.damage()
            assert "of tenant t" in line
            assert asked.not_ready() == []
        await is_whole(asked, "u")
        shutil.rmtree(bucket)
        shutil.copytree(tmp_path / "kept", bucket)
        w.store.blocks.poll([0])
        for tenant in ("t", "u"):
            await is_whole(asked, tenant)
        assert (asked.damage(), damaged_gauge()) == ([], 0)
        asked.close()


@pytest.mark.parametrize(("number", "damage"), METAS)
@in_loop
async def test_metas_that_cuts_carry(tmp_path: Path, number: int, damage: Callable[[Path], Any]) -> None:
    """Nobody reads the object meta.json then, and nothing lacks."""
    await two_blocks(tmp_path)
    damage(files_of(tmp_path, "t")[number])
    with world(tmp_path) as w:
        asked = await started(w)
        for tenant in ("t", "u"):
            await is_whole(asked, tenant)
        assert asked.damage() == []
        asked.close()


@in_loop
async def test_vanished_files_are_noticed_without_a_query(tmp_path: Path) -> None:
    """By a slow look at the bucket; queries about other times go on."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        shutil.rmtree(files_of(tmp_path, "t")[0].parent)
        w.store.blocks.poll([0])
        w.store.blocks.audit()
        assert damaged_gauge() == 1
        (line,) = asked.damage()
        assert "of tenant t: a file of it is missing" in line
        await is_told(asked, "t")
        await is_whole(asked, "u")
        asked.close()


@in_loop
async def test_other_times_do_not_mind(tmp_path: Path) -> None:
    """A damaged block outside of the asked range lacks nobody."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        files_of(tmp_path, "t")[0].unlink()
        await is_told(asked, "t")
        late = {"start_ns": 10**15, "end_ns": 10**15 + 60 * 10**9}
        await asked.search("t", SearchRequest(query="{ }", **late), QueryObserver())
        assert (await asked.trace("t", TraceRequest(trace_id=TRACE, **late))).complete
        asked.close()


@in_loop
async def test_a_storage_that_is_away_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 as long as it is, with nothing to repair."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        with monkeypatch.context() as patched:
            patched.setattr(LocalReads, "read", away)
            with pytest.raises(Unavailable, match="server's log"):
                await counts(asked, "t")
        assert asked.damage() == []
        await is_whole(asked, "t")
        asked.close()


def away(*_: Any, **__: Any) -> Any:
    raise TimeoutError("no answer within 10 s")


@in_loop
async def test_files_that_look_the_same_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was wrong may have been the way: after a while they are whole, or damaged still."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        path = files_of(tmp_path, "t")[0]
        with monkeypatch.context() as patched:
            patched.setattr(LocalReads, "read", lambda _, __, ranges: [bytes(n) for _, n in ranges])
            await is_told(asked, "t")
        w.store.blocks.poll([0])
        await is_told(asked, "t")
        monkeypatch.setattr(recheck, "_AGAIN_S", 0)
        w.store.blocks.poll([0])
        await is_whole(asked, "t")
        assert path.exists()
        asked.close()


@in_loop
async def test_a_block_that_was_replaced(tmp_path: Path) -> None:
    """It was deleted while a query read it, and no index or cut names it: the query begins anew, nothing is lacking."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        data, meta_file = files_of(tmp_path, "t")
        (meta,) = w.store.blocks.snapshot("t").blocks
        merged = meta.model_copy(update={"block_id": "merged", "replaces": [meta.block_id]})
        shutil.copytree(data.parent, data.parent.with_name("merged"))
        indexes = IndexStore(w.store.blocks.store)
        indexes.commit("t", lambda index: add_blocks(index, *w.store.blocks.uncovered("t")))
        assert indexes.commit("t", lambda index: replace_blocks(index, [merged], [meta.block_id], 1.0))
        shutil.rmtree(meta_file.parent)
        await is_whole(asked, "t")
        assert asked.damage() == []
        asked.close()


@in_loop
async def test_the_last_cut_is_damaged(tmp_path: Path) -> None:
    """Where the blocks end is not known: the partition is not served as if it were, until the cut is back."""
    await two_blocks(tmp_path)
    (cut,) = (tmp_path / "storage" / "cuts").rglob("*.json")
    data = cut.read_bytes()
    cut.write_bytes(b"{")
    with world(tmp_path) as w:
        opening = asyncio.create_task(w.manager.resume([TP0]))
        asked = Querier(w.manager, LIMITS)
        async with asyncio.timeout(10):
            while not w.manager.damage:
                await asyncio.sleep(0.01)
        with pytest.raises(Unavailable, match="partition 0"):
            await counts(asked, "t")
        assert not (await asked.trace("t", TraceRequest(trace_id=TRACE))).complete
        assert w.manager.problems == {}
        assert "is not a cut" in asked.damage()[0]
        cut.write_bytes(data)
        assert await opening == {TP0: 2}
        for tenant in ("t", "u"):
            await is_whole(asked, tenant)
        assert asked.damage() == []
        asked.close()


@in_loop
async def test_a_cut_before_others_is_damaged(tmp_path: Path) -> None:
    """Its neighbour tells where it ends: what is there is served, and ingest goes on, but no answer is called whole."""
    await two_blocks(tmp_path)
    folder = next((tmp_path / "storage" / "cuts").rglob("*.json")).parent
    with world(tmp_path) as w:
        asked = await started(w)
        await w.manager.take(message(2, spans=1, key=b"u"))
        await w.manager.take(message(3, spans=1, seconds=400))
        await w.flush_all()
        assert w.store.blocks.flushed_offset(0) == 3
        asked.close()
    shutil.rmtree(tmp_path / "live")
    first = min(folder.iterdir())
    data = first.read_bytes()
    first.write_bytes(data.replace(b"t/", b"x/"))
    with world(tmp_path) as w:
        await w.manager.resume([TP0])
        assert w.state.next_offset == 3
        asked = Querier(w.manager, LIMITS)
        with pytest.raises(Unavailable, match="not all blocks of partition 0 are known"):
            await counts(asked, "t")
        answer = await asked.trace("t", TraceRequest(trace_id=TRACE))
        assert (answer.table.num_rows, answer.complete) == (SPANS, False)
        missing_data: list[str] = []
        assert (await counts(asked, "t", missing_data))[0] == SPANS
        first.write_bytes(data)
        w.store.blocks.poll([0])
        await is_whole(asked, "t")
        asked.close()


@in_loop
async def test_known_cuts_stay_known(tmp_path: Path) -> None:
    """Cuts never change: what becomes of their objects later takes nothing from a process that has read them."""
    await two_blocks(tmp_path)
    with world(tmp_path) as w:
        asked = await started(w)
        shutil.rmtree(tmp_path / "storage" / "cuts")
        w.store.blocks.poll([0])
        await is_whole(asked, "t")
        asked.close()


@in_loop
async def test_over_http(tmp_path: Path) -> None:
    """Statuses, forms and /ready, for the tenant whose block is gone and for the other one."""
    await two_blocks(tmp_path)
    shutil.rmtree(files_of(tmp_path, "t")[0].parent)
    with world(tmp_path) as w:
        asked = await started(w)
        runner = api_runner(api_over(asked, multitenancy=True))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with aiohttp.ClientSession() as session:

            async def get(
                path: str, tenant: str = "t", accept: str = "*/*", partial: str = "", **params: str
            ) -> tuple[Any, Any, Any]:
                headers = {"X-Scope-OrgID": tenant, "Accept": accept, "X-Stretto-Partial": partial}
                async with session.get(base + path, headers=headers, params=params) as response:
                    body = await response.read()
                    is_json = response.content_type == "application/json"
                    return response.status, orjson.loads(body) if is_json else body, response.headers

            metrics = {"q": "{ } | count_over_time()", "start": "1", "end": "100"}
            paths: list[tuple[str, dict[str, str]]] = [
                ("/api/search", {"q": "{ }"}),
                ("/api/metrics/query_range", metrics),
                ("/api/metrics/query", metrics),
                ("/api/search/tags", {}),
                ("/api/v2/search/tags", {}),
                ("/api/search/tag/name/values", {"q": "{ }"}),
                ("/api/v2/search/tag/name/values", {"q": "{ }"}),
            ]
            for path, params in paths:
                status, text, headers = await get(path, **params)
                assert (status, headers["Retry-After"]) == (503, "30"), path
                assert b"cannot be read" in text
                status, body, headers = await get(path, **params, allow_partial="true")
                assert (status, body["status"]) == (200, "PARTIAL"), path
                assert body["message"] == headers["X-Stretto-Partial"]
                assert "a file of it is missing" in body["message"]
                status, body, headers = await get(path, "u", **params, allow_partial="true")
                assert (status, "status" in body, "X-Stretto-Partial" in headers) == (200, False, False), path
                assert (await get(path, "u", **params))[0] == 200
            assert (await get("/api/search", allow_partial="maybe"))[0] == 400
            for value, status in (("allow", 200), ("maybe", 400), ("", 503)):
                assert (await get("/api/search", q="{ }", partial=value))[0] == status, value
            _, body, _ = await get(
                "/api/metrics/query_range", **metrics, allow_partial="true", accept="application/protobuf"
            )
            answer = QueryRangeResponse.FromString(body)
            assert (answer.status, "cannot be read" in answer.message) == (PARTIAL, True)
            status, body, _ = await get(f"/api/v2/traces/{TRACE.hex()}")
            assert (status, body["status"]) == (200, "PARTIAL")
            assert "cannot be read" in body["message"]
            assert (await get(f"/api/traces/{TRACE.hex()}"))[0] == 503
            assert (await get(f"/api/traces/{TRACE.hex()}", "u"))[0] == 200
            status, text, _ = await get("/ready")
            assert (status, text.splitlines()[0]) == (200, b"ready")
            assert b"of tenant t: a file of it is missing" in text
        await runner.cleanup()
        asked.close()


@settings(max_examples=examples(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_byte_changes(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Any object of the bucket, any byte or any length: right, or told. Never less, never a fault of the server."""
    folder = tmp_path_factory.mktemp("flip")
    asyncio.run(two_blocks(folder))
    path = data.draw(st.sampled_from(sorted(p for p in (folder / "storage").rglob("*.*") if p.is_file())))
    old = path.read_bytes()
    at = data.draw(st.integers(0, len(old) - 1))
    if data.draw(st.booleans()):
        path.write_bytes(old[:at])
    else:
        path.write_bytes(old[:at] + bytes([old[at] ^ data.draw(st.integers(1, 255))]) + old[at + 1 :])

    async def ask() -> None:
        with world(folder) as w:
            opening = asyncio.create_task(w.manager.resume([TP0]))
            while not opening.done() and not w.manager.damage:
                await asyncio.sleep(0.005)
            asked = Querier(w.manager, LIMITS)
            try:
                for tenant in ("t", "u"):
                    try:
                        assert await counts(asked, tenant) == WHOLE
                    except Unavailable:
                        assert asked.damage()
                    answer = await asked.trace(tenant, TraceRequest(trace_id=TRACE))
                    rows = 0 if answer.table is None else answer.table.num_rows
                    assert rows == SPANS or not answer.complete
            finally:
                opening.cancel()
                asked.close()

    asyncio.run(ask())


def test_how_damage_is_told() -> None:
    """The tenant and the block."""
    damage = Damage("t", "b", "meta", "its meta.json is missing", "cluster_id", 0)
    assert (damage.key, str(damage)) == ("t/b", "block b of tenant t: its meta.json is missing")
