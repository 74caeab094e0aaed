"""Small requests: the cost of a span where requests hold one, ten or a hundred, in one cluster.

python -m benchmarks.small [--cases 100x32,10x32,1x32,1x1000] [--tenants 1,100] [--protocols grpc,http,…]

A case is SPANSxINFLIGHT. Protocols: OTLP over gRPC (grpc), OTLP over HTTP in protobuf (http) and in JSON (json),
jaeger-grpc, jaeger-thrift (over HTTP), zipkin-json. CPU seconds per 1M spans, of worker, Kafka and supervisor, run from
the first request until every span is searchable. In brackets without what the processes take when idle, which is
measured before: beside other work a run lasts longer, and its idle cost grows.
"""

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks import __main__ as bench
from benchmarks import measure, workload
from benchmarks.load import Loaded
from benchmarks.protocols import PROTOCOLS, encoded
from tests.harness.cluster import BenchError, Cluster

WARM_SPANS: Final = 20_000
IDLE_S: Final = 5.0
SEARCHABLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    """Requests of so many spans, at most so many of them unanswered, from so many tenants in turn."""

    spans_per_request: int
    in_flight: int
    tenants: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Result:
    """cpu_s: by process; idle_s: CPU seconds that idle processes would have taken; spans: of the case"""

    case: Case
    spans: int
    cpu_s: dict[str, float]
    idle_s: float
    loaded: Loaded

    @property
    def cpu_per_million_s(self) -> float:
        """CPU seconds per 1M spans, all processes together."""
        return sum(self.cpu_s.values()) * 1e6 / self.spans


