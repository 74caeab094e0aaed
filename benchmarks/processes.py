"""What a query frontend and a querier cost on one machine: the same queries to one process, and through all three.

python -m benchmarks.processes [--spans N] [--runs R] [--clients C --ingest SPANS_PER_SECOND --seconds S]

A process with distributor and live store has all spans, and answers alone. Beside it run a query frontend and a
querier, which answer with its help; the cache of results is off. Both are asked in turn, so that both see the same
machine; every answer is checked. First all spans are in the live store, then, after a restart, in blocks.

With --clients so many ask at once while spans come in: in turns the process that has the spans, and the frontend.
"""

import argparse
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks import measure, workload
from benchmarks.__main__ import send, wait_for
from benchmarks.queries import truth
from benchmarks.queries.ask import Connection, Judge
from benchmarks.queries.cases import Case, cases
from benchmarks.queries.concurrent_clients import ask_from_elsewhere
from benchmarks.queries.passes import Pass, write
from tests.harness.client import eventually
from tests.harness.cluster import Cluster
from tests.harness.other_process import OtherProcess

MS: Final = 1000
NEVER_S: Final = "36000"
MORE_MS: Final = 5.0
MORE_SHARE: Final = 0.1
WAIT_S: Final = 120
# The data grows from turn to turn: in this order both are asked of the same amount on average.
TURNS: Final = ("apart", "in one process", "in one process", "apart")
GAP_NS: Final = 60 * 10**9  # as of benchmarks.queries
SETTINGS: Final = {
    "TARGET": "distributor,live-store",
    "STRETTO_LIVE_STORE__SEGMENT_AGE_S": "10",
    "STRETTO_QUERY_FRONTEND__RESULT_CACHE_BYTES_MAX": "0",
}


@dataclass(frozen=True, slots=True)
class Row:
    """Medians in ms: of one process, and through frontend and querier. wrong: what was wrong with an answer"""

    name: str
    alone_ms: float
    through_ms: float
    wrong: str

    @property
    def within(self) -> bool:
        """Whether it is at most 5 ms and a tenth more."""
        return self.through_ms <= (1 + MORE_SHARE) * self.alone_ms + MORE_MS

    def __str__(self) -> str:
        more = self.through_ms - self.alone_ms
        mark = self.wrong or ("" if self.within else "MORE")
        return f"{self.name:8} {self.alone_ms:8.1f} {self.through_ms:8.1f} {more:+8.1f} ms  {mark}"


def main(argv: list[str]) -> int:
    """Measures, and prints a table for recent spans and one for blocks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.processes", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--clients", type=int, default=0, help="instead of one: so many at once (default: one)")
    parser.add_argument("--ingest", type=int, default=10_000, metavar="RATE", help="spans a second, with --clients")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each turn, with --clients (default 20)")
    given = parser.parse_args(argv)
    kept = workload.Requests(workload.cached(workload.Options(spans=given.spans)))
    of = truth.read(kept)
    with tempfile.TemporaryDirectory(prefix="processes-") as name:
        folder = Path(name)
        sent = Pass(0, time.time_ns() - of.last_ns)
        file = folder / "load.otlp"
        write(sent.requests(kept), file)
        every = cases(of, [sent])
        rows: list[Row] = []
        numbers = itertools.count(1)
        for place, age in (("recent", NEVER_S), ("blocks", "15")):
            with ExitStack() as stack:
                settings = {**SETTINGS, "STRETTO_LIVE_STORE__BLOCK_AGE_S": age}
                cluster = stack.enter_context(Cluster(folder, settings))
                if place == "recent":
                    send(cluster, file, 4, None, 0)
                    wait_for(cluster, lambda now: now.searchable >= of.spans, WAIT_S)
                else:
                    wait_for(cluster, lambda now: now.flushed >= of.spans, WAIT_S)
                others = [
                    stack.enter_context(OtherProcess(cluster, folder, target))
                    for target in ("query-frontend", "querier")
                ]
                for one in others:
                    eventually(one.client().ready, bool, WAIT_S, "not ready")
                time.sleep(3)  # heartbeats, and what is still being sealed
                if given.clients:
                    load = LoadedCluster(cluster, kept, of, sent, folder / "ingest.otlp", numbers)
                    urls = {"in one process": cluster.http_url, "apart": others[0].http_url}
                    for who in TURNS:
                        said = load.asked(urls[who], every, given.clients, given.ingest, given.seconds)
                        print(f"{place}, {who}: {said}", flush=True)
                    continue
                found = measured(cluster.http_url, others[0].http_url, every, given.runs)
                rows += found
                print(f"\n{place}, {of.spans:,} spans: ms in one process, through frontend and querier, more")
                print("\n".join(map(str, found)), flush=True)
    return 0 if all(row.within and not row.wrong for row in rows) else 1


@dataclass(frozen=True, slots=True)
class LoadedCluster:
    """Clients that ask while spans come in. numbers: of the passes of the workload that were not sent yet"""

    cluster: Cluster
    kept: workload.Requests
    of: truth.Truth
    sent: Pass
    file: Path
    numbers: Iterator[int]

    def asked(self, url: str, every: Sequence[Case], clients: int, rate: int, seconds: float) -> str:
        """How many answers they get, and how late; what was wrong."""
        wanted = max(1, round(rate * seconds * len(self.kept) / self.of.spans))
        # Later than all that is asked for.
        shift_ns = max(time.time_ns(), self.of.last_ns + self.sent.shift_ns + GAP_NS) - self.of.first_ns
        passes = (Pass(number, shift_ns) for number in self.numbers)
        write(itertools.chain.from_iterable(one.requests(self.kept) for one in passes), self.file, wanted)
        with ThreadPoolExecutor(1, "ingest") as pool:
            sending = pool.submit(send, self.cluster, self.file, 4, wanted / seconds, 0)
            run = ask_from_elsewhere(url, every, clients, seconds)
            loaded = sending.result()
        took_ms = sorted(MS * one for timing in run.timings for one in timing.took_s)
        wrong = "; ".join(f"{one.name}: {one.wrong}" for one in run.timings if one.wrong)
        return (
            f"{run.answers / run.wall_s:.1f} answers/s, p50 {median(took_ms):.0f} ms, "
            f"p99 {took_ms[int(0.99 * len(took_ms))]:.0f} ms; ack p99 {loaded.ack_ms.get('p99')} ms, "
            f"{loaded.errors} requests refused{'; WRONG ' + wrong if wrong else ''}"
        )


def measured(alone: str, through: str, every: Sequence[Case], runs: int) -> list[Row]:
    """A row for each case."""
    rows = []
    with Connection(alone) as one, Connection(through) as other:
        for case in every:
            judge, wrong = Judge(), ""
            took_s: tuple[list[float], list[float]] = ([], [])
            for number in range(runs + 2):
                call = case.calls[number % len(case.calls)]
                for connection, times_s in zip((one, other), took_s, strict=True):
                    answer = connection.get(call.target)
                    wrong = wrong or judge.wrong(call, answer)
                    if number >= 2:  # caches are warm
                        times_s.append(answer.took_s)
            rows.append(Row(case.name, MS * median(took_s[0]), MS * median(took_s[1]), wrong))
    return rows


if __name__ == "__main__":
    if not measure.PROC.is_dir():
        sys.exit("benchmarks.processes needs /proc, that is, Linux")
    sys.exit(main(sys.argv[1:]))
