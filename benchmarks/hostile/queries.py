"""Fuzzed queries over wide data against `stretto run`, with a steady load beside them and little memory.

    python -m benchmarks.hostile.queries --queries 20000 --seed 1
    python -m benchmarks.hostile.queries --queries 1000 --apart     # distributor and all else in two processes

Fails where an answer is 500 or missing, the worker ends or has more than its memory, or acknowledgements take twice as
long as without queries.
"""

import argparse
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.hostile.asked import TENANTS
from benchmarks.hostile.one_run import one_run
from benchmarks.hostile.query_clients import TIMEOUT_S, Asking, Seen, ask_all
from benchmarks.hostile.wide import Wide
from benchmarks.load import EXPORT, percentiles_ms
from benchmarks.queries.stalls import METRIC, all_buckets, longest_ms, longest_parts_ms
from tests.harness.client import eventually
from tests.harness.cluster import BenchError, Cluster
from tests.harness.other_process import OtherProcess

# Those that docs/security.md names for a worker of 2 GB.
SETTINGS: Final = {
    "STRETTO_MULTITENANCY_ENABLED": "true",
    "STRETTO_QUERY__MEMORY_BYTES_MAX": str(192 << 20),
    "STRETTO_QUERY__MEMORY_TOTAL_BYTES_MAX": str(256 << 20),
    "STRETTO_QUERY__COLUMN_CACHE_BYTES_MAX": str(192 << 20),
}
ALL_ELSE: Final = "live-store,compactor,query-frontend,querier"
LOAD_EVERY_S: Final = 0.1
# Few: what the load has sent would soon be most of what each query reads.
LOAD_SPANS: Final = 20
QUIET_S: Final = 60.0  # load alone, to compare with: a 99th percentile needs hundreds of requests
LOOK_EVERY_S: Final = 0.2
# A request that comes within `window_ms` (60) of the last batch waits for the rest of that time. At the load's pace
# none does while nothing is late; one that is late by a few milliseconds makes the next one wait. So the 99th
# percentile has one such wait more, whatever the delay was. The ratio is printed, too.
ACK_SLACK_MS: Final = 50.0
SETTLE_S: Final = 60.0


class Load(threading.Thread):
    """Small requests at a steady rate. ack_s: how long each took to be acknowledged."""

    def __init__(self, address: str, wide: Wide) -> None:
        super().__init__(name="steady-load", daemon=True)
        self.ack_s: list[float] = []
        self.failed: Counter[str] = Counter()
        self.finish = threading.Event()
        self._address, self._wide = address, wide

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            call = channel.unary_unary(EXPORT)
            due_s = time.monotonic()
            for request in self._requests():
                if self.finish.wait(max(0.0, due_s - time.monotonic())):
                    return
                began_s = time.monotonic()
                try:
                    call(request, timeout=TIMEOUT_S, metadata=(("x-scope-orgid", TENANTS[1]),))
                    self.ack_s.append(time.monotonic() - began_s)
                except grpc.RpcError as error:
                    self.failed[str(error.code())] += 1
                due_s = max(due_s + LOAD_EVERY_S, time.monotonic())

    def _requests(self) -> Iterator[bytes]:
        """The same spans again and again, in other traces each time: nobody sends one span thousands of times."""
        made = list(replace(self._wide, spans=10 * LOAD_SPANS, huge_trace_spans=0, seed=99).requests(LOAD_SPANS))
        ids = [_trace_ids(request) for request in made]
        rng = Random(self._wide.seed)
        while True:
            fresh = {trace_id: rng.randbytes(len(trace_id)) for trace_id in sorted(set().union(*ids))}
            for request, here in zip(made, ids, strict=True):
                for trace_id in here:
                    request = request.replace(trace_id, fresh[trace_id])
                yield request


def _trace_ids(request: bytes) -> set[bytes]:
    made = ExportTraceServiceRequest.FromString(request)
    return {span.trace_id for resource in made.resource_spans for scope in resource.scope_spans for span in scope.spans}


class Watchdog(threading.Thread):
    """Reads the worker's resident memory. over: the cap was broken"""

    def __init__(self, pid: int, bytes_max: int) -> None:
        super().__init__(name="watchdog", daemon=True)
        self.now_bytes, self.peak_bytes, self.gone, self.finish = 0, 0, False, threading.Event()
        self._path, self.bytes_max = Path(f"/proc/{pid}/statm"), bytes_max

    def run(self) -> None:
        while not self.finish.wait(LOOK_EVERY_S):
            try:
                self.now_bytes = int(self._path.read_text().split()[1]) * 4096
            except (OSError, IndexError):
                self.gone = True
                return
            self.peak_bytes = max(self.peak_bytes, self.now_bytes)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.queries", description=__doc__)
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--skip", type=int, default=0, help="so many of them, which an earlier run has asked")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="then it asks no more (default: all)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--megabytes", type=int, default=2048, help="resident memory that the worker may have")
    parser.add_argument("--keys", type=int, default=5_000)
    parser.add_argument("--values", type=int, default=100_000)
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--huge-trace", type=int, default=200_000, metavar="SPANS")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="another environment variable of the server"
    )
    parser.add_argument("--apart", action="store_true", help="the distributor in a process of its own")
    parser.add_argument("--log", type=Path, help="file for what each query took, as lines of JSON")
    given = parser.parse_args(argv)
    start_ns = time.time_ns() - 3_600 * 10**9
    wide = Wide(
        keys=given.keys,
        values=given.values,
        spans=given.spans,
        huge_trace_spans=given.huge_trace,
        start_ns=start_ns,
        seed=given.seed,
    )
    settings = {**SETTINGS, **({"TARGET": "distributor"} if given.apart else {})}
    settings |= dict(one.split("=", 1) for one in given.set)
    return one_run(settings, lambda cluster: _run(cluster, wide, given))


