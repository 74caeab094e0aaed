"""Which blocks make a job: about as many bytes each, and the same ones when newer blocks join."""

import sys

import pytest

from app.querying.blocks.block_messages import BlockAsk, Wanted
from app.querying.blocks.job_plan import BlockJob, plan_jobs
from app.querying.blocks.result_cache import ResultCache, cache_key
from query.requests import SearchRequest
from query.scan.pieces import UNKNOWN_NS
from tables.blocks.meta import BlockMeta, FileMeta, block_id
from tests.helpers.loops import in_loop


def meta(number: int, size_bytes: int = 100, files: int = 1, start_ns: int | None = None) -> BlockMeta:
    """A block of a second, in files of the same size."""
    start = 1 + number * 10**9 if start_ns is None else start_ns
    each = size_bytes // files
    named = [
        FileMeta(name=f"{n}", size_bytes=each, spans=1, start_min_ns=start, end_max_ns=start + n + 1)
        for n in range(files)
    ]
    return BlockMeta(
        block_id=block_id("c", "t", 0, number, number),
        tenant="t",
        cluster_id="c",
        partition=0,
        partition_count=1,
        first_offset=number,
        last_offset=number,
        spans=files,
        start_min_ns=start,
        end_max_ns=start + files,
        size_bytes=size_bytes,
        files=named,
    )


def names(jobs: list[BlockJob]) -> list[str]:
    return sorted(one.name for job in jobs for one in job.files)


def test_everything_once_newest_first() -> None:
    metas = [meta(n) for n in range(100)]
    jobs = plan_jobs(metas[::-1], 1000)
    assert names(jobs) == sorted(f"{one.block_id}/0-1" for one in metas)
    assert max(sum(one.size_bytes for one in job.files) for job in jobs) <= 1000
    latest = [job.latest_ns for job in jobs]
    assert latest == sorted(latest, reverse=True)
    assert latest[0] == metas[-1].end_max_ns
    assert plan_jobs([], 1000) == []


def test_newer_blocks_change_the_newest_job_only() -> None:
    """And older ones that go change few: the rest keeps its place, and its content."""
    metas = [meta(n) for n in range(2000)]
    before = {job.content for job in plan_jobs(metas[:1985], 2000)}
    after = {job.content for job in plan_jobs(metas, 2000)}
    assert len(before - after) <= 1
    later = {job.content for job in plan_jobs(metas[57:], 2000)}
    assert len(later & after) > len(after) * 0.8


def test_large_blocks_are_parted() -> None:
    """By files, which are never parted themselves; only these have the latest times of their files."""
    large = meta(5, 1000, files=10)
    jobs = plan_jobs([meta(1), large, meta(9)], 300)
    assert sum(len(job.files) for job in jobs) == 2 + 4
    parts = [one for job in jobs for one in job.files if one.meta == large]
    assert sorted((one.first, one.end) for one in parts) == [(0, 3), (3, 6), (6, 9), (9, 10)]
    assert len(plan_jobs([meta(5, 1000, files=1)], 300)) == 1
    assert len(plan_jobs([large] * 1, sys.maxsize)[0].files) == 1
    assert {job.latest_ns - large.start_min_ns for job in jobs if job.files[0].meta == large} == {3, 6, 9, 10}


def test_a_block_without_a_time() -> None:
    """Nobody knows what is in it: a search must not end before it."""
    (job,) = plan_jobs([meta(1, start_ns=0)], 1000)
    assert job.latest_ns == UNKNOWN_NS


def ask(**changes: object) -> BlockAsk:
    (job,) = plan_jobs([meta(1)], 1000)
    values = {"tenant": "t", "wanted": Wanted.PARTIAL, "request": SearchRequest(query="{ }"), "files": job.files}
    return BlockAsk(**{**values, **changes})


@in_loop
async def test_cache_of_results() -> None:
    """Another question, time range, tenant, storage or block is another entry; keys of traces are of any question."""
    jobs = plan_jobs([meta(n) for n in (1, 2)], 100)
    other = SearchRequest(query="{ }", start_ns=5)
    keys = {
        cache_key(ask(), jobs[0], "s3/a"),
        cache_key(ask(), jobs[0], "s3/b"),
        cache_key(ask(), jobs[1], "s3/a"),
        cache_key(ask(tenant="u"), jobs[0], "s3/a"),
        cache_key(ask(request=other), jobs[0], "s3/a"),
        cache_key(ask(wanted=Wanted.KEYS), jobs[0], "s3/a"),
    }
    assert len(keys) == 6
    assert cache_key(ask(wanted=Wanted.KEYS, request=other), jobs[0], "s3/a") in keys
    cache = ResultCache(100, 100)
    cache.put("x", Wanted.PARTIAL, b"partial")
    assert await cache.get("x", Wanted.PARTIAL) == b"partial"
    assert await cache.get("x", Wanted.KEYS) is None
    nothing = ResultCache(0, 100)
    nothing.put("x", Wanted.PARTIAL, b"partial")
    assert await nothing.get("x", Wanted.PARTIAL) is None


@pytest.mark.parametrize("bytes_per_job", [1, 99, 100, 10**9])
def test_any_size_of_jobs(bytes_per_job: int) -> None:
    metas = [meta(n, 100 * (1 + n % 3), files=1 + n % 3) for n in range(30)]
    jobs = plan_jobs(metas, bytes_per_job)
    assert sum(one.end - one.first for job in jobs for one in job.files) == sum(len(one.files) for one in metas)
