"""`make bench-queries`: starts Stretto, loads it, and asks what Tempo's users ask: right answers, and how fast.

python -m benchmarks.queries [--spans N] [--blocks K] [--clients C] [--ingest SPANS_PER_SECOND] …
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain, repeat
from pathlib import Path
from typing import Any, Final

from benchmarks import measure, workload
from benchmarks.__main__ import FLUSH_EXTRA_S, SEARCHABLE_S, commit, send, setting_variable, wait_for
from benchmarks.load import Loaded
from benchmarks.queries import report, stalls, truth
from benchmarks.queries.ask import all_timed
from benchmarks.queries.cases import Case, cases
from benchmarks.queries.concurrent_clients import ask_from_elsewhere
from benchmarks.queries.passes import PASSES_MAX, Pass, write
from benchmarks.soak.surroundings import code_of_now
from tests.harness.cluster import BenchError, Cluster

NS: Final = 1_000_000_000
FILE_SPANS_MAX: Final = 1_000_000  # of the workload's file; more spans are further passes of it
IN_FLIGHT: Final = 8
NEVER_S: Final = 36_000  # no block is cut while recent spans are asked for
ROWS_NEVER: Final = 2**31 - 1
BYTES_PER_SPAN: Final = 250  # on the disk: Kafka's log, segments, blocks
FILE_BYTES_PER_SPAN: Final = 400
DISK_SHARE_MAX: Final = 0.9  # of what is free
INGEST_GAP_NS: Final = 60 * NS  # spans that come in meanwhile start so long after all that is asked for
FLUSHED_BLOCKS: Final = "stretto_blocks_flushed_total"
UNSEALED: Final = "stretto_live_store_pending_spans"


@dataclass(slots=True)
class Bench:
    """A run as far as it has come.

    sent: spans, those that came in meanwhile included; numbers_left: of passes, for those
    """

    given: argparse.Namespace
    folder: Path
    kept: workload.Requests
    truth: truth.Truth
    passes: list[Pass] = field(default_factory=list)
    sent: int = 0
    cases: list[Case] = field(default_factory=list)
    rows: list[report.Row] = field(default_factory=list)
    stall_ms: dict[str, float] = field(default_factory=dict)
    concurrent_loads: list[report.ConcurrentLoad] = field(default_factory=list)
    numbers_left: Iterator[int] = field(default_factory=lambda: iter(range(PASSES_MAX - 1, 0, -1)))


def main(argv: list[str]) -> int:
    given = parse(argv)
    if not measure.PROC.is_dir():
        print("make bench-queries needs /proc, that is, Linux", file=sys.stderr)
        return 1
    results = workload.CACHE / "results.jsonl"
    workload.make_cache(workload.CACHE)
    # Beside the workloads, on a real disk: a folder for temporary files may be in memory.
    folder = Path(tempfile.mkdtemp(prefix="queries-", dir=workload.CACHE))
    kept = given.keep
    try:
        compared = report.find_compared(given.compare or results, given.partitions)
        run, queries = bench(given, folder)
    except (BenchError, ValueError) as error:
        print(error, file=sys.stderr)
        kept = True
        return 1
    except KeyboardInterrupt:
        kept = False
        return 130
    finally:
        if kept:
            print(f"kept for a look: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder)
    print(f"\n{report.text(run, compared, queries)}\n\nFor benchmarks/README.md:\n{report.markdown(run, queries)}")
    report.append_json(run, results)
    return 1 if run.wrong else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.queries", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--blocks", type=int, default=1, help="load in so many goes, a flush after each (default 1)")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic: a flush writes a block of each")
    parser.add_argument("--runs", type=int, default=20, help="of each query (default 20)")
    parser.add_argument("--query-limit-s", type=float, default=20.0, help="fewer runs of a query that takes longer")
    parser.add_argument("--only", choices=(report.RECENT, report.BLOCKS), help="ask at one place only")
    parser.add_argument("--clients", type=int, default=0, help="then so many clients at once (default: none)")
    parser.add_argument("--ingest", type=int, metavar="RATE", help="spans a second that come in meanwhile")
    parser.add_argument("--seconds", type=float, default=20.0, help="for --clients and --ingest (default 20)")
    parser.add_argument("--compare", type=Path, help="results with a run of 1M spans (default: .cache/results.jsonl)")
    parser.add_argument("--block-age-s", type=int, default=30, help="age at which blocks are cut (default 30)")
    parser.add_argument("--setting", action="append", default=[], type=setting_variable, metavar="KEY=VALUE")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the log")
    given = parser.parse_args(argv)
    rate = 1 if given.ingest is None else given.ingest
    if min(given.spans, given.blocks, given.partitions, given.runs, given.block_age_s, rate) < 1:
        parser.error("numbers must be at least 1, --clients at least 0")
    if given.clients < 0 or min(given.seconds, given.query_limit_s) <= 0 or given.spans < given.blocks:
        parser.error("--seconds and --query-limit-s must be above 0, --spans at least --blocks")
    if given.blocks > 1 and given.only == report.RECENT:
        parser.error(f"--only {report.RECENT}: with --blocks above 1 all is in blocks")
    if sum(passes_per_flush(given)) > PASSES_MAX:
        parser.error(f"--spans and --blocks: more than {PASSES_MAX} files to send")
    if given.compare and not given.compare.is_file():
        parser.error(f"--compare {given.compare}: there is no such file")
    return given


def passes_per_flush(given: argparse.Namespace) -> list[int]:
    """For each flush, how many times the workload's file is sent before."""
    return [-(-given.spans // (given.blocks * FILE_SPANS_MAX))] * given.blocks


def bench(given: argparse.Namespace, folder: Path) -> tuple[report.Run, dict[str, str]]:
    """Measure once: the run, and each query's text. Raises BenchError, ValueError for a workload too small."""
    load_average = os.getloadavg()[0]
    file_spans = -(-given.spans // sum(passes_per_flush(given)))
    check_disk(given.spans, file_spans, folder)
    file = workload.cached(workload.Options(spans=file_spans))
    say("counting what the answers must be")
    kept = workload.Requests(file)
    run = Bench(given, folder, kept, truth.read(kept))
    at_once = given.blocks == 1 and given.only != report.BLOCKS
    blocks, disk_bytes = in_one_go(run) if at_once else block_by_block(run)
    return report.Run(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=commit(),
        cores=os.cpu_count() or 0,
        load_average=round(load_average, 2),
        spans=run.truth.spans * len(run.passes),
        partitions=given.partitions,
        flushes=given.blocks,
        blocks=blocks,
        disk_bytes=disk_bytes,
        rows=run.rows,
        stall_ms=run.stall_ms,
        concurrent_loads=run.concurrent_loads,
    ), {case.name: case.what for case in run.cases}


def check_disk(spans: int, file_spans: int, folder: Path) -> None:
    """Say what the run will take. Raises BenchError where there is not enough."""
    needed = spans * BYTES_PER_SPAN + 2 * file_spans * FILE_BYTES_PER_SPAN
    free = shutil.disk_usage(folder).free
    say(f"needs about {needed / 1e9:.1f} GB of disk while it runs, {free / 1e9:.1f} GB are free")
    if needed > DISK_SHARE_MAX * free:
        raise BenchError(f"too little disk at {folder}: take fewer --spans")


def in_one_go(run: Bench) -> tuple[int, int]:
    """Queries recent data, restarts Stretto so that it cuts blocks, and queries again."""
    code = code_of_now(run.folder / "code")
    with Cluster(run.folder, {**settings(run.given, NEVER_S), **code}) as cluster:
        load(run, cluster, passes_per_flush(run.given)[0])
        run.cases = cases(run.truth, run.passes)
        ask_all(run, cluster, report.RECENT)
        if run.given.only == report.RECENT:
            return 0, measure.disk_bytes(cluster.data_dir)
    say("starting again, to cut blocks")
    with Cluster(run.folder, {**settings(run.given, run.given.block_age_s), **code}) as cluster:
        flushed = wait_for_blocks(run, cluster)
        ask_all(run, cluster, report.BLOCKS)
        return flushed, measure.disk_bytes(cluster.data_dir)


def block_by_block(run: Bench) -> tuple[int, int]:
    """Load, wait for the blocks, and so on; then ask."""
    flushed = 0
    code = code_of_now(run.folder / "code")
    with Cluster(run.folder, {**settings(run.given, run.given.block_age_s), **code}) as cluster:
        for number, passes in enumerate(passes_per_flush(run.given), 1):
            load(run, cluster, passes)
            flushed = wait_for_blocks(run, cluster)
            say(f"flush {number} of {run.given.blocks}: {run.sent:,} spans in {flushed} blocks")
        run.cases = cases(run.truth, run.passes)
        ask_all(run, cluster, report.BLOCKS)
        return flushed, measure.disk_bytes(cluster.data_dir)


def settings(given: argparse.Namespace, block_age_s: int) -> dict[str, str]:
    """Settings of the run as environment variables."""
    return {
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(block_age_s),
        "STRETTO_LIVE_STORE__BLOCK_ROWS_MAX": str(ROWS_NEVER),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": str(min(30, block_age_s)),
        "STRETTO_KAFKA__PARTITIONS": str(given.partitions),
        **dict(given.setting),
    }


def load(run: Bench, cluster: Cluster, passes: int) -> None:
    """Send so many passes, each ending now, and wait until they are searchable."""
    file = run.folder / "load.otlp"
    for _ in range(passes):
        one = Pass(len(run.passes), time.time_ns() - run.truth.last_ns)
        write(one.requests(run.kept), file)
        say(f"sending {run.truth.spans:,} spans")
        loaded = send(cluster, file, IN_FLIGHT, None, 0)
        if loaded.errors or loaded.rejected_spans:
            raise BenchError(f"{loaded.errors} requests refused: {loaded.first_errors}\n{cluster.log_end()}")
        run.passes.append(one)
        run.sent += run.truth.spans
    file.unlink()
    # What is still being sealed takes the CPU that the queries are to have.
    wait_for(cluster, lambda now: now.searchable >= run.sent and not unsealed(cluster), SEARCHABLE_S)


def unsealed(cluster: Cluster) -> float:
    """Spans of full heads that are not segments yet."""
    return measure.sample_sums(stalls.metrics(cluster.http_url))[UNSEALED]


def wait_for_blocks(run: Bench, cluster: Cluster) -> int:
    """Until all is in blocks, and nothing waits to be; how many there are now."""
    say("waiting for the blocks")
    wait_for(cluster, lambda now: now.flushed >= run.sent, run.given.block_age_s + FLUSH_EXTRA_S)
    return int(measure.sample_sums(stalls.metrics(cluster.http_url))[FLUSHED_BLOCKS])


def ask_all(run: Bench, cluster: Cluster, place: str) -> None:
    """One query at a time; then, where that was asked for, many, and spans that come in."""
    given, url = run.given, cluster.http_url
    say(f"asking: {place}")
    before = stalls.buckets(url)
    timings = all_timed(url, run.cases, given.runs, given.query_limit_s)
    run.stall_ms[place] = stalls.longest_ms(before, stalls.buckets(url))
    run.rows += [report.row(place, timing) for timing in timings]
    if not given.clients and not given.ingest:
        return
    file = run.folder / "ingest.otlp"
    requests = write_ingest(run, file) if given.ingest else 0
    clients = max(1, given.clients)
    say(f"asking: {place}, {clients} clients for {given.seconds:g} s")
    all_before = stalls.all_buckets(url)
    echo = stalls.Echo(url)
    echo.start()
    with ThreadPoolExecutor(1, "ingest") as pool:
        rate = requests / given.seconds
        sending = pool.submit(send, cluster, file, IN_FLIGHT, rate, 0) if requests else None
        try:
            concurrent = ask_from_elsewhere(url, run.cases, clients, given.seconds)
        finally:
            loaded = sending.result() if sending else None
    echo.finish()
    all_after = stalls.all_buckets(url)
    stall_ms = stalls.longest_ms(all_before[stalls.METRIC], all_after[stalls.METRIC])
    parts_ms = stalls.longest_parts_ms(all_before, all_after)
    run.concurrent_loads.append(
        report.concurrent_load(place, concurrent, ingested(given.ingest, loaded), echo.took_s, stall_ms, parts_ms)
    )
    file.unlink(missing_ok=True)
    wait_for(cluster, lambda now: now.searchable >= now.received, SEARCHABLE_S)
    run.sent = cluster.counts().searchable


def write_ingest(run: Bench, file: Path) -> int:
    """So many spans as come in at the rate, later than all that is asked for. Returns the number of requests."""
    spans_per_request = run.truth.spans / len(run.kept)
    wanted = max(1, round(run.given.ingest * run.given.seconds / spans_per_request))
    start_ns = max(time.time_ns(), run.truth.last_ns + run.passes[-1].shift_ns + INGEST_GAP_NS)
    shift_ns = start_ns - run.truth.first_ns
    passes = (Pass(next(run.numbers_left), shift_ns) for _ in repeat(None))
    return write(chain.from_iterable(one.requests(run.kept) for one in passes), file, wanted)


def ingested(rate: int | None, loaded: Loaded | None) -> Mapping[str, Any]:
    """The fields of report.ConcurrentLoad that tell of spans that came in."""
    if loaded is None:
        return {"ingest_rate": None, "ingested_per_s": None, "ack_p99_ms": None, "ingest_errors": 0}
    acknowledged = loaded.requests - loaded.errors
    per_request = workload.Options().spans_per_request
    return {
        "ingest_rate": rate,
        "ingested_per_s": round(acknowledged * per_request / loaded.wall_s),
        "ack_p99_ms": loaded.ack_ms.get("p99"),
        "ingest_errors": loaded.errors,
    }


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    sys.exit(main(sys.argv[1:]))
