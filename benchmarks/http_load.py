"""Sends the bodies of a workload's file over HTTP, and prints the result as `load` does.

python -m benchmarks.http_load FILE --to HOST:PORT [--path PATH] [--content-type TYPE] [--in-flight N] [--tenants N]

`benchmarks.protocols` makes such files in several encodings. Each request in flight has a connection of its own, as
clients of HTTP/1 do.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import uvloop

from benchmarks.load import Loaded, percentiles_ms, used_cpu_s
from benchmarks.workload import Requests


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__.partition("\n")[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--to", default="127.0.0.1:4318", metavar="HOST:PORT")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--path", default="/v1/traces")
    parser.add_argument("--content-type", default="application/x-protobuf")
    parser.add_argument("--tenants", type=int, default=0)
    given = parser.parse_args(argv)
    head = f"POST {given.path} HTTP/1.1\r\nHost: {given.to}\r\nContent-Type: {given.content_type}\r\n"
    loaded = uvloop.run(load(Requests(given.file), given.to, given.in_flight, head, given.tenants))
    print(json.dumps(asdict(loaded)), flush=True)
    return 1 if loaded.errors else 0


async def load(bodies: Sequence[bytes], to: str, in_flight: int, head: str, tenants: int) -> Loaded:
    """Sends all bodies, over so many connections. head: the beginning of each request"""
    todo = enumerate(bodies)
    ack_s: list[float] = []
    errors: Counter[str] = Counter()
    cpu_s, began_s = used_cpu_s(), time.perf_counter()
    await asyncio.gather(*(one_client(todo, to, head, tenants, ack_s, errors) for _ in range(in_flight)))
    return Loaded(
        requests=len(bodies),
        bytes=sum(map(len, bodies)),
        wall_s=round(time.perf_counter() - began_s, 3),
        loader_cpu_s=round(used_cpu_s() - cpu_s, 2),
        errors=errors.total(),
        rejected_spans=0,
        ack_ms=percentiles_ms(ack_s),
        error_counts=dict(errors),
    )


async def one_client(
    todo: Iterator[tuple[int, bytes]],
    to: str,
    head: str,
    tenants: int,
    ack_s: list[float],
    errors: Counter[str],
) -> None:
    """Sends one body after the other on a connection."""
    host, _, port = to.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for number, body in todo:
        tenant = f"X-Scope-OrgID: tenant-{number % tenants}\r\n" if tenants else ""
        due_s = time.perf_counter()
        writer.write(f"{head}{tenant}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = answer.partition("content-length:")[2].partition("\r\n")[0].strip()
        await reader.readexactly(int(length or 0))
        status = answer.split(" ", 2)[1]
        if status in ("200", "202"):
            ack_s.append(time.perf_counter() - due_s)
        else:
            errors[status] += 1
    writer.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
