"""A receiver in a process of its own, for tests of its memory: `python -m tests.app.receivers.memory_child`.

Prints the ports of OTLP over gRPC and HTTP, then serves until its standard input ends.
"""

import asyncio
import sys

from agents.distributor.span_writer import Outcome
from app.net.access import Access
from app.net.http_guard import GuardedSite, HttpLimits
from app.receivers.grpc import GrpcReceiver
from app.receivers.http_body import BodyLimits, http_runner
from app.receivers.input_budget import InputBudget
from app.receivers.otlp.export import EXPORT
from app.receivers.otlp.http import build_http_receiver
from app.receivers.request_batcher import BatchLimits, RequestBatcher
from tests.harness.ports import own_ports

MIB = 1 << 20


class Writer:
    async def write(self, requests):
        return [Outcome(1)] * len(requests)


async def main() -> None:
    grpc_port, http_port = own_ports(2)
    budget, access = InputBudget(256 * MIB), Access(multitenancy=False)
    batcher = RequestBatcher(Writer(), BatchLimits(0.01, 1_500_000, 10))
    server = GrpcReceiver(batcher, f"127.0.0.1:{grpc_port}", access, EXPORT, message_bytes_max=64 * MIB, budget=budget)
    await server.start()
    runner = http_runner(build_http_receiver(batcher, access, BodyLimits(64 * MIB, 4 * MIB), budget), 65536)
    await runner.setup()
    site = GuardedSite(runner, "127.0.0.1", http_port, name="otlp", limits=HttpLimits())
    await site.start()
    print(grpc_port, http_port, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(main())
