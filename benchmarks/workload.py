"""A workload: OTLP requests made from the demo's bookshop, the same bytes for the same options.

    python -m benchmarks.workload --spans 1000000 --out FILE

FILE holds the requests one after another, each behind its length (uint32, little-endian). Spans come in the
order in which they end, as if one collector gathered those of all services: a trace is spread over several
requests, and a request holds spans of many traces, grouped by resource.
"""

import argparse
import hashlib
import heapq
import mmap
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from random import Random
from typing import Final, overload

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from app.cli.demo import services, shop, trace
from app.cli.demo.trace import Placed, export_request

CACHE: Final = Path(__file__).parent / ".cache"
LENGTH: Final = struct.Struct("<I")
EPOCH_S: Final = 1_800_000_000  # start of a workload that is not told another: some Friday in 2027


@dataclass(frozen=True, slots=True)
class Options:
    """What fixes a workload. `spans` is a minimum: the last trace is whole."""

    spans: int = 1_000_000
    seed: int = 1
    start_s: int = EPOCH_S
    spans_per_s: int = 50_000
    spans_per_request: int = 512


class Requests(Sequence[bytes]):
    """The requests of a file, read where they are needed: a file may be larger than memory."""

    def __init__(self, path: Path) -> None:
        """Raises ValueError where the file does not end with a whole request."""
        with path.open("rb") as file:
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self._bounds: list[tuple[int, int]] = []
        at = 0
        while at < len(self._data):
            if at + LENGTH.size > len(self._data):
                raise ValueError(f"{path}: ends within the length at byte {at}; make it anew")
            start = at + LENGTH.size
            at = start + LENGTH.unpack_from(self._data, at)[0]
            self._bounds.append((start, at))
        if at > len(self._data):
            raise ValueError(f"{path}: ends within request {len(self._bounds) - 1}; make it anew")

    def __len__(self) -> int:
        return len(self._bounds)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        if isinstance(index, slice):
            return [self._data[start:end] for start, end in self._bounds[index]]
        start, end = self._bounds[index]
        return self._data[start:end]


def spans_by_end(options: Options) -> Iterator[Placed]:
    """Whole traces' spans in the order in which they end; traces start `spans_per_s` apart."""
    rng = Random(options.seed)
    bookshop = shop.Shop(rng)
    now_ns = options.start_s * 1_000_000_000
    running: list[tuple[int, int, Placed]] = []  # a heap; the running number keeps pods from being compared
    made = 0
    while made < options.spans:
        placed = bookshop.trace(now_ns)
        for one in placed:
            heapq.heappush(running, (one[1].end_time_unix_nano, made, one))
            made += 1
        now_ns += len(placed) * 1_000_000_000 // options.spans_per_s
        while running and running[0][0] <= now_ns:
            yield heapq.heappop(running)[2]
    while running:
        yield heapq.heappop(running)[2]


def requests(options: Options) -> Iterator[tuple[bytes, int]]:
    """(serialized ExportTraceServiceRequest, its spans' number); all are full but the last."""
    batch: list[Placed] = []
    for placed in spans_by_end(options):
        batch.append(placed)
        if len(batch) == options.spans_per_request:
            yield export_request(batch).SerializeToString(), len(batch)
            batch = []
    if batch:
        yield export_request(batch).SerializeToString(), len(batch)


def write(options: Options, path: Path) -> int:
    """Write the workload's file, whole or not at all. Returns the number of its spans."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    spans = 0
    with partial.open("wb") as file:
        for request, count in requests(options):
            file.write(LENGTH.pack(len(request)))
            file.write(request)
            spans += count
    partial.rename(path)
    return spans


def cached(options: Options, folder: Path | None = None) -> Path:
    """The workload's file, made unless it is there; its name says the options and the version of the code."""
    folder = folder or CACHE
    sources = (Path(str(module.__file__)) for module in (services, shop, trace, sys.modules[__name__]))
    version = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:8]
    path = folder / f"workload-{'-'.join(map(str, astuple(options)))}-{version}.otlp"
    if not path.exists():
        make_cache(folder)
        for old in folder.glob("workload-*.otlp"):
            if not old.stem.endswith(version):
                old.unlink()
        print(
            f"making a workload of {options.spans:,} spans (about 30 s a million; kept in {folder})",
            flush=True,
        )
        write(options, path)
    return path


def make_cache(folder: Path) -> None:
    """The folder says itself that git should pass it by."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")


def moved(path: Path, start_ns: int, out: Path) -> int:
    """Copy a workload to `out` with all times moved so that the first request starts at `start_ns`.

    A server treats spans of last week as such (drops them from its metrics, forgets their blocks): a kept
    file must be moved to the present to measure what spans of today cost. Returns the number of spans.
    """
    kept = Requests(path)
    first = ExportTraceServiceRequest.FromString(kept[0])
    shift_ns = start_ns - min(span.start_time_unix_nano for span in spans_of(first))
    spans = 0
    with out.open("wb") as file:
        for request in kept:
            message = ExportTraceServiceRequest.FromString(request)
            for span in spans_of(message):
                span.start_time_unix_nano += shift_ns
                span.end_time_unix_nano += shift_ns
                for event in span.events:
                    event.time_unix_nano += shift_ns
                spans += 1
            data = message.SerializeToString()
            file.write(LENGTH.pack(len(data)))
            file.write(data)
    return spans


def count_spans(request: bytes) -> int:
    return sum(1 for _ in spans_of(ExportTraceServiceRequest.FromString(request)))


def spans_of(request: ExportTraceServiceRequest) -> Iterator[Span]:
    for of_resource in request.resource_spans:
        for of_scope in of_resource.scope_spans:
            yield from of_scope.spans


def main(argv: list[str]) -> int:
    defaults = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workload", description="Writes a workload's file.")
    parser.add_argument("--spans", type=int, default=defaults.spans)
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--start", type=int, default=EPOCH_S, help="seconds since 1970 (default: fixed)")
    parser.add_argument("--spans-per-second", type=int, default=defaults.spans_per_s, help="in the spans' times")
    parser.add_argument("--spans-per-request", type=int, default=defaults.spans_per_request)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args(argv)
    options = Options(given.spans, given.seed, given.start, given.spans_per_second, given.spans_per_request)
    if min(options.spans, options.spans_per_s, options.spans_per_request) < 1:
        parser.error("--spans, --spans-per-second and --spans-per-request must be at least 1")
    began_s = time.monotonic()
    spans = write(options, given.out)
    size = given.out.stat().st_size
    print(f"{spans} spans, {size} bytes, {size / spans:.0f} B/span, {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
