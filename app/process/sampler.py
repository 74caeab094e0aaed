"""Samples the threads of this process, as a profile for `go tool pprof` and speedscope (profile.proto).

Source: github.com/google/pprof, proto/profile.proto
"""

import gzip
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from tables.columns.varint import varint

HZ: Final = 100
_DEPTH_MAX: Final = 200
_VARINT, _BYTES = 0, 2  # protobuf's wire types

Line = tuple[str, str, int]  # function, file, line
Stack = tuple[Line, ...]  # the innermost first


@dataclass(slots=True)
class StackSamples:
    """By stack: nanoseconds of wall-clock time, and of CPU time."""

    wall_ns: Counter[Stack] = field(default_factory=Counter)
    cpu_ns: Counter[Stack] = field(default_factory=Counter)
    began_ns: int = field(default_factory=time.time_ns)
    took_ns: int = 0


def sample(seconds: float, stopped: Callable[[], bool] = lambda: False) -> StackSamples:
    """Samples all Python threads except the calling one, which it blocks meanwhile."""
    found, own = StackSamples(), threading.get_ident()
    begin = last = time.monotonic_ns()
    cpu = _cpu_ns()
    while last < begin + seconds * 1e9 and not stopped():
        time.sleep(1 / HZ)
        now, spent = time.monotonic_ns(), _cpu_ns()
        for ident, frame in sys._current_frames().items():  # noqa: SLF001  # there is no other way
            if ident != own:
                stack = _stack(frame)
                found.wall_ns[stack] += now - last
                found.cpu_ns[stack] += max(0, spent.get(ident, 0) - cpu.get(ident, spent.get(ident, 0)))
        last, cpu = now, spent
    found.took_ns = last - begin
    return found


def _stack(frame: FrameType | None) -> Stack:
    lines: list[Line] = []
    while frame is not None and len(lines) < _DEPTH_MAX:
        code = frame.f_code
        lines.append((code.co_qualname, code.co_filename, frame.f_lineno or 0))
        frame = frame.f_back
    return tuple(lines)


def _cpu_ns() -> dict[int, int]:
    """CPU time of each thread so far; empty if the system does not report it."""
    found: dict[int, int] = {}
    for thread in threading.enumerate():
        with suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
            found[thread.ident or 0] = int(text.split()[0])
    return found


def to_collapsed(samples: StackSamples) -> str:
    """The samples as collapsed stacks, the outermost function first, with milliseconds of wall-clock time: what
    flamegraph.pl and speedscope read.
    """
    merged: Counter[str] = Counter()
    for stack, wall_ns in samples.wall_ns.items():
        places = (f"{function} ({Path(file).name}:{number})" for function, file, number in reversed(stack))
        merged[";".join(one.replace(";", ",") for one in places)] += wall_ns
    return "".join(f"{stack} {round(wall_ns / 1e6)}\n" for stack, wall_ns in merged.most_common())


def to_pprof(samples: StackSamples) -> bytes:
    """The samples as a compressed pprof profile."""
    texts: dict[str, int] = {"": 0}

    def text(value: str) -> int:
        return texts.setdefault(value, len(texts))

    def value_type(name: str) -> bytes:
        return _number(1, text(name)) + _number(2, text("nanoseconds"))

    functions: dict[tuple[str, str], int] = {}
    locations: dict[Line, int] = {}
    out = [_bytes(1, value_type("wall")), _bytes(1, value_type("cpu"))]
    for stack, wall_ns in samples.wall_ns.items():
        ids = [locations.setdefault(line, len(locations) + 1) for line in stack]
        out.append(_bytes(2, _packed(1, ids) + _packed(2, [wall_ns, samples.cpu_ns[stack]])))
    for (function, file, number), place in locations.items():
        function_id = functions.setdefault((function, file), len(functions) + 1)
        line = _number(1, function_id) + _number(2, number)
        out.append(_bytes(4, _number(1, place) + _bytes(4, line)))
    for (function, file), function_id in functions.items():
        names = _number(2, text(function)) + _number(3, text(function)) + _number(4, text(file))
        out.append(_bytes(5, _number(1, function_id) + names))
    period = _bytes(11, value_type("wall")) + _number(12, 10**9 // HZ) + _number(14, text("cpu"))
    times = _number(9, samples.began_ns) + _number(10, samples.took_ns)
    strings = [_bytes(6, value.encode("utf-8", "replace")) for value in texts]
    return gzip.compress(b"".join([*out, *strings, times, period]))


def _number(number: int, value: int) -> bytes:
    return varint(number << 3 | _VARINT) + varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def _packed(number: int, values: Iterable[int]) -> bytes:
    return _bytes(number, b"".join(map(varint, values)))
