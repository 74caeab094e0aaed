"""Jaeger's spans over UDP at a steady rate: how many are lost, where, and what they cost.

python -m benchmarks.udp [--rate 20000] [--seconds 10] [--spans-per-datagram 20]

It needs Linux's /proc, as the main benchmark does. The sender is a process of its own, whose cost does not count.
"""

import argparse
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from itertools import cycle
from pathlib import Path
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks import __main__ as bench
from benchmarks import workload
from benchmarks.encodings import thrift_batches
from tests.harness.cluster import BenchError, Cluster
from tests.helpers.receiving import jaeger

SETTLE_S: Final = 2.0
BURST_S: Final = 0.01
DROPPED: Final = "stretto_receiver_datagrams_dropped_total"


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.udp", description=__doc__.partition("\n")[0])
    parser.add_argument("--rate", type=int, default=20_000, help="spans a second (default 20,000)")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--spans-per-datagram", type=int, default=20)
    parser.add_argument("--to", help="only send: HOST:PORT")
    given = parser.parse_args(argv)
    if given.to:
        return send(given)
    workload.make_cache(workload.CACHE)
    folder = Path(tempfile.mkdtemp(prefix="udp-", dir=workload.CACHE))
    try:
        lost = run(argv, given, folder)
    except BenchError as error:
        print(f"{error}\nKept for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    return 1 if lost else 0


def datagrams(spans: int) -> list[bytes]:
    """Calls of emitBatch in Thrift's compact encoding, each with so many spans of one process."""
    found = []
    for body in workload.Requests(workload.cached(workload.Options(20_000, bench.WARM_SEED))):
        for batch in thrift_batches(ExportTraceServiceRequest.FromString(body)):
            while len(batch.spans) < spans:  # as often as needed: ids do not matter here
                batch.spans = batch.spans + batch.spans
            batch.spans = batch.spans[:spans]
            found.append(jaeger.datagram(batch, "compact"))
    return found


def send(given: argparse.Namespace) -> int:
    """Sends at the rate, in bursts of some milliseconds; prints the number of spans."""
    host, _, port = given.to.rpartition(":")
    bodies = cycle(datagrams(given.spans_per_datagram))
    sent, began_s = 0, time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        while (passed_s := time.monotonic() - began_s) < given.seconds:
            while sent < passed_s * given.rate:
                out.sendto(next(bodies), (host, int(port)))
                sent += given.spans_per_datagram
            time.sleep(BURST_S)
    print(sent)
    return 0


def run(argv: list[str], given: argparse.Namespace, folder: Path) -> int:
    """Measures once. Out: spans that were sent and are not there. Raises: BenchError"""
    with Cluster(folder, {}) as cluster:
        command = [sys.executable, "-m", "benchmarks.udp", *argv, "--to", cluster.receivers["jaeger_compact"]]
        warm = [*command, "--seconds", "2", "--rate", "2000"]
        subprocess.run(warm, check=True, cwd=bench.PROJECT, stdout=subprocess.DEVNULL)
        time.sleep(SETTLE_S)
        before, started, received = metrics(cluster), cluster.processes(), cluster.counts().received
        done = subprocess.run(command, check=True, cwd=bench.PROJECT, stdout=subprocess.PIPE, text=True)
        sent = int(done.stdout)
        seen = -1
        while (now := cluster.counts().received) != seen:  # until nothing waits in a queue
            seen = now
            time.sleep(SETTLE_S)
        after, ended = metrics(cluster), cluster.processes()
        taken = cluster.counts().received - received
    used_s = bench.used_cpu_s(started, ended)
    lost = {name: value - before.get(name, 0) for name, value in after.items() if value > before.get(name, 0)}
    print(f"{sent:,} spans sent at {sent / given.seconds:,.0f} a second, {taken:,} received")
    print(f"datagrams: {lost or 'none dropped'}")
    print(f"CPU seconds: {dict(used_s)}, of the worker {used_s.get('worker', 0) / given.seconds:.2f} a second")
    return sent - taken


def metrics(cluster: Cluster) -> dict[str, float]:
    """Dropped datagrams by reason."""
    with urllib.request.urlopen(f"{cluster.http_url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    found = (line.rpartition(" ") for line in lines if line.startswith(DROPPED))
    return {name: float(value) for name, _, value in found}


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
