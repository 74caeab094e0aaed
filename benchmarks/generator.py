"""What the metrics generator costs, without a cluster: it is fed with records as its agent does.

    .venv/bin/python -m benchmarks.generator [--spans N]

Each row is a process of its own. "us/span": CPU time of a tenant's generator, from a record's columns to the snapshot
of a collection, and before it "decode", from a record's bytes to its columns; the target is for both. Records have
about 512 spans: as the distributor gathers them at 35,000 spans/s; --batched 1 makes the smallest, of 128 spans.
"push": collect, encode and compress 100,000 series.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from agents.generator.config import SPAN_METRICS, GeneratorConfig
from agents.generator.processors.tenant import TenantGenerator
from agents.generator.push.requests import encoded
from benchmarks.measure import process
from benchmarks.workload import EPOCH_S, Options, Requests, cached
from tables.wire import record
from tables.wire.otlp.decoder import OtlpDecoder
from tables.wire.split import split

US_PER_SPAN_MAX: Final = 1.5
PUSH_S_MAX: Final = 1.0
PEAK_MB_MAX: Final = 300.0
SERIES: Final = 100_000
PARTITIONS: Final = 4
INTERVAL_MS: Final = 15_000
RUNS: Final = 6
RECORDS_AT_ONCE: Final = 32
SPANS_OF_A_SET: Final = 4
SPANS_PER_REQUEST: Final = 512
BATCHED: Final = 4
NOW_MS: Final = EPOCH_S * 1000 + 3_600_000

KINDS: Final[dict[str, dict[str, Any]]] = {
    "classic": {"exemplars": False},
    "classic, exemplars": {},
    "native": {"exemplars": False, "generate_native_histograms": "native"},
    "native, exemplars": {"generate_native_histograms": "native"},
    "both, exemplars": {"generate_native_histograms": "both"},
}


@dataclass(frozen=True, slots=True)
class Counting:
    """Result of the counting benchmark: microseconds of CPU per span."""

    us_per_span: float
    decode_us_per_span: float
    series: int


@dataclass(frozen=True, slots=True)
class Pushing:
    """Result of pushing 100,000 series. push_s: with remote write 1.0 and 2.0; mb: of both, compressed; peak_mb: of the
    process
    """

    series: int
    push_s: tuple[float, float]
    mb: tuple[float, float]
    peak_mb: float


def main(argv: list[str]) -> int:
    """Prints the results beside their targets. Returns 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generator", description=__doc__.partition("\n")[0])
    parser.add_argument("--spans", type=int, default=100_000)
    parser.add_argument("--batched", type=int, default=BATCHED, help="requests of 512 spans in a batch (default 4)")
    given = parser.parse_args(argv)
    spans = given.spans
    cached(Options(spans=spans))
    print(f"targets: {US_PER_SPAN_MAX} us/span, a push within {PUSH_S_MAX:.0f} s, {PEAK_MB_MAX:.0f} MB\n")
    print(
        f"{'':20}{'us/span':>8}{'decode':>8}{'series':>8}   {'push s: 1.0':>12}{'2.0':>7}{'MB':>6}{'':>6}{'peak MB':>9}"
    )
    missed = False
    for kind in KINDS:
        counting = in_a_process(count, kind, spans, given.batched)
        pushing = in_a_process(push, kind)
        first, second = pushing.push_s
        print(
            f"{kind:20}{counting.us_per_span:8.2f}{counting.decode_us_per_span:8.2f}{counting.series:8,}   "
            f"{first:12.2f}{second:7.2f}{pushing.mb[0]:6.1f}{pushing.mb[1]:6.1f}{pushing.peak_mb:9.0f}"
        )
        whole_us = counting.us_per_span + counting.decode_us_per_span
        missed |= whole_us > US_PER_SPAN_MAX or max(pushing.push_s) > PUSH_S_MAX
        missed |= pushing.peak_mb > PEAK_MB_MAX
    print("\na target was missed" if missed else "\nall targets are met")
    return int(missed)


