"""The clients that send mutated requests: some processes of them, each with its own connections."""

import asyncio
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import grpc
import uvloop
from aiokafka import AIOKafkaProducer

from benchmarks.hostile.http_client import Connection
from benchmarks.hostile.sent import Maker, Sent
from benchmarks.load import EXPORT

CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
RIGHT_CODES: Final = (grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
HTTP_SHARE, GRPC_SHARE = 0.85, 0.12  # the others go to Kafka
_FAULTS_TOLD: Final = 10
_TELL_S: Final = 60.0
_CONNECTIONS_PER_QUERY: Final = 20
# Clients are elsewhere: here they get what the server leaves, or its threads would wait for a CPU and hold the GIL.
_NICENESS: Final = 10


@dataclass(frozen=True, slots=True)
class Job:
    """What one process sends, and where to. good: OTLP requests to start from; sample: so many accepted ones are kept

    minutes: then no more is sent
    requests_per_s: at most; a server that cannot take them is not asked for more than all connections wait for
    """

    otlp_address: str
    otlp_http_port: int
    http_port: int
    kafka_address: str
    requests: int
    minutes: float
    connections: int
    requests_per_s: float
    seed: int
    good: Sequence[bytes]
    sample: int


@dataclass(slots=True)
class Came:
    """What came of it. faults: the first ones; kept: a sample of the exports that were accepted"""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    kept: list[bytes] = field(default_factory=list)


def send_all(jobs: Sequence[Job]) -> Came:
    """Each in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(len(jobs)) as pool:
        parts = pool.map(_send, jobs, 1)
    came = Came()
    for part in parts:
        came.statuses += part.statuses
        came.faults += part.faults
        came.kept += part.kept
    return came


def _send(job: Job) -> Came:
    os.nice(_NICENESS)
    clients = Clients(job)
    uvloop.run(clients.run())
    return clients.came


class Clients:
    """The hostile clients of one process."""

    def __init__(self, job: Job) -> None:
        self._job, self._rng = job, Random(job.seed)
        self._maker = Maker(job.seed, job.good)
        self._left = job.requests
        self._end_s = time.monotonic() + 60 * job.minutes
        self._accepted = 0
        self._due_s = 0.0
        # More at once than the server has threads for would only wait in line, up to query.timeout_s.
        self._asking, self._asking_max = 0, max(1, job.connections // _CONNECTIONS_PER_QUERY)
        self.came = Came()

    async def run(self) -> None:
        """Sends all requests over the connections."""
        address = self._job.kafka_address
        producers = [AIOKafkaProducer(bootstrap_servers=address, compression_type=codec) for codec in CODECS]
        for producer in producers:
            await producer.start()
        async with grpc.aio.insecure_channel(self._job.otlp_address) as channel:
            export = channel.unary_unary(EXPORT)
            telling = asyncio.create_task(self._tell())
            await asyncio.gather(*(self._client(export, producers) for _ in range(self._job.connections)))
            telling.cancel()
        for producer in producers:
            await producer.stop()

    async def _client(self, export: Any, producers: Sequence[Any]) -> None:
        job = self._job
        otlp, query = (Connection("127.0.0.1", port) for port in (job.otlp_http_port, job.http_port))
        while self._left > 0 and time.monotonic() < self._end_s:
            self._left -= 1
            await self._turn()
            kind = self._rng.random()
            if kind < HTTP_SHARE:
                sent = self._maker.http()
                while sent.query and self._asking >= self._asking_max:
                    sent = self._maker.http()
                await self._http(query if sent.query else otlp, sent)
            elif kind < HTTP_SHARE + GRPC_SHARE:
                await self._grpc(export, self._maker.export())
            else:
                await self._rng.choice(producers).send_and_wait("otlp_spans", self._maker.export())
                self.came.statuses["kafka"] += 1
        otlp.close()
        query.close()

    async def _tell(self) -> None:
        """A long run says how far it is."""
        while True:
            await asyncio.sleep(_TELL_S)
            faults = self.came.statuses["faults"]
            print(f"{time.strftime('%H:%M:%S')} {self._left} to go, {faults} faults", file=sys.stderr, flush=True)

    async def _turn(self) -> None:
        """Until the next request may be sent. What could not be sent in time is not caught up."""
        now_s = time.monotonic()
        self._due_s = max(self._due_s, now_s - 0.1) + 1 / self._job.requests_per_s
        if self._due_s > now_s:
            await asyncio.sleep(self._due_s - now_s)

    async def _http(self, connection: Connection, sent: Sent) -> None:
        kind = "query" if sent.query else "otlp"
        self._asking += sent.query
        try:
            status, answer = await connection.ask(sent.data, broken=sent.broken)
        except (TimeoutError, OSError) as err:
            self._fault(f"{kind}: {err!r} after {sent.data[:200]!r}")
            connection.close()
            return
        finally:
            self._asking -= sent.query
        self.came.statuses[f"{kind} {status}"] += 1
        if status >= 500 or (status == 0 and not sent.broken):
            self._fault(f"{kind}: status {status}, {answer[:200]!r} after {sent.data[:300]!r}")
        if status == 200 and sent.body is not None and not sent.broken:
            self._keep(sent.body)

    async def _grpc(self, export: Any, body: bytes) -> None:
        try:
            await export(body, timeout=60)
        except grpc.aio.AioRpcError as err:
            self.came.statuses[f"grpc {err.code().name}"] += 1
            if err.code() not in RIGHT_CODES:
                self._fault(f"grpc {err.code().name}: {str(err.details())[:200]} after {body[:100]!r}")
            return
        self.came.statuses["grpc OK"] += 1
        self._keep(body)

    def _keep(self, body: bytes) -> None:
        """Any of those that were accepted is as likely to be kept."""
        kept = self.came.kept
        self._accepted += 1
        if len(kept) < self._job.sample:
            kept.append(body)
        elif (at := self._rng.randrange(self._accepted)) < self._job.sample:
            kept[at] = body

    def _fault(self, text: str) -> None:
        self.came.statuses["faults"] += 1
        if len(self.came.faults) < _FAULTS_TOLD:
            self.came.faults.append(f"{time.strftime('%H:%M:%S')} {text}")
            print(self.came.faults[-1], file=sys.stderr, flush=True)
