"""Thousands of small flushes of one tenant while compaction runs: does it stay flat?

    python -m benchmarks.months.flushes                   # 300, 1,000 and 3,000 flushes of 200 spans: ten days
    python -m benchmarks.months.flushes --at 100,300
    python -m benchmarks.months.flushes --at 3000 --memory-every 250

After so many flushes it measures the bucket and the memory of the process that flushes and compacts; and in another
process queries: by a reader that has read nothing, then again, and over the same spans in one block. Time is simulated,
as in `benchmarks.months`.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

from app.settings import Settings
from benchmarks.months.simulation import CLUSTER, Months, Plan, in_folder
from benchmarks.small_blocks import Asked, asked
from tables.blocks.meta import BlockMeta
from tables.catalog.block_list import BlockList
from tables.free_memory import release_free_memory, resident_bytes
from tables.merge.merge_blocks import merge_blocks
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig

_AT: Final = (300, 1_000, 3_000)
_WARM_TIMES: Final = 3
_COLD_TIMES: Final = 3


@dataclass(frozen=True, slots=True)
class QueryTimes:
    """CPU seconds of a query. cold: by a reader that has read nothing; warm: again
    one_block: cold, over the same spans in one block; one_block_warm: again. answers_agree: whether both found the same
    """

    cold_s: float
    warm_s: float
    one_block_s: float
    one_block_warm_s: float
    answers_agree: bool


@dataclass(frozen=True, slots=True)
class Moment:
    """After some flushes. objects: all that is in the bucket; resident_mb: of this process, before queries"""

    flushes: int
    blocks: int
    spans: int
    objects: int
    index_bytes: int
    resident_mb: float
    queries: dict[str, QueryTimes]


def moments(
    plan: Plan, at: Sequence[int], folder: Path, on_flush: Callable[[int], None] = lambda _: None
) -> Iterator[Moment]:
    """Flushes and compacts, and measures after so many flushes as `at` says. on_flush: told the number of each"""
    months = Months(plan, folder, Settings())
    for number in range(1, max(at) + 1):
        months.flush()
        on_flush(number)
        if number in at:
            release_free_memory()
            yield _measured(months, number, resident_bytes() / 1e6)


def _measured(months: Months, flushes: int, resident_mb: float) -> Moment:
    objects = list(months.store.objects(""))
    # In a process of its own: what it needs for the one block is not memory of the compactor.
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        blocks, spans, queries = pool.apply(ask_all, (months.store.config.place, months.plan, months.settings))
    return Moment(
        flushes=flushes,
        blocks=blocks,
        spans=spans,
        objects=len(objects),
        index_bytes=sum(stamp.size_bytes for path, stamp in objects if path.startswith("index/")),
        resident_mb=resident_mb,
        queries=queries,
    )


def ask_all(folder: str, plan: Plan, settings: Settings) -> tuple[int, int, dict[str, QueryTimes]]:
    """Visible blocks and their spans, and what each query takes."""
    store = ObjectStore(StorageConfig("local", folder))
    (tenant,) = plan.names

    def reader() -> BlockList:
        blocks = BlockList(store, CLUSTER, ByteCache("columns-months", settings.query.column_cache_bytes_max))
        blocks.poll(range(plan.partitions))
        return blocks

    blocks = reader().snapshot(tenant).blocks
    one = merge_blocks(store, blocks, settings.storage.trace.block.attribute_columns_max).meta
    try:
        trace_id = bytes.fromhex(one.files[0].trace_id_min)
        queries = asked(max(meta.end_max_ns for meta in blocks), trace_id)
        for query in queries:  # imports, and the grammar
            query.ask(reader().query_sources(blocks[:1]))
        times = {query.name: _times(reader, blocks, one, query) for query in queries}
    finally:
        store.delete([path for path, _ in store.objects(one.folder)])
    return len(blocks), sum(meta.spans for meta in blocks), times


def _times(reader: Callable[[], BlockList], blocks: Sequence[BlockMeta], one: BlockMeta, query: Asked) -> QueryTimes:
    """In turns, so that other work on the machine slows both alike; the quickest of each counts."""
    many: list[tuple[float, float, Any]] = []
    single: list[tuple[float, float, Any]] = []
    for _ in range(_COLD_TIMES):
        many.append(_asked(reader(), blocks, query))
        single.append(_asked(reader(), [one], query))
    agree = all(answer == many[0][2] for _, _, answer in (*many, *single))
    (cold_s, warm_s), (one_s, one_warm_s) = (
        (min(took[0] for took in of), min(took[1] for took in of)) for of in (many, single)
    )
    return QueryTimes(cold_s, warm_s, one_s, one_warm_s, agree)


def _asked(reader: BlockList, blocks: Sequence[BlockMeta], query: Asked) -> tuple[float, float, Any]:
    took: list[float] = []
    answer: Any = None
    for _ in range(1 + _WARM_TIMES):
        began_s = process_time()
        answer = query.answer(query.ask(reader.query_sources(blocks)))
        took.append(process_time() - began_s)
    return took[0], min(took[1:]), answer


def rows(moment: Moment) -> Iterator[str]:
    """The rows of the tables."""
    yield (
        f"| {moment.flushes:,} | {moment.blocks} | {moment.spans:,} | {moment.objects} "
        f"| {moment.index_bytes / 1e3:.0f} | {moment.resident_mb:.0f} |"
    )
    for name, times in moment.queries.items():
        cold, warm = (
            f"{many * 1e3:.1f} ({one * 1e3:.1f})"
            for many, one in ((times.cold_s, times.one_block_s), (times.warm_s, times.one_block_warm_s))
        )
        verdict = f"{times.cold_s / times.one_block_s:.1f}, {times.warm_s / times.one_block_warm_s:.1f}"
        yield f"|  | {name} | {cold} | {warm} | {verdict if times.answers_agree else 'WRONG'} |"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.months.flushes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--at", default=",".join(map(str, _AT)), help="measure after so many flushes")
    parser.add_argument("--spans", type=int, default=200, help="of a flush")
    parser.add_argument("--memory-every", type=int, default=0, help="flushes; also print the memory between")
    given = parser.parse_args(argv)
    wrong = False

    def on_flush(number: int) -> None:
        if given.memory_every and number % given.memory_every == 0:
            print(f"| {number:,} | memory: {resident_bytes() / 1e6:.0f} MB |", flush=True)

    print("| flushes | visible blocks | spans | objects | index KB | process MB |")
    print("|   | query | cold: CPU ms (in one block) | warm | ratios |")
    with in_folder() as folder:
        at, plan = [int(one) for one in given.at.split(",")], Plan(partitions=1, spans=given.spans)
        for moment in moments(plan, at, Path(folder), on_flush):
            print("\n".join(rows(moment)), flush=True)
            wrong |= not all(times.answers_agree for times in moment.queries.values())
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