class AskedProcess(NamedTuple):
    """The process that answers queries. is_alive: whether it has not been replaced"""

    url: str
    pid: int
    is_alive: Callable[[], bool]


@contextmanager
def _process(cluster: Cluster, *, apart: bool) -> Iterator[AskedProcess]:
    """The worker of the cluster, or one more process that does all but to receive."""
    if apart:
        with OtherProcess(cluster, cluster.data_dir.parent, ALL_ELSE) as other:
            eventually(other.client().ready, bool, SETTLE_S, "not ready")
            yield AskedProcess(other.http_url, other.pid, lambda: not other.ended)
        return

    def pids() -> list[int]:
        return [one.pid for one in cluster.processes() if one.name == "worker"]

    (pid,) = pids()
    yield AskedProcess(cluster.http_url, pid, lambda: pids() == [pid])


def _run(cluster: Cluster, wide: Wide, given: argparse.Namespace) -> list[str]:
    with _process(cluster, apart=given.apart) as worker:
        return _run_against(worker, cluster.otlp_address, wide, given)


def _run_against(worker: AskedProcess, otlp_address: str, wide: Wide, given: argparse.Namespace) -> list[str]:
    dog = Watchdog(worker.pid, given.megabytes << 20)
    dog.start()
    sent = _fill(otlp_address, wide)
    print(f"sent {sent} spans for each of {len(TENANTS)} tenants; seed {given.seed}", flush=True)
    load = Load(otlp_address, wide)
    load.start()
    time.sleep(QUIET_S)
    quiet, before = list(load.ack_s), all_buckets(worker.url)
    print(f"worker before the queries: {dog.now_bytes >> 20} MB resident, {dog.peak_bytes >> 20} at most", flush=True)
    began_s = time.monotonic()
    asking = Asking(given.seed, given.queries, given.clients, given.skip, given.minutes)
    seen = ask_all(worker.url, wide, asking)
    took_s, busy = time.monotonic() - began_s, load.ack_s[len(quiet) :]
    load.finish.set()
    after = all_buckets(worker.url)
    dog.finish.set()
    if given.log is not None:
        names = ("took_s", "kind", "status", "text")
        given.log.write_text("".join(json.dumps(dict(zip(names, one, strict=True))) + "\n" for one in seen.all))
    _report(seen, took_s, quiet, busy, dog)
    print(f"event loop late by at most {longest_ms(before[METRIC], after[METRIC]):g} ms:", end=" ")
    print(", ".join(f"{name} {ms:g} ms" for name, ms in longest_parts_ms(before, after).items()))
    return list(_problems(seen, quiet, busy, load, dog, alive=worker.is_alive() and not dog.gone))


def _fill(address: str, wide: Wide) -> int:
    """The wide data for both tenants, the second with other values. Returns the spans of each."""
    with grpc.insecure_channel(address, [("grpc.max_send_message_length", -1)]) as channel:
        call = channel.unary_unary(EXPORT)
        for tenant, of in zip(TENANTS, (wide, replace(wide, huge_trace_spans=0)), strict=True):
            for request in of.requests():
                _send(call, request, tenant)
    return wide.spans + wide.huge_trace_spans


def _send(call: Any, request: bytes, tenant: str) -> None:
    """A request that is refused for now is sent again."""
    deadline_s = time.monotonic() + SETTLE_S
    while True:
        try:
            call(request, timeout=TIMEOUT_S, metadata=(("x-scope-orgid", tenant),))
            return
        except grpc.RpcError as error:
            if time.monotonic() > deadline_s:
                raise BenchError(f"the data is not taken: {error.code()} {error.details()}") from error
            time.sleep(0.2)


def _report(seen: Seen, took_s: float, quiet: list[float], busy: list[float], dog: Watchdog) -> None:
    print(f"{seen.count} queries in {took_s:.0f} s")
    for name, count in sorted(seen.statuses.items()):
        print(f"  {name:40} {count}")
    waits = (f"{kind} {s:.0f} s ({s / seen.counts[kind]:.2f} each)" for kind, s in sorted(seen.took_s.items()))
    print("waited for: " + ", ".join(waits))
    for query_s, text in seen.slowest:
        print(f"slow: {query_s:.1f} s, {text[:300]}")
    print(f"worker: {dog.peak_bytes >> 20} MB resident at most, of {dog.bytes_max >> 20}")
    for name, found in (("without queries", quiet), ("with queries", busy)):
        reply = ", ".join(f"{key} {ms:.1f}" for key, ms in percentiles_ms(found).items()) if found else "none"
        print(f"acknowledgements {name}, ms: {reply}")
    if quiet and busy:
        print(f"p99 with queries: {percentiles_ms(busy)['p99'] / percentiles_ms(quiet)['p99']:.1f} times that without")


def _problems(
    seen: Seen, quiet: list[float], busy: list[float], load: Load, dog: Watchdog, *, alive: bool
) -> Iterator[str]:
    yield from seen.broken[:10]
    if not alive:
        yield "the worker that was started is gone"
    if dog.peak_bytes > dog.bytes_max:
        yield f"the worker had {dog.peak_bytes >> 20} MB, more than {dog.bytes_max >> 20}"
    if load.failed:
        yield f"requests of the steady load failed: {dict(load.failed)}"
    if not quiet or not busy:
        yield "the steady load was not acknowledged"
    elif percentiles_ms(busy)["p99"] > 2 * percentiles_ms(quiet)["p99"] + ACK_SLACK_MS:
        yield "acknowledgements took more than twice as long as without queries (p99)"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
