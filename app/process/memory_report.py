"""What the memory of this process holds, for an operator who looks for a leak."""

import gc
import threading
import tracemalloc
from collections import Counter
from typing import Final

import psutil  # type: ignore[import-untyped]
import pyarrow as pa

_SHOWN_MAX: Final = 50


def objects_text() -> str:
    """Sizes of the process, and its objects by type. It holds the GIL for a second at ten million objects."""
    counts = Counter(type(one).__qualname__ for one in gc.get_objects())
    lines = [
        *_sizes(),
        f"objects_frozen {gc.get_freeze_count()}",
        "",
        "objects by type, without frozen ones:",
    ]
    lines += [f"{count:>10} {name}" for name, count in counts.most_common(_SHOWN_MAX)]
    return "\n".join(lines) + "\n"


def allocations_text(seconds: float, stopped: threading.Event) -> str:
    """What Python allocates within some seconds and does not free, by line. It blocks meanwhile, and all allocations of
    the process take about twice the time. stopped: ends it early
    """
    if tracemalloc.is_tracing():
        return "allocations are traced already, by something else\n"
    tracemalloc.start()
    try:
        stopped.wait(seconds)
        found = tracemalloc.take_snapshot().statistics("lineno")
    finally:
        tracemalloc.stop()
    lines = [*_sizes(), "", f"allocated within {seconds:g} s and still there, of all {len(found)} lines:"]
    for one in found[:_SHOWN_MAX]:
        frame = one.traceback[0]
        lines.append(f"{one.size:>12} bytes {one.count:>9} blocks {frame.filename}:{frame.lineno}")
    return "\n".join(lines) + "\n"


def _sizes() -> list[str]:
    memory = psutil.Process().memory_info()
    pool = pa.default_memory_pool()
    return [
        f"resident_bytes {memory.rss}",
        f"arrow_bytes {pool.bytes_allocated()} ({pool.backend_name}, at most {pool.max_memory()})",
    ]