def main(argv: list[str]) -> int:
    given = parse(argv)
    if not measure.PROC.is_dir():
        print("this benchmark needs /proc, that is, Linux", file=sys.stderr)
        return 1
    workload.make_cache(workload.CACHE)
    folder = Path(tempfile.mkdtemp(prefix="small-", dir=workload.CACHE))
    try:
        results = measured(given, folder)
    except BenchError as error:
        print(f"{error}\nKept for a look: {folder}", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    print("\n" + table(results))
    if given.json:
        given.json.write_text("".join(json.dumps(asdict(one)) + "\n" for one in results))
    return 1 if any(one.loaded.errors for one in results) else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.small", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default="100x32,10x32,1x32,1x1000", help="SPANSxINFLIGHT, joined by commas")
    parser.add_argument("--tenants", default="1", help="numbers of tenants, joined by commas (default 1)")
    parser.add_argument("--protocols", default="grpc", help=f"some of {', '.join(PROTOCOLS)}")
    parser.add_argument("--spans", type=int, default=40_000, help="of each case (default 40,000)")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case, in turns; the best one counts")
    parser.add_argument("--setting", action="append", default=[], type=bench.setting_variable, metavar="KEY=VALUE")
    parser.add_argument("--profile", type=Path, metavar="PY_SPY", help="a py-spy to record the worker with")
    parser.add_argument("--json", type=Path, help="a file for the results, a line of JSON each")
    given = parser.parse_args(argv)
    if unknown := set(given.protocols.split(",")) - PROTOCOLS.keys():
        parser.error(f"--protocols {', '.join(unknown)}: not known; the known ones are {', '.join(PROTOCOLS)}")
    pairs = [one.split("x") for one in given.cases.split(",")]
    given.cases = [
        Case(int(spans), int(in_flight), int(tenants), protocol)
        for protocol in given.protocols.split(",")
        for tenants in given.tenants.split(",")
        for spans, in_flight in pairs
    ]
    return given


def measured(given: argparse.Namespace, folder: Path) -> list[Result]:
    """Runs all cases in one cluster. Raises: BenchError"""
    settings = {"STRETTO_MULTITENANCY_ENABLED": "true", **dict(given.setting)}
    best: dict[Case, Result] = {}
    with Cluster(folder, settings) as cluster:
        warm = workload.cached(workload.Options(WARM_SPANS, bench.WARM_SEED))
        workload.moved(warm, time.time_ns(), folder / "warm.otlp")
        bench.send(cluster, folder / "warm.otlp", 8, None, 1)
        warm_small = workload.cached(workload.Options(WARM_SPANS // 4, bench.WARM_SEED, spans_per_request=1))
        workload.moved(warm_small, time.time_ns(), folder / "warm.otlp")
        bench.send(cluster, folder / "warm.otlp", 32, None, 1)
        wait_until_searchable(cluster)
        before = cluster.processes()
        time.sleep(IDLE_S)
        idle = sum(bench.used_cpu_s(before, cluster.processes()).values()) / IDLE_S
        print(f"idle: {idle:.3f} CPU seconds a second", flush=True)
        for number in range(given.repeat):
            for case in given.cases:
                result = one(cluster, case, given, folder, number, idle)
                print(line(result), flush=True)
                kept = best.get(case)
                if kept is None or result.cpu_per_million_s < kept.cpu_per_million_s:
                    best[case] = result
    return [best[case] for case in given.cases]


def one(cluster: Cluster, case: Case, given: argparse.Namespace, folder: Path, number: int, idle: float) -> Result:
    """One run of a case. idle: CPU seconds a second"""
    kept = workload.cached(workload.Options(given.spans, 10 + number, spans_per_request=case.spans_per_request))
    file = folder / "load.otlp"
    spans = workload.moved(kept, time.time_ns() - 10**9, file)
    file = encoded(file, folder / "load.encoded", PROTOCOLS[case.protocol], case.spans_per_request)
    profile = None
    if given.profile:
        worker = next(each.pid for each in cluster.processes() if each.name == "worker")
        out = workload.CACHE / f"profile-{case.spans_per_request}x{case.in_flight}x{case.tenants}.txt"
        command = [str(given.profile), "record", "-p", str(worker), "-f", "raw", "-o", str(out), "-r", "200", "-t"]
        profile = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
    before, began_s = cluster.processes(), time.monotonic()
    loaded = send(cluster, file, case)
    wait_until_searchable(cluster)
    ended, lasted_s = cluster.processes(), time.monotonic() - began_s
    if profile is not None:
        profile.send_signal(signal.SIGINT)
        profile.wait()
    return Result(case, spans, dict(bench.used_cpu_s(before, ended)), idle * lasted_s, loaded)


def send(cluster: Cluster, file: Path, case: Case) -> Loaded:
    """Runs the load of a case. Raises: BenchError if the loader itself fails"""
    protocol = PROTOCOLS[case.protocol]
    module = "benchmarks.http_load" if protocol.content_type else "benchmarks.load"
    command = [sys.executable, "-m", module, str(file), "--to", protocol.address(cluster)]
    command += ["--in-flight", str(case.in_flight), "--tenants", str(case.tenants)]
    if protocol.content_type:
        command += ["--path", protocol.path, "--content-type", protocol.content_type]
    else:
        command += ["--method", protocol.path]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, cwd=bench.PROJECT)
    if not done.stdout:
        raise BenchError(f"the loader ended with status {done.returncode}\n{cluster.log_end()}")
    return Loaded(**json.loads(done.stdout))


def wait_until_searchable(cluster: Cluster) -> None:
    bench.wait_for(cluster, lambda now: now.received > 0 and now.searchable >= now.received, SEARCHABLE_S)


HEAD: Final = (
    "| protocol: spans a request, in flight, tenants | CPU s/1M (without idle) | worker, Kafka | spans/s "
    "| ack p50 / p99 ms |\n"
    "|---|---|---|---|---|"
)


def line(result: Result) -> str:
    """A row of the table."""
    case, loaded, per_million = result.case, result.loaded, 1e6 / result.spans
    of = {name: seconds * per_million for name, seconds in result.cpu_s.items()}
    return (
        f"| {case.protocol}: {case.spans_per_request}, {case.in_flight:,}, {case.tenants} | "
        f"{result.cpu_per_million_s:.1f} "
        f"({result.cpu_per_million_s - result.idle_s * per_million:.1f}) | "
        f"{of.get('worker', 0):.1f}, {of.get('kafka', 0):.1f} | {result.spans / loaded.wall_s:,.0f} | "
        f"{loaded.ack_ms.get('p50', 0)} / {loaded.ack_ms.get('p99', 0)} |"
    )


def table(results: list[Result]) -> str:
    """The best run of each case."""
    return "\n".join([HEAD, *map(line, results)])


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main(sys.argv[1:]))
