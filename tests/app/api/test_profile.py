"""Profiles of the process: what is in them, and that pprof's form is right."""

import gzip
import threading
from collections.abc import Iterator
from typing import Any

from app.process.sampler import StackSamples, sample, to_pprof


def fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Of a protobuf message: numbers and bytes."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = varint()
            at += size
            yield tag >> 3, data[at - size : at]


def busy(stop: threading.Event) -> None:
    while not stop.is_set():
        sum(range(1000))


def test_what_threads_do() -> None:
    """A thread that computes is on a CPU, one that waits is not."""
    stop = threading.Event()
    threads = [threading.Thread(target=busy, args=(stop,)), threading.Thread(target=stop.wait)]
    for thread in threads:
        thread.start()
    found = sample(0.3)
    stop.set()
    for thread in threads:
        thread.join()

    def of(name: str, times: dict[Any, int]) -> int:
        return sum(ns for stack, ns in times.items() if any(line[0] == name for line in stack))

    assert of("busy", found.wall_ns) > 0.1e9
    assert of("busy", found.cpu_ns) > 0
    assert of("Event.wait", found.wall_ns) > 0.1e9
    assert of("Event.wait", found.cpu_ns) < of("busy", found.cpu_ns) / 2
    assert found.took_ns >= 0.3e9


def test_stops_when_nobody_waits() -> None:
    assert sample(60, lambda: True).took_ns == 0


def test_form() -> None:
    """StackSamples name locations, these functions, and these texts; the first text is empty."""
    inner, outer = ("f", "a.py", 3), ("g", "b.py", 5)
    samples = StackSamples(began_ns=7, took_ns=9)
    samples.wall_ns[inner, outer] = 300
    samples.cpu_ns[inner, outer] = 200
    samples.wall_ns[(outer,)] = 1
    message = list(fields(gzip.decompress(to_pprof(samples))))
    texts = [value.decode() for number, value in message if number == 6]
    assert texts[0] == ""
    types = [dict(fields(value)) for number, value in message if number == 1]
    assert [(texts[each[1]], texts[each[2]]) for each in types] == [("wall", "nanoseconds"), ("cpu", "nanoseconds")]
    functions = {each[1]: (texts[each[2]], texts[each[4]]) for n, v in message if n == 5 for each in [dict(fields(v))]}
    places = {}
    for number, value in message:
        if number == 4:
            location = dict(fields(value))
            line = dict(fields(location[4]))
            places[location[1]] = (*functions[line[1]], line[2])
    stacks = []
    for number, value in message:
        if number == 2:
            one = dict(fields(value))
            assert one[2] in (bytes([0xAC, 2, 0xC8, 1]), bytes([1, 0]))
            stacks.append(tuple(places[place] for place in one[1]))
    assert stacks == [(inner, outer), (outer,)]
    assert dict(message)[9] == 7


def test_over_http(ask) -> None:
    """Only where the setting says so."""
    off = ask("/debug/pprof/profile?seconds=1")
    assert (off.status, "server.pprof_enabled" in off.text) == (404, True)
    assert ask("/debug/pprof/", profiling=True).text.startswith("/debug/pprof/profile")
    answer = ask("/debug/pprof/profile?seconds=1", profiling=True)
    assert answer.status == 200
    assert any(number == 2 for number, _ in fields(gzip.decompress(answer.body)))
    assert ask("/debug/pprof/profile?seconds=301", profiling=True).status == 400
