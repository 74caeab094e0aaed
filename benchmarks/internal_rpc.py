"""Partial results over Arrow Flight and over grpc.aio, on the loopback: time of a call, and CPU of both ends.

`python -m benchmarks.internal_rpc` starts a server of each kind in a child process, and asks it for partials of several
sizes, one call after the other and eight at once. The figures behind docs/adr/0022-queries-across-processes.md.
"""

import asyncio
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.flight as flight
import uvloop

SIZES: Final = {"1 KB": 1 << 10, "64 KB": 1 << 16, "1 MB": 1 << 20, "16 MB": 1 << 24}
CALLS: Final = {"1 KB": 2000, "64 KB": 1000, "1 MB": 200, "16 MB": 20}
AT_ONCE: Final = 8
PIECE: Final = 1 << 20
METHOD: Final = "/bench/Ask"


def partial(size: int) -> pa.Table:
    """A table of that many bytes."""
    return pa.table({"value": np.arange(size // 8, dtype=np.int64)})


def ipc(table: pa.Table) -> bytes:
    """The table as an Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


async def serve_grpc() -> None:
    """Answers the name of a size with a partial of that size, in pieces."""

    async def ask(request: bytes, context: Any) -> None:
        data = ipc(partial(SIZES[request.decode()]))
        for at in range(0, len(data), PIECE):
            await context.write(data[at : at + PIECE])

    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, _: Any) -> Any:
            return grpc.unary_stream_rpc_method_handler(ask)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


class FlightServer(flight.FlightServerBase):  # type: ignore[misc]
    """The same over Arrow Flight."""

    def do_get(self, context: Any, ticket: Any) -> Any:  # noqa: ARG002
        """Flight's call for a table."""
        return flight.RecordBatchStream(partial(SIZES[ticket.ticket.decode()]))


def serve_flight() -> None:
    """Until standard input ends."""
    with FlightServer("grpc://127.0.0.1:0") as server:
        print(server.port, flush=True)
        sys.stdin.read()


async def measure_grpc(port: int) -> None:
    """Calls as the frontend makes them, from an event loop."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = channel.unary_stream(METHOD)

        async def call(name: str) -> None:
            data = b"".join([part async for part in method(name.encode())])
            assert pa.ipc.open_stream(data).read_all().num_rows == SIZES[name] // 8

        await measure("grpc.aio", call)


async def measure_flight(port: int) -> None:
    """Flight has no asynchronous client: each call waits on a thread."""
    client = flight.FlightClient(f"grpc://127.0.0.1:{port}")
    pool = ThreadPoolExecutor(AT_ONCE)

    def get(name: str) -> None:
        assert client.do_get(flight.Ticket(name.encode())).read_all().num_rows == SIZES[name] // 8

    async def call(name: str) -> None:
        await asyncio.get_running_loop().run_in_executor(pool, get, name)

    await measure("Arrow Flight", call)


async def measure(kind: str, call: Callable[[str], Awaitable[None]]) -> None:
    """Prints a line for each size."""
    for name, count in CALLS.items():
        await call(name)
        times = []
        cpu_s = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(count):
            start_s = time.perf_counter()
            await call(name)
            times.append(time.perf_counter() - start_s)
        used = resource.getrusage(resource.RUSAGE_SELF)
        own_ms = 1000 * (used.ru_utime + used.ru_stime - cpu_s.ru_utime - cpu_s.ru_stime) / count
        start_s = time.perf_counter()
        for _ in range(max(1, count // AT_ONCE)):
            await asyncio.gather(*(call(name) for _ in range(AT_ONCE)))
        rate = max(1, count // AT_ONCE) * AT_ONCE / (time.perf_counter() - start_s)
        p50, p99 = np.percentile(times, [50, 99]) * 1000
        print(
            f"{kind:13} {name:>6}: p50 {p50:7.2f} ms, p99 {p99:7.2f} ms, client CPU {own_ms:6.2f} ms, "
            f"{AT_ONCE} at once {rate:7.0f}/s"
        )


def main() -> None:
    """Runs a server, or measures both kinds."""
    if len(sys.argv) > 1:
        if sys.argv[1] == "grpc":
            uvloop.run(serve_grpc())
        else:
            serve_flight()
        return
    for kind, run in (("grpc", measure_grpc), ("flight", measure_flight)):
        child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.internal_rpc", kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert child.stdin is not None
        assert child.stdout is not None
        uvloop.run(run(int(child.stdout.readline())))
        child.stdin.close()
        _, _, used = os.wait4(child.pid, 0)
        print(f"  server CPU {used.ru_utime + used.ru_stime:.2f} s")


if __name__ == "__main__":
    main()
