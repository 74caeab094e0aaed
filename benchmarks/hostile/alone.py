"""Fuzzed queries over wide data in one process that may not have more memory than it is given, without Kafka.

    python -m benchmarks.hostile.alone --queries 300 --seed 1 --megabytes 800

Prints one line of JSON: how the queries ended, and how much memory the process had at its peak. A query that is
neither answered nor refused ends the process with a traceback.
"""

import argparse
import json
import math
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow as pa

from app.api.making import Making
from app.api.replies import made
from app.api.tempo import messages
from app.api.tempo.metrics import range_json
from app.api.tempo.search import search_json
from app.process.memory import release_to_system
from benchmarks.hostile.files import files, sources
from benchmarks.hostile.grammar import Grammar
from benchmarks.hostile.wide import Wide
from query.errors import TraceQLError
from query.memory import MemoryBudget, QueryTooLarge, SharedMemory
from query.metrics.metrics import metrics_instant, metrics_range
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest
from query.results import MetricsResult
from query.search.search import search
from query.tags.tag_cache import TagCache
from query.tags.tag_text import parse_tag
from query.tags.tags import tag_names, tag_values
from query.trace.pages import trace_page
from query.trace.trace import find_trace
from tables.wire.otlp.writer import to_resource_spans

NS: Final = 10**9


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hostile.alone", description=__doc__)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--megabytes", type=int, default=800, help="what the process may have beyond its start")
    parser.add_argument("--budget-megabytes", type=int, default=128, help="what a query may have")
    parser.add_argument("--keys", type=int, default=3_000)
    parser.add_argument("--spans", type=int, default=12_000)
    given = parser.parse_args(argv)
    pa.set_cpu_count(1)
    wide = Wide(keys=given.keys, spans=given.spans, huge_trace_spans=given.spans, seed=given.seed)
    parts = sources(list(files(wide, rows_max=given.spans // 3)), cache_bytes_max=64 << 20)
    release_to_system()
    limit = (_status_bytes("VmData") + (given.megabytes << 20),) * 2
    resource.setrlimit(resource.RLIMIT_DATA, limit)
    before = _status_bytes("VmRSS")
    shared = SharedMemory(given.budget_megabytes << 20)
    ended, slowest = Counter[str](), ("", 0.0)
    for kind, ask in _questions(wide, parts, given.seed, given.queries):
        budget, began_s = MemoryBudget(given.budget_megabytes << 20, shared), time.monotonic()
        try:
            with budget.active():
                ask()
            ended[f"{kind}: answered"] += 1
        except QueryTooLarge:
            ended[f"{kind}: too large"] += 1
        except (TraceQLError, ValueError):
            ended[f"{kind}: wrong"] += 1
        slowest = max(slowest, (kind, time.monotonic() - began_s), key=lambda one: one[1])
        assert shared.bytes == 0, kind
    peak = _status_bytes("VmHWM")
    release_to_system()
    reply = {
        "ended": dict(sorted(ended.items())),
        "peak_mb": (peak - before) >> 20,
        "after_mb": (_status_bytes("VmRSS") - before) >> 20,
        "slowest": slowest,
    }
    print(json.dumps(reply))
    return 0


def _questions(wide: Wide, parts: list[Any], seed: int, count: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """(kind, question) each; questions are fixed by the seed. What Grafana asks that took all memory comes first."""
    rng = Random(seed)
    grammar, cache = Grammar(wide, rng), TagCache()
    window: dict[str, Any] = {"start_ns": wide.start_ns, "end_ns": wide.start_ns + 3600 * NS}
    yield "compare", lambda: _text(range_json(_range(parts, "{ } | compare({ status = error })", 60 * NS, window)))
    yield "tags", lambda: tag_names(parts, TagNamesRequest(scope="event", query="{ } << { }"), cache=cache)
    yield "trace by id", lambda: _whole_trace(parts, wide.huge_trace)

    def one() -> tuple[str, Callable[[], Any]]:
        match rng.randrange(6):
            case 0 | 1:
                text, limit, spss = grammar.search(), rng.choice((1, 20, 10**6)), rng.choice((3, 2**31))
                return "search", lambda: _text(
                    search_json(
                        search(parts, SearchRequest(query=text, limit=limit, spans_per_span_set=spss, **window)),
                        span_sets=True,
                    )
                )
            case 2:
                text, step_ns = grammar.metrics(), rng.choice((1, 60, 600)) * NS
                return "metrics range", lambda: _text(range_json(_range(parts, text, step_ns, window)))
            case 3:
                text = grammar.metrics()
                return "metrics instant", lambda: _messages(
                    metrics_instant(parts, InstantRequest(query=text, **window))
                )
            case 4:
                text, scope = grammar.filter(), rng.choice((None, "span", "event", "resource"))
                return "tags", lambda: tag_names(parts, TagNamesRequest(scope=scope, query=text), cache=cache)
            case _:
                text, field = grammar.filter(), grammar.field()
                return "tag values", lambda: tag_values(
                    parts, TagValuesRequest(fields=(parse_tag(field),), query=text), cache=cache
                )

    for _ in range(count):
        yield one()
    yield "page of a trace", lambda: trace_page(parts, wide.huge_trace, None, 10_000)


def _range(parts: list[Any], text: str, step_ns: int, window: dict[str, Any]) -> Any:
    return metrics_range(parts, RangeRequest(query=text, step_ns=step_ns, exemplars=100, **window))


def _text(body: Any) -> None:
    made(lambda: body, packs=True, making=Making(math.inf))


def _messages(result: MetricsResult) -> None:
    for message in messages.instant_messages(result):
        message.SerializeToString()


def _whole_trace(parts: list[Any], trace_id: bytes) -> None:
    table = find_trace(parts, trace_id)
    assert table is not None
    to_resource_spans(table)


def _status_bytes(name: str) -> int:
    """A size from /proc/self/status, in bytes."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith(f"{name}:"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
