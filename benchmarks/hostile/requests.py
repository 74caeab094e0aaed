"""Mutated requests against a running server, while another client sends a steady load; then every span is counted.

    python -m benchmarks.hostile.requests [--requests 1000000] [--minutes M] [--seed N] [--rate SPANS_PER_SECOND]

Requests go to OTLP/HTTP (protobuf, JSON, compressed, with broken heads), OTLP/gRPC, the query API, and as messages to
topic otlp_spans. The status is 1 unless: no answer has a status of 5xx; every request has an answer; every span that
was acknowledged, the load's and the hostile ones, is there once it came to blocks, and after a restart; memory and the
event loop's lateness keep their bounds; nothing stays in flight.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any, Final

from opentelemetry.proto.trace.v1.trace_pb2 import TracesData
from prometheus_client.parser import text_string_to_metric_families

from app.api.tempo.traces import NEXT_CURSOR
from benchmarks import measure, workload
from benchmarks.hostile.clients import Came, Job, send_all
from benchmarks.queries import stalls
from benchmarks.soak import count
from benchmarks.soak.ledger import Ledger
from benchmarks.soak.load import Loader
from benchmarks.soak.template import Template
from tables.errors import WireError
from tables.storage.config import StorageConfig
from tables.wire.otlp.decoder import OtlpDecoder
from tests.harness.cluster import BenchError, Cluster

SETTINGS: Final = {
    # For a worker of 1 GB, as docs/security.md has it.
    "STRETTO_QUERY__MEMORY_BYTES_MAX": str(128 << 20),
    "STRETTO_QUERY__MEMORY_TOTAL_BYTES_MAX": str(128 << 20),
    "STRETTO_QUERY__COLUMN_CACHE_BYTES_MAX": str(128 << 20),
    "STRETTO_QUERY__SMALL_FILE_CACHE_BYTES_MAX": str(32 << 20),
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
    "STRETTO_LIVE_STORE__BLOCK_AGE_S": "30",
    "STRETTO_STORAGE__TRACE__BLOCKLIST_POLL_S": "5",
}
ACCEPTED: Final = "stretto_spans_accepted_total"
IN_FLIGHT: Final = "stretto_receiver_in_flight_bytes"
LEFT_OUT: Final = "stretto_spans_duplicate_total"  # a mutation may leave a request as it is
SAMPLE: Final = 2000
SETTLE_S: Final = 180.0


@dataclass(slots=True)
class Report:
    """Results of a run; without faults it passed."""

    faults: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def check(self, *, right: bool, text: str) -> None:
        self.lines.append(("" if right else "WRONG: ") + text)
        if not right:
            self.faults.append(text)


class Watch(threading.Thread):
    """Looks at the worker's memory five times a second."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(daemon=True)
        self._pid = next(one.pid for one in cluster.processes() if one.name == "worker")
        self._done = threading.Event()
        self.start_bytes = self.peak_bytes = measure.resident_bytes(self._pid)

    def run(self) -> None:
        while not self._done.wait(0.2):
            self.peak_bytes = max(self.peak_bytes, measure.resident_bytes(self._pid))

    def finish(self) -> int:
        """Resident bytes at the end; 0 where the worker is not the one that it was."""
        self._done.set()
        self.join()
        return measure.resident_bytes(self._pid)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.requests")
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=3000, help="spans a second of the steady load")
    parser.add_argument("--processes", type=int, default=1, help="that send mutated requests")
    parser.add_argument("--connections", type=int, default=32, help="of all of them; more wait longer, and get no more")
    parser.add_argument("--requests-per-s", type=float, default=1000, help="mutated ones, at most")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="then it sends no more (default: all)")
    parser.add_argument("--rss-mib-max", type=int, default=1024, help="of the worker")
    parser.add_argument("--late-ms-max", type=float, default=100.0, help="of the event loop")
    given = parser.parse_args(argv)
    workload.make_cache(workload.CACHE)
    folder = Path(tempfile.mkdtemp(prefix="hostile-", dir=workload.CACHE))
    report = Report()
    try:
        run(given, folder, report)
    except BenchError as err:
        report.check(right=False, text=str(err))
    print("\n".join(report.lines))
    if report.faults:
        print(f"kept for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 0


def run(given: argparse.Namespace, folder: Path, report: Report) -> None:
    """Raises: BenchError where it cannot go on."""
    options = workload.Options(spans=given.rate * 10, seed=given.seed, spans_per_s=given.rate, spans_per_request=8)
    path = workload.cached(options)
    ledger = Ledger(Template(path))
    good = [body for body in workload.Requests(path)[:200] if len(body) < 1 << 16]
    with Cluster(folder, SETTINGS) as cluster:
        loader, watch = Loader(ledger, cluster.otlp_address, given.rate), Watch(cluster)
        watch.start()
        loader.start()
        time.sleep(5)  # the first requests of a process make caches and threads
        before = stalls.all_buckets(cluster.http_url)
        began_s = time.monotonic()
        hostile = send_all(_jobs(given, cluster, good))
        took_s = time.monotonic() - began_s
        after = stalls.all_buckets(cluster.http_url)
        loader.finish()
        _settle(cluster)
        _tell_run(report, given, hostile, loader, took_s)
        _tell_process(report, given, cluster, watch, (before, after))
        count_everything(report, cluster, ledger, hostile.kept, "in blocks")
    with Cluster(folder, SETTINGS) as cluster:  # on the same data
        find_sample(report, cluster, hostile.kept, "after a restart")


def _jobs(given: argparse.Namespace, cluster: Cluster, good: Sequence[bytes]) -> list[Job]:
    """The requests shared out over the processes."""
    share = given.processes
    return [
        Job(
            otlp_address=cluster.otlp_address,
            otlp_http_port=urllib.parse.urlsplit(cluster.otlp_http_url).port or 0,
            http_port=urllib.parse.urlsplit(cluster.http_url).port or 0,
            kafka_address=cluster.kafka_address,
            requests=given.requests // share,
            minutes=given.minutes,
            connections=max(1, given.connections // share),
            requests_per_s=given.requests_per_s / share,
            seed=given.seed * 1000 + number,
            good=good,
            sample=SAMPLE // share,
        )
        for number in range(share)
    ]


def _tell_run(report: Report, given: argparse.Namespace, hostile: Came, loader: Loader, took_s: float) -> None:
    statuses = ", ".join(f"{name}: {number}" for name, number in sorted(hostile.statuses.items()))
    sent = sum(hostile.statuses.values()) - hostile.statuses["faults"]
    report.lines.append(f"{sent} mutated requests in {took_s:.0f} s, seed {given.seed}: {statuses}")
    for text in hostile.faults:
        report.check(right=False, text=text)
    report.check(right=not hostile.statuses["faults"], text=f"{hostile.statuses['faults']} answers of 5xx, or none")
    report.check(right=not loader.errors, text=f"steady load: refused {dict(loader.errors)}, ack ms {loader.ack_ms()}")


def _tell_process(
    report: Report, given: argparse.Namespace, cluster: Cluster, watch: Watch, loop: tuple[Any, Any]
) -> None:
    end_bytes = watch.finish()
    report.check(right=end_bytes > 0, text="the worker is the one that it was")
    mib = [bytes_ >> 20 for bytes_ in (watch.start_bytes, watch.peak_bytes, end_bytes)]
    text = f"worker: {mib[0]} MiB at the start, {mib[1]} at most, {mib[2]} in the end (limit {given.rss_mib_max})"
    report.check(right=mib[1] <= given.rss_mib_max, text=text)
    before, after = loop
    late_ms = stalls.longest_ms(before[stalls.METRIC], after[stalls.METRIC])
    parts = stalls.longest_parts_ms(before, after)
    own_ms = max(parts["its own work"], parts["the GIL"])
    text = f"event loop late by at most {late_ms:g} ms; of it at most {parts} (limit {given.late_ms_max:g})"
    report.check(right=own_ms <= given.late_ms_max, text=text)
    in_flight = _samples(cluster).get(IN_FLIGHT, -1.0)
    report.check(right=in_flight == 0, text=f"{in_flight:g} bytes in flight in the end")


def _samples(cluster: Cluster) -> dict[str, float]:
    return dict(measure.sample_sums(stalls.metrics(cluster.http_url)))


def _settle(cluster: Cluster) -> None:
    """Waits until all accepted spans are in blocks, but for those that equal others."""
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        text = stalls.metrics(cluster.http_url)
        sums, left_out = measure.sample_sums(text), left_out_spans(text, "seal", "flush")
        accepted, flushed = sums.get(ACCEPTED, 0.0), sums.get(measure.FLUSHED, 0.0)
        if accepted == flushed + left_out:
            return
        if time.monotonic() > deadline_s:
            counted = f"{accepted:.0f} spans accepted, {flushed:.0f} in blocks, {left_out} left out as equal to others"
            raise BenchError(f"{counted} after {SETTLE_S:g} s")
        time.sleep(1)


def left_out_spans(text: str, *places: str) -> int:
    """How many spans were left out in some places since others equal them. text: the worker's metrics"""
    families = text_string_to_metric_families(text)
    samples = [sample for family in families for sample in family.samples if sample.name == LEFT_OUT]
    return int(sum(sample.value for sample in samples if sample.labels["place"] in places))


def count_everything(report: Report, cluster: Cluster, ledger: Ledger, kept: Sequence[bytes], where: str) -> None:
    """The load's spans one by one in the files, the hostile ones by their number there, and a sample by id."""
    before = stalls.metrics(cluster.http_url)
    found = count.count_blocks(StorageConfig("local", str(cluster.data_dir / "blocks")), ledger)
    right = not (found.missing or found.doubled)
    text = f"steady load {where}: {found.spans} spans, {found.missing} missing, {found.doubled} doubled"
    report.check(right=right, text=text)
    after = stalls.metrics(cluster.http_url)
    accepted = int(measure.sample_sums(after).get(ACCEPTED, 0.0))
    # Blocks are merged meanwhile, and some more are left out.
    least, most = (left_out_spans(one, "seal", "flush", "compaction") for one in (before, after))
    total = found.spans + found.foreign
    text = f"{accepted} spans accepted in all, {total} in the files, {least} to {most} left out as equal to others"
    report.check(right=total + least <= accepted <= total + most, text=text)
    checked, differing = count.check_traces(cluster.http_url, ledger, 100, 1)
    report.check(right=differing.right, text=f"{checked} traces of the load span by span: {differing.examples}")
    find_sample(report, cluster, kept, where)


def find_sample(report: Report, cluster: Cluster, kept: Sequence[bytes], where: str) -> None:
    """Spans of accepted hostile requests, by their traces' ids."""
    decoder, wanted = OtlpDecoder(), dict[bytes, set[bytes]]()
    for body in kept:
        try:
            spans = decoder.decode([body]).spans
        except WireError as err:
            report.check(right=False, text=f"accepted, and cannot be decoded: {err}")
            continue
        for trace_id, span_id in zip(spans["trace_id"].to_pylist(), spans["span_id"].to_pylist(), strict=True):
            wanted.setdefault(trace_id, set()).add(span_id)
    traces = sorted(wanted)
    Random(1).shuffle(traces)
    missing = 0
    for trace_id in traces[:SAMPLE]:
        missing += len(wanted[trace_id] - _span_ids(cluster, trace_id))
    text = f"accepted hostile spans {where}: {min(SAMPLE, len(traces))} traces looked up, {missing} spans missing"
    report.check(right=missing == 0, text=text)


def _span_ids(cluster: Cluster, trace_id: bytes) -> set[bytes]:
    """Of a trace, read page by page: mutated requests make some of them large."""
    found: set[bytes] = set()
    cursor: str | None = ""
    while cursor is not None:
        url = f"{cluster.http_url}/api/traces/{trace_id.hex()}?cursor={urllib.parse.quote(cursor)}"
        asked = urllib.request.Request(url, headers={"Accept": "application/protobuf"})
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                groups = TracesData.FromString(answer.read()).resource_spans
                cursor = answer.headers.get(NEXT_CURSOR)
        except urllib.error.HTTPError as err:
            if err.code == HTTPStatus.NOT_FOUND:
                return found
            raise BenchError(f"{url}: status {err.code}") from err
        found |= {span.span_id for group in groups for scope in group.scope_spans for span in scope.spans}
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
