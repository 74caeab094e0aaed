"""Many small blocks: what queries cost over thousands of flushes of few spans, and over the same spans in one block.

    python -m benchmarks.small_blocks                          # 3,000 blocks of 200 spans
    python -m benchmarks.small_blocks --blocks 300 --cache 384 --cache 8

It writes the blocks to a local store in `.cache` with the code of the live store, once, and asks each query cold (a new
process, empty caches; the system has the files in memory) and warm (median). A limit is that of decoded columns; small
files in memory have the limit that `--files` gives. `--single` also asks with a source for each file, which is what a
query does with large files.
"""

import argparse
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.workload import CACHE, EPOCH_S, Options, make_cache, requests
from query.metrics.metrics import metrics_range
from query.requests import RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest
from query.search.search import search
from query.tags.tag_cache import TagCache
from query.tags.tag_text import parse_tag
from query.tags.tags import tag_names, tag_values
from query.trace.by_id import trace_by_id
from tables.blocks.write import BlockRange, SegmentFile, write_block
from tables.catalog.block_list import BlockList
from tables.catalog.cuts import Cut
from tables.columns.arrays import numbers, one_array
from tables.columns.trace_facts import time_range_ns
from tables.live.head import seal_and
from tables.live.shared_records import HeadRecord
from tables.parquet.write import to_parquet
from tables.storage.byte_cache import ByteCache
from tables.storage.object_store import ObjectStore, StorageConfig
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split

_TENANT: Final = "single-tenant"
_CLUSTER: Final = "bench"
_MIB: Final = 1 << 20
_NS: Final = 1_000_000_000
_COLUMNS_MAX: Final = 300
_SEGMENT_ROWS: Final = 65_536

Sources = Sequence[Any]
Ask = Callable[[Sources], Any]


class Asked(NamedTuple):
    """A query: its name, what asks it, and what of the answer must be the same however the spans are stored."""

    name: str
    ask: Ask
    answer: Callable[[Any], Any]


class Row(NamedTuple):
    """What a query took. cpu: of all threads; rss: bytes resident after it"""

    name: str
    cold_ms: float
    cold_cpu_ms: float
    warm_ms: float
    answer: Any
    rss_bytes: int


# ---- data


def write_blocks(store: ObjectStore, options: Options, rows: int) -> int:
    """Blocks of at least so many rows, a file each, with the cuts that make them visible. Out: how many"""
    blocks = BlockList(store, _CLUSTER, ByteCache("written", 0))
    number = 0
    for number, files in enumerate(_sealed(options, rows)):
        block = BlockRange(_CLUSTER, _TENANT, 0, 1, number, number)
        meta = write_block(store, block, files)
        blocks.cuts.write(Cut(0, number, number, (meta.key,)))
    return number + 1


def _sealed(options: Options, rows: int) -> Iterator[list[SegmentFile]]:
    decoder, records, count = OtlpDecoder(), [], 0
    for request, _ in requests(options):
        for part in split(decoder.decode([request]).spans, 1):
            value, headers = record.encode(part.spans)
            records.append(HeadRecord(0, record.read_headers(headers).spans, value))
            count += records[-1].spans
        if count >= rows:
            yield [_segment(records)]
            records, count = [], 0
    if records:
        yield [_segment(records)]


def _segment(records: Sequence[HeadRecord]) -> SegmentFile:
    table, data, bad = seal_and(to_parquet, records, _COLUMNS_MAX)
    assert table is not None, bad
    times = time_range_ns(numbers(one_array(table["start_ns"])), numbers(one_array(table["duration_ns"])))
    return SegmentFile(data, table.num_rows, *times)


def stores(blocks: int, spans_per_block: int) -> tuple[Path, Path]:
    """Folders with the small blocks, and with the same spans in blocks of 65,536; made unless they are there."""
    make_cache(CACHE)
    options = Options(spans=blocks * spans_per_block, spans_per_s=1, spans_per_request=spans_per_block)
    found = []
    for kind, rows in (("small", spans_per_block), ("large", _SEGMENT_ROWS)):
        folder = CACHE / f"blocks-{kind}-{blocks}-{spans_per_block}"
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            written = write_blocks(ObjectStore(StorageConfig("local", str(partial))), options, rows)
            partial.rename(folder)
            print(f"wrote {written} blocks to {folder.name}", flush=True)
        found.append(folder)
    return found[0], found[1]


# ---- queries


