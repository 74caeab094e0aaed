"""Thousands of small flushes of one tenant while compaction runs: does it stay flat?

    python -m benchmarks.months.flushes                   # 300, 1,000 and 3,000 flushes of 200 spans: ten days
    python -m benchmarks.months.flushes --at 100,300

After so many flushes it measures the bucket, this process's memory, and queries: by a reader that has read nothing,
then again, and over the same spans in one block. Time is simulated, as in `benchmarks.months`.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any, Final

from app.settings import Settings
from benchmarks.months.simulation import START_S, Months, Plan, in_folder
from query.metrics.metrics import metrics_instant
from query.requests import InstantRequest, SearchRequest
from query.search.search import search
from tables.blocks.meta import BlockMeta
from tables.free_memory import release_free_memory, resident_bytes
from tables.merge.merge_blocks import merge_blocks
from tables.units import NS_PER_S

_AT: Final = (300, 1_000, 3_000)
_WARM_TIMES: Final = 3

Ask = Callable[[list[Any]], object]


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


def moments(plan: Plan, at: Sequence[int], folder: Path) -> Iterator[Moment]:
    """Flushes and compacts, and measures after so many flushes as `at` says."""
    months = Months(plan, folder, Settings())
    for number in range(1, max(at) + 1):
        months.flush()
        if number in at:
            yield _measured(months, number)


def _measured(months: Months, flushes: int) -> Moment:
    release_free_memory()
    resident_mb = resident_bytes() / 1e6
    reader = months.block_list()
    reader.poll(range(months.plan.partitions))
    (tenant,) = months.plan.names
    blocks = reader.snapshot(tenant).blocks
    objects = list(months.store.objects(""))
    one = merge_blocks(months.store, blocks, months.settings.storage.trace.block.attribute_columns_max).meta
    try:
        asked = {name: _times(months, blocks, one, ask) for name, ask in _queries(months).items()}
    finally:
        months.store.delete([path for path, _ in months.store.objects(one.folder)])
    return Moment(
        flushes=flushes,
        blocks=len(blocks),
        spans=sum(meta.spans for meta in blocks),
        objects=len(objects),
        index_bytes=sum(stamp.size_bytes for path, stamp in objects if path.startswith("index/")),
        resident_mb=resident_mb,
        queries=asked,
    )


def _times(months: Months, blocks: Sequence[BlockMeta], one: BlockMeta, ask: Ask) -> QueryTimes:
    cold_s, warm_s, answer = _asked(months, blocks, ask)
    one_cold_s, one_warm_s, expected = _asked(months, [one], ask)
    return QueryTimes(cold_s, warm_s, one_cold_s, one_warm_s, answer == expected)


def _asked(months: Months, blocks: Sequence[BlockMeta], ask: Ask) -> tuple[float, float, object]:
    reader = months.block_list()
    took: list[float] = []
    answer: object = None
    for _ in range(1 + _WARM_TIMES):
        began_s = process_time()
        answer = ask(reader.query_sources(blocks))
        took.append(process_time() - began_s)
    return took[0], min(took[1:]), answer


def _queries(months: Months) -> dict[str, Ask]:
    """Each returns what must be equal, however the spans are distributed over blocks."""
    start_ns, end_ns = round(START_S * NS_PER_S), round(months.now_s * NS_PER_S)

    def rate(sources: list[Any]) -> object:
        request = InstantRequest(
            query="{ } | count_over_time() by (resource.service.name)", start_ns=start_ns, end_ns=end_ns
        )
        return sorted(map(repr, metrics_instant(sources, request).series))

    def found(query: str, limit: int) -> Ask:
        def ask(sources: list[Any]) -> object:
            return len(search(sources, SearchRequest(query=query, limit=limit)).traces)

        return ask

    return {
        "count by service": rate,
        "an attribute that no span has": found('{ span.nosuch = "x" }', 20),
        "newest 20 of a service": found('{ resource.service.name = "storefront" }', 20),
        "structural": found('{ resource.service.name = "storefront" } >> { status = error }', 20),
    }


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
        yield f"|  | {name} | {cold} | {warm} | {'' if times.answers_agree else 'WRONG'} |"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.months.flushes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--at", default=",".join(map(str, _AT)), help="measure after so many flushes")
    parser.add_argument("--spans", type=int, default=200, help="of a flush")
    given = parser.parse_args(argv)
    wrong = False
    print("| flushes | visible blocks | spans | objects | index KB | process MB |")
    print("|   | query | cold: CPU ms (in one block) | warm |  |")
    with in_folder() as folder:
        for moment in moments(
            Plan(partitions=1, spans=given.spans), [int(one) for one in given.at.split(",")], Path(folder)
        ):
            print("\n".join(rows(moment)), flush=True)
            wrong |= not all(times.answers_agree for times in moment.queries.values())
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
