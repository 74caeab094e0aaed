"""The first and the second structural query over heads full of hostile data, in one process, without Kafka.

    python -m benchmarks.hostile.first_query --data mutated --spans 20000

Prints for each query: elapsed time, CPU time of its thread by stage, and how long at most another thread waited for
the GIL meanwhile (without the time in which it waited for a CPU).
"""

import argparse
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from agents.distributor.span_encoder import Request, SpanEncoder
from app.main import tune
from benchmarks.hostile.sent import Maker
from benchmarks.hostile.wide import Wide
from query.requests import SearchRequest
from query.scan.progress import QueryObserver
from query.search.search import search
from tables.errors import WireError
from tables.live.head import Head
from tables.live.shared_records import HeadRecord
from tables.wire import record

QUERIES: Final = ("{ } << { }", "{ } >> { }", "{ } &>> { }", "{ } ~ { }", "{ } | count() > 1")
_EVERY_S: Final = 0.001


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.first_query", description=__doc__)
    parser.add_argument("--data", choices=("mutated", "wide"), default="mutated")
    parser.add_argument("--spans", type=int, default=20_000)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--batch", type=int, default=20, help="mutated requests that come together")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(argv)
    tune()
    heads = _heads(given)
    print(f"{given.data}: {sum(head.spans for head in heads)} spans in {sum(len(h.records) for h in heads)} records")
    for query in QUERIES:
        for time_of in ("first", "second") if query == QUERIES[0] else ("then",):
            _measure(f"{time_of} {query}", partial(_ask, heads, query))
    return 0


def _ask(heads: list[Head], query: str) -> Any:
    observer = QueryObserver()
    with observer.profile.stage("open sources"):
        parts = [source for head in heads for source in head.sources(len(head.records))]
    search(parts, SearchRequest(query=query, limit=20), observer=observer)
    return observer.profile


def _measure(name: str, ask: Callable[[], Any]) -> None:
    out: list[Any] = []

    def work() -> None:
        began_s, cpu_s = time.perf_counter(), time.thread_time()
        profile = ask()
        out.extend((time.perf_counter() - began_s, time.thread_time() - cpu_s, profile))

    thread = threading.Thread(target=work)
    thread.start()
    held = _Waits()
    while thread.is_alive():
        held.look()
    thread.join()
    took_s, cpu_s, profile = out
    stages = ", ".join(f"{stage} {1e3 * s:.0f}" for stage, s in profile.stages.items())
    print(f"{name:22} {1e3 * took_s:6.0f} ms, CPU {1e3 * cpu_s:6.0f} ms ({stages}); GIL {1e3 * held.longest_s:.1f} ms")


class _Waits:
    """How late this thread wakes up. longest_s: without the time for which it waited for a CPU"""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")

    def look(self) -> None:
        """Sleeps for the shortest time, which is longer where others hold the GIL."""
        waited_s, due_s = self._waited_s(), time.perf_counter() + _EVERY_S
        time.sleep(_EVERY_S)
        late_s = time.perf_counter() - due_s
        self.longest_s = max(self.longest_s, late_s - (self._waited_s() - waited_s))

    def _waited_s(self) -> float:
        return int(self._schedule.read_text().split()[1]) / 1e9


def _heads(given: argparse.Namespace) -> list[Head]:
    """Full of what the receivers make of requests, some of which they refuse."""
    encoder = SpanEncoder(1 << 20, 65_536, 60.0)
    heads = [Head() for _ in range(given.partitions)]
    for bodies in _mutated(given) if given.data == "mutated" else _wide(given):
        requests = [Request("hostile", body) for body in bodies]
        try:
            encoded = encoder.encode(requests, given.partitions, fast_path_only=True)
        except WireError:
            encoded = encoder.encode_each(requests, given.partitions)
        for one in encoded.records:
            info = record.read_headers(one.headers)
            heads[one.partition].append(HeadRecord(0, info.spans, one.value, of_requests=info.of_requests))
        if sum(head.spans for head in heads) >= given.spans:
            break
    return heads


def _mutated(given: argparse.Namespace) -> Iterator[list[bytes]]:
    """Requests as hostile clients send them, those that came together."""
    maker = Maker(given.seed, [])
    while True:
        yield [maker.export() for _ in range(given.batch)]


def _wide(given: argparse.Namespace) -> Iterator[list[bytes]]:
    for request in Wide(spans=given.spans, huge_trace_spans=0, seed=given.seed).requests(500):
        yield [request]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