def in_a_process(function: Any, *args: Any) -> Any:
    """The function's result in a fresh process, so that no measurement sees the memory and caches of another."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def count(kind: str, spans: int, batched: int = BATCHED) -> Counting:
    """Feeds a workload several times; the cheapest time counts."""
    pa.set_cpu_count(1)
    requests, decoder = list(Requests(cached(Options(spans=spans)))), OtlpDecoder()
    records = [
        (part.partition, record.encode(part.spans)[0])
        for first in range(0, len(requests), batched)
        for part in split(decoder.decode(requests[first : first + batched]).spans, PARTITIONS)
    ]
    generator, now_ms = TenantGenerator(GeneratorConfig(**KINDS[kind])), NOW_MS
    runs = []
    for _ in range(RUNS):
        decode_s = count_s = 0.0
        counted = 0
        # Some at a time: reading the clock takes as long as counting some spans.
        for first in range(0, len(records), RECORDS_AT_ONCE):
            began_s = time.process_time()
            batches = [
                (partition, record.decode(value)) for partition, value in records[first : first + RECORDS_AT_ONCE]
            ]
            decoded_s = time.process_time()
            while batches:
                partition, batch = batches.pop(0)
                counted += len(batch)
                generator.add(partition, batch, now_ms, now_ms / 1000)
            count_s += time.process_time() - decoded_s
            decode_s += decoded_s - began_s
        began_s = time.process_time()
        generator.collect(now_ms / 1000)
        count_s += time.process_time() - began_s
        runs.append((count_s / counted * 1e6, decode_s / counted * 1e6))
        now_ms += INTERVAL_MS
    return Counting(*min(runs), generator.stats().active_series)


def push(kind: str) -> Pushing:
    """Makes 100,000 series, adds to each, and pushes them."""
    pa.set_cpu_count(1)
    generator = TenantGenerator(GeneratorConfig(processors=frozenset({SPAN_METRICS}), **KINDS[kind]))
    probe = TenantGenerator(GeneratorConfig(processors=frozenset({SPAN_METRICS}), **KINDS[kind]))
    feed(probe, 1)
    probe.collect(NOW_MS / 1000)
    sets = -(-SERIES // probe.stats().active_series)
    feed(generator, sets)
    generator.collect(NOW_MS / 1000)
    codec, took_s, mb = pa.Codec("snappy"), [], []
    for number, version in enumerate((1, 2), 1):
        feed(generator, sets, number * INTERVAL_MS)
        now_ms = NOW_MS + number * INTERVAL_MS
        began_s = time.process_time()
        snapshots = generator.collect(now_ms / 1000)
        bodies = [
            codec.compress(body, asbytes=True)
            for body in encoded(snapshots, now_ms, now_ms - INTERVAL_MS + 1, version=version)
        ]
        took_s.append(time.process_time() - began_s)
        mb.append(sum(map(len, bodies)) / 1e6)
    me = process(os.getpid(), os.getpid())
    peak_mb = me.peak_bytes / 1e6 if me else 0.0
    return Pushing(generator.stats().active_series, (took_s[0], took_s[1]), (mb[0], mb[1]), peak_mb)


def feed(generator: TenantGenerator, sets: int, later_ms: int = 0) -> None:
    """Some spans of each of this many label sets."""
    decoder = OtlpDecoder()
    for request in crowd(sets, (NOW_MS + later_ms - 1000) * 1_000_000):
        for part in split(decoder.decode([request]).spans, PARTITIONS):
            batch = record.decode(record.encode(part.spans)[0])
            generator.add(part.partition, batch, NOW_MS + later_ms, (NOW_MS + later_ms) / 1000)


def crowd(sets: int, start_ns: int) -> Iterator[bytes]:
    """Requests with spans of many names, each of several durations."""
    made = 0
    while made < sets * SPANS_OF_A_SET:
        request = ExportTraceServiceRequest()
        resource = request.resource_spans.add()
        attribute = resource.resource.attributes.add(key="service.name")
        attribute.value.string_value = "checkout"
        spans = resource.scope_spans.add().spans
        for number in range(made, min(made + SPANS_PER_REQUEST, sets * SPANS_OF_A_SET)):
            duration_ns = (1 + number % 1000) * 10 ** (5 + number // sets)
            spans.add(
                trace_id=(number + 1).to_bytes(16, "big"),
                span_id=(number + 1).to_bytes(8, "big"),
                name=f"GET /products/{number % sets}",
                kind=2,
                start_time_unix_nano=start_ns - duration_ns,
                end_time_unix_nano=start_ns + number % 1000,
            )
        made += SPANS_PER_REQUEST
        yield request.SerializeToString()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
