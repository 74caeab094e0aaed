"""`make bench`: starts Stretto, loads it, waits until all spans are in blocks, and prints the cost.

python -m benchmarks [--spans N] [--rate SPANS_PER_SECOND] [--in-flight N] [--tenants N] …
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import measure, report, workload
from benchmarks.load import Loaded, percentiles_ms
from benchmarks.probe import Probe
from tests.harness.cluster import BenchError, Cluster

PROJECT: Final = Path(__file__).parents[1]
WARM_SPANS: Final = 20_000  # imports, caches, topic metadata, the JVM's compiler
WARM_SEED: Final = 2
SEARCHABLE_S: Final = 60.0
FLUSH_EXTRA_S: Final = 120.0  # beyond the age at which a block is cut
POLL_S: Final = 0.1
SETTLE_S: Final = 1.0  # for the commits that follow the last block
RECENT_S: Final = 5  # how long ago a steady load's first spans were, as if they came straight from services


@dataclass(frozen=True, slots=True)
class Prepared:
    """A workload that is ready to be sent."""

    name: str
    file: Path
    spans: int
    requests: int
    spans_per_request: int  # of a full request


def main(argv: list[str]) -> int:
    given = parse(argv)
    if not measure.PROC.is_dir():
        print("make bench needs /proc, that is, Linux", file=sys.stderr)
        return 1
    try:
        run = in_own_folder(given)
    except BenchError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{report.table(run)}\n\nFor the table in benchmarks/README.md:\n{report.markdown_row(run)}")
    report.append_json(run, workload.CACHE / "results.jsonl")
    return 1 if run.loaded.errors or run.probes_lost else 0


def in_own_folder(given: argparse.Namespace) -> report.Run:
    """Measure once, with a data folder that goes away afterwards. Raises BenchError; the folder is kept then."""
    workload.make_cache(workload.CACHE)
    # Beside the workloads, on a real disk: a folder for temporary files may be in memory.
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=workload.CACHE))
    try:
        run = bench(given, folder)
    except BenchError as error:
        raise BenchError(f"{error}\nKept for a look: {folder}") from error
    except KeyboardInterrupt:
        shutil.rmtree(folder)
        raise
    if given.keep:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return run


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, help="spans a second (default: as fast as it goes)")
    parser.add_argument("--in-flight", type=int, default=8, help="unanswered requests at a time (default 8)")
    parser.add_argument("--tenants", type=int, default=0, help="so many tenants in turn (default: no tenants)")
    parser.add_argument("--spans-per-request", type=int, default=report.FULL_REQUEST_SPANS)
    parser.add_argument("--file", type=Path, help="a workload's file of your own, sent as it is")
    parser.add_argument("--block-age-s", type=int, default=60, help="age at which blocks are cut (default 60)")
    parser.add_argument("--partitions", type=int, default=4, help="of the topic (default 4)")
    parser.add_argument(
        "--setting",
        action="append",
        default=[],
        type=setting_variable,
        metavar="KEY=VALUE",
        help="a setting of Stretto, as live_store.segment_age_s=10; may be given again",
    )
    parser.add_argument("--no-probe", action="store_true", help="do not measure freshness, which costs a little")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the log")
    given = parser.parse_args(argv)
    numbers = (given.spans, given.in_flight, given.spans_per_request, given.block_age_s, given.partitions)
    if min(numbers) < 1 or given.tenants < 0 or (given.rate is not None and given.rate < 1):
        parser.error("numbers must be at least 1, --tenants at least 0")
    if given.file and not given.file.is_file():
        parser.error(f"--file {given.file}: there is no such file")
    return given


def setting_variable(text: str) -> tuple[str, str]:
    """`live_store.block_age_s=10` → the environment variable that sets it, and its value."""
    key, sign, value = text.partition("=")
    if not sign or not re.fullmatch(r"[a-z][a-z0-9_.]*", key):
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE with a key as live_store.block_age_s")
    return f"STRETTO_{key.replace('.', '__').upper()}", value


def bench(given: argparse.Namespace, folder: Path) -> report.Run:
    """Measure once. Raises BenchError where the server fails or something takes far too long."""
    warm = workload.cached(workload.Options(WARM_SPANS, WARM_SEED))
    kept = given.file or workload.cached(options(given))
    load_average = os.getloadavg()[0]
    settings = {
        "STRETTO_LIVE_STORE__BLOCK_AGE_S": str(given.block_age_s),
        "STRETTO_LIVE_STORE__SEGMENT_AGE_S": str(min(30, given.block_age_s)),
        "STRETTO_MULTITENANCY_ENABLED": "true" if given.tenants else "false",
        "STRETTO_KAFKA__PARTITIONS": str(given.partitions),
        **dict(given.setting),
    }
    with Cluster(folder, settings) as cluster:
        print(f"ready at {cluster.http_url}; warming up", flush=True)
        workload.moved(warm, time.time_ns(), folder / "warm.otlp")
        send(cluster, folder / "warm.otlp", given.in_flight, None, given.tenants)
        wait_for(cluster, lambda now: now.received > 0 and now.searchable >= now.received, SEARCHABLE_S)
        prepared = prepare(given, kept, folder)
        before, started = cluster.counts(), cluster.processes()
        print(f"sending {prepared.spans:,} spans", flush=True)
        probe = Probe(cluster.otlp_address, cluster.http_url, "tenant-0" if given.tenants else None)
        if not given.no_probe:
            probe.start()
        rate = given.rate and given.rate * prepared.requests / prepared.spans
        loaded = send(cluster, prepared.file, given.in_flight, rate, given.tenants)
        sent_s = time.monotonic()
        wait_for(cluster, lambda now: now.searchable >= now.received, SEARCHABLE_S)
        searchable_s = time.monotonic() - sent_s
        if not given.no_probe:
            probe.finish()
        print(f"{loaded.wall_s:.1f} s; waiting for the blocks", flush=True)
        wait_for(cluster, lambda now: now.flushed >= now.received, given.block_age_s + FLUSH_EXTRA_S)
        flushed_s = time.monotonic() - sent_s
        time.sleep(SETTLE_S)
        after, ended = cluster.counts(), cluster.processes()
        return report.Run(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            commit=commit(),
            cores=os.cpu_count() or 0,
            load_average=round(load_average, 2),
            workload=prepared.name,
            spans=prepared.spans,
            spans_per_request=prepared.spans_per_request,
            in_flight=given.in_flight,
            tenants=given.tenants,
            rate=given.rate,
            loaded=loaded,
            received=after.received - before.received,
            cpu_s=used_cpu_s(started, ended),
            peak_bytes=peaks(ended),
            kafka_bytes_per_span=measure.kafka_bytes(cluster.data_dir) / after.received,
            parquet_bytes_per_span=measure.parquet_bytes(cluster.data_dir) / after.flushed,
            fresh_ms=percentiles_ms(probe.fresh_s),
            probes_lost=probe.lost + probe.refused,
            ready_s=round(cluster.ready_s, 1),
            searchable_lag_s=round(searchable_s, 2),
            flushed_lag_s=round(flushed_s, 2),
            question_ms=percentiles_ms(probe.question_s),
        )


def options(given: argparse.Namespace) -> workload.Options:
    return workload.Options(
        spans=given.spans,
        spans_per_s=given.rate or workload.Options().spans_per_s,
        spans_per_request=given.spans_per_request,
    )


def prepare(given: argparse.Namespace, kept: Path, folder: Path) -> Prepared:
    """The file to send. The times of a generated one are moved to the present just before the load."""
    if given.file:
        counts = [workload.count_spans(request) for request in workload.Requests(kept)]
        return Prepared(kept.name, kept, sum(counts), len(counts), max(counts))
    # A steady load's spans are sent as they happen. At full speed they are sent faster than they happened:
    # the last of them ends now, so that none lies in the future.
    ago_s = RECENT_S if given.rate else given.spans / options(given).spans_per_s
    file = folder / "load.otlp"
    spans = workload.moved(kept, time.time_ns() - int(ago_s * 1e9), file)
    return Prepared(kept.name, file, spans, len(workload.Requests(file)), given.spans_per_request)


def send(cluster: Cluster, file: Path, in_flight: int, rate: float | None, tenants: int) -> Loaded:
    """Runs the load in a separate process. Raises: BenchError if the loader itself fails"""
    command = [sys.executable, "-m", "benchmarks.load", str(file), "--to", cluster.otlp_address]
    command += ["--in-flight", str(in_flight), "--tenants", str(tenants)]
    if rate:
        command += ["--rate", str(rate)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=PROJECT)
    if not done.stdout:
        raise BenchError(f"the loader ended with status {done.returncode}\n{cluster.log_end()}")
    return Loaded(**json.loads(done.stdout))


def wait_for(
    cluster: Cluster, holds: Callable[[measure.Counts], bool], limit_s: float, every_s: float = POLL_S
) -> None:
    """Ask the worker's counters until `holds`. Raises BenchError after `limit_s` seconds."""
    deadline_s = time.monotonic() + limit_s
    while not holds(now := cluster.counts()):
        if time.monotonic() > deadline_s:
            raise BenchError(f"after {limit_s:g} s the counters still say {now}\n{cluster.log_end()}")
        time.sleep(every_s)


def used_cpu_s(started: list[measure.Process], ended: list[measure.Process]) -> Mapping[str, float]:
    """CPU seconds by process name between two snapshots. Raises BenchError where a process was replaced."""
    if gone := {one.pid: one.name for one in started if one.pid not in {other.pid for other in ended}}:
        raise BenchError(f"ended during the measurement, so that its CPU time is not known: {gone}")
    before_s = {one.pid: one.cpu_s for one in started}
    used_s: dict[str, float] = {}
    for one in ended:
        used_s[one.name] = used_s.get(one.name, 0.0) + one.cpu_s - before_s.get(one.pid, 0.0)
    return {name: round(seconds, 2) for name, seconds in used_s.items()}


def peaks(processes: list[measure.Process]) -> Mapping[str, int]:
    """Peak memory by process name; processes with the same name add up."""
    total: dict[str, int] = {}
    for one in processes:
        total[one.name] = total.get(one.name, 0) + one.peak_bytes
    return total


def commit() -> str:
    """The measured git commit; "" outside a repository."""
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is stopped
    sys.exit(main(sys.argv[1:]))