def asked(end_ns: int, trace_id: bytes) -> list[Asked]:
    """The list."""
    start_ns = EPOCH_S * _NS
    span = end_ns - start_ns

    def searching(name: str, query: str, **more: Any) -> Asked:
        request = SearchRequest(query=query, **more)
        return Asked(name, lambda sources: search(sources, request), lambda got: [one.trace_id for one in got.traces])

    def counting(name: str, query: str) -> Asked:
        request = RangeRequest(query=query, start_ns=start_ns, end_ns=end_ns, step_ns=span // 100)
        return Asked(name, lambda sources: metrics_range(sources, request), _samples)

    tags = TagNamesRequest()
    values = TagValuesRequest(fields=(parse_tag("span.http.route"),))
    trace, cache = TraceRequest(trace_id=trace_id), TagCache()
    return [
        searching("{ } limit 1", "{ }", limit=1),
        counting("rate() by service", "{ } | rate() by (resource.service.name)"),
        searching("a word that is not there", '{ span.nosuch = "x" }'),
        searching("a value that is not there", '{ span.http.route = "nosuch" }'),
        searching("an attribute =, all", "{ span.http.response.status_code = 500 }", limit=100_000),
        searching("newest 20 of a service", '{ resource.service.name = "payments" }'),
        searching("structural", '{ name = "POST" } >> { resource.service.name = "payments" }'),
        counting("quantiles", '{ resource.service.name = "storefront" } | quantile_over_time(duration, .9) by (name)'),
        Asked("trace by id", lambda sources: trace_by_id(sources, trace), lambda got: len(got[0])),
        Asked("tag names", lambda sources: tag_names(sources, tags, cache=cache), lambda got: dict(got.scopes)),
        Asked("tag values", lambda sources: tag_values(sources, values, cache=cache), lambda got: set(got.values)),
    ]


def _samples(result: Any) -> float:
    return round(float(sum(value for one in result.series for _, value in one.samples)), 3)


def measure(folder: Path, cache_bytes: int, file_bytes: int, runs: int, *, single: bool = False) -> list[Row]:
    """Asks all queries. single: with a source for each file"""
    store = ObjectStore(StorageConfig("local", str(folder)))
    blocks = BlockList(store, _CLUSTER, ByteCache("columns", cache_bytes), small_files_bytes_max=file_bytes)
    blocks.poll([0])
    metas = blocks.snapshot(_TENANT).blocks
    end_ns = max(meta.end_max_ns for meta in metas)
    newest = max(metas, key=lambda meta: meta.end_max_ns)
    (newest_trace,) = search(blocks.sources(newest), SearchRequest(query="{ }", limit=1)).traces
    rows: list[Row] = []
    for name, ask, answer in asked(end_ns, newest_trace.trace_id):
        if rows:  # every query begins with nothing
            cache: Any = ByteCache("columns", cache_bytes)
            blocks = BlockList(store, _CLUSTER, cache, small_files_bytes_max=file_bytes)
            blocks.poll([0])
        took, used, got = [], [], None
        for _ in range(runs + 1):
            began_s, began_cpu_s = time.perf_counter(), time.process_time()
            sources = [one for meta in metas for one in blocks.sources(meta)] if single else blocks.query_sources(metas)
            got = ask(sources)
            took.append(1000 * (time.perf_counter() - began_s))
            used.append(1000 * (time.process_time() - began_cpu_s))
            del sources
        rows.append(Row(name, took[0], used[0], statistics.median(took[1:]), answer(got), _resident_bytes()))
    return rows


def _resident_bytes() -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS:")) * 1024


def _in_new_process(*given: Any, single: bool = False) -> list[Row]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: list[Row] = pool.apply(measure, given, {"single": single})
        return found


def main(argv: list[str]) -> int:
    """Prints a table for each limit."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small_blocks", description="Times many small blocks.")
    parser.add_argument("--blocks", type=int, default=3000)
    parser.add_argument("--spans", type=int, default=200, help="of each block")
    parser.add_argument("--cache", type=int, action="append", help="MiB of decoded columns; several times for several")
    parser.add_argument("--files", type=int, default=64, help="MiB of small files in memory")
    parser.add_argument("--runs", type=int, default=3, help="warm, of which the median counts")
    parser.add_argument("--single", action="store_true", help="also with a source for each file")
    given = parser.parse_args(argv)
    small, large = stores(given.blocks, given.spans)
    for cache in given.cache or [384, 32, 4, 0]:
        together = _in_new_process(large, cache * _MIB, given.files * _MIB, given.runs)
        grouped = _in_new_process(small, cache * _MIB, given.files * _MIB, given.runs)
        report(f"cache of {cache} MiB, {given.blocks} blocks", grouped, together, given.blocks)
        if given.single:
            alone = _in_new_process(small, cache * _MIB, given.files * _MIB, given.runs, single=True)
            report(f"cache of {cache} MiB, a source for each file", alone, together, given.blocks)
    return 0


def report(title: str, rows: Sequence[Row], together: Sequence[Row], files: int) -> None:
    """Prints the table. together: of the same spans in large blocks"""
    print(f"\n{title}: most resident {max(row.rss_bytes for row in rows) / 1e6:.0f} MB")
    head = ("query", "cold ms", "cpu", "ms a file", "warm ms", "in one: cold", "warm", "answer")
    print("{:28} {:>9} {:>9} {:>9} {:>9} {:>12} {:>8} {:>8}".format(*head))
    for row, other in zip(rows, together, strict=True):
        same = "same" if row.answer == other.answer else "OTHER"
        print(
            f"{row.name:28} {row.cold_ms:9.1f} {row.cold_cpu_ms:9.1f} {row.cold_cpu_ms / files:9.3f} "
            f"{row.warm_ms:9.1f} {other.cold_ms:12.1f} {other.warm_ms:8.1f} {same:>8}",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
