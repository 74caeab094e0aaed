"""A proxy between a worker and its Kafka: forwards everything, and loses or delays what the test asks for.

Kafka answers the requests of a connection in order. So if one is lost, all later ones on the same connection are lost
too, even when the fault is over: as behind a router that has forgotten the connection.
"""

import asyncio
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final, Self, cast

# Of Kafka's protocol.
FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, OFFSET_FETCH = 1, 2, 3, 8, 9
FIND_COORDINATOR, JOIN_GROUP, HEARTBEAT, LEAVE_GROUP, SYNC_GROUP = 10, 11, 12, 13, 14
API_VERSIONS, INIT_PRODUCER_ID = 18, 22

_LENGTH: Final = struct.Struct(">i")
_REQUEST: Final = struct.Struct(">hhih")  # API, its version, correlation id, length of the client's name
_CORRELATION: Final = struct.Struct(">i")
_TICK_S: Final = 0.05
_CLOSE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Fault:
    """apis: of the requests that it meets; empty: all. client: what the client's name begins with

    requests, answers: whether they are lost; delay_s: by how long answers are late, where they are not lost
    """

    apis: frozenset[int] = frozenset()
    client: str = "faust"
    requests: bool = False
    answers: bool = False
    delay_s: float = 0.0

    def meets(self, api: int, client: str) -> bool:
        return (not self.apis or api in self.apis) and client.startswith(self.client)


@dataclass(frozen=True, slots=True)
class _Later:
    fault: Fault
    skip: int
    lasts_s: float


class KafkaProxy(threading.Thread):
    """Listens on 127.0.0.1, in a thread of its own. As a context manager: it listens inside."""

    def __init__(self, port: int, kafka_port: int) -> None:
        super().__init__(name="kafka-proxy", daemon=True)
        self._port, self._kafka_port = port, kafka_port
        self._faults: tuple[Fault, ...] = ()
        self._listening, self._finish = threading.Event(), threading.Event()
        self._cut_before_s = 0.0
        self._connections: set[asyncio.Task[None]] = set()
        self._later: _Later | None = None
        self._until_s: float | None = None
        self.caught = threading.Event()  # a fault that was to come later has come
        self.lost = 0  # requests or answers
        self.asked: Counter[tuple[str, int]] = Counter()  # requests that came, by client's name and API

    def __enter__(self) -> Self:
        self.start()
        assert self._listening.wait(10), "the proxy does not listen"
        return self

    def __exit__(self, *_: object) -> None:
        self._finish.set()
        self.join(10)

    def set(self, *faults: Fault) -> None:
        """Sets the faults from now on; none: no faults."""
        self._later, self._until_s = None, None
        self._faults = faults

    def set_later(self, fault: Fault, skip: int, lasts_s: float) -> None:
        """All is well until so many requests have come that the fault meets; from the next one on, for that long, they
        meet it. `caught` tells that it has begun. Forget it with `set()`.
        """
        self.set()
        self.caught.clear()
        self._later = _Later(fault, skip, lasts_s)

    @property
    def faulty(self) -> bool:
        """Whether anything is lost or late just now, or is to be later."""
        return bool(self._faults) or self._later is not None

    def cut(self) -> None:
        """Closes all connections of clients; they connect again."""
        self._cut_before_s = time.monotonic()

    def run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, limit=1 << 20)
        self._listening.set()
        while not self._finish.is_set():
            await asyncio.sleep(_TICK_S)
            if self._until_s is not None and time.monotonic() >= self._until_s:
                self.set()
        server.close()
        if self._connections:
            await asyncio.wait(self._connections, timeout=_CLOSE_S)
        # Transports close in the next turn of the loop. One that is left over warns when it is collected.
        await asyncio.sleep(0)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began_s = time.monotonic()
        self._connections.add(mine := cast("asyncio.Task[None]", asyncio.current_task()))
        mine.add_done_callback(self._connections.discard)
        try:
            kafka_reader, kafka_writer = await asyncio.open_connection("127.0.0.1", self._kafka_port, limit=1 << 20)
        except OSError:
            writer.close()
            return
        asked: dict[int, tuple[int, str]] = {}  # by correlation id: API and client
        ways = [
            asyncio.ensure_future(self._requests(reader, kafka_writer, asked)),
            asyncio.ensure_future(self._answers(kafka_reader, writer, asked)),
        ]
        while not self._finish.is_set() and began_s >= self._cut_before_s:
            done, _ = await asyncio.wait(ways, timeout=_TICK_S, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for one in (writer, kafka_writer):
            one.close()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, tuple[int, str]]
    ) -> None:
        lost = False
        while (frame := await _frame(reader)) is not None:
            api, _, correlation, name_bytes = _REQUEST.unpack_from(frame)
            client = frame[_REQUEST.size : _REQUEST.size + max(0, name_bytes)].decode(errors="replace")
            self.asked[client, api] += 1
            self._begin_if_due(api, client)
            lost = lost or self._is_lost(api, client, lambda fault: fault.requests)
            if lost:
                continue
            asked[correlation] = api, client
            await _pass_on(writer, frame)

    async def _answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[int, tuple[int, str]]
    ) -> None:
        lost = False
        while (frame := await _frame(reader)) is not None:
            api, client = asked.pop(_CORRELATION.unpack_from(frame)[0], (-1, ""))
            lost = lost or self._is_lost(api, client, lambda fault: fault.answers)
            if lost:
                continue
            for fault in self._faults:
                if fault.delay_s and fault.meets(api, client):
                    await asyncio.sleep(fault.delay_s)
            await _pass_on(writer, frame)

    def _begin_if_due(self, api: int, client: str) -> None:
        later = self._later
        if later is None or not later.fault.meets(api, client):
            return
        if later.skip:
            self._later = replace(later, skip=later.skip - 1)
            return
        self._later, self._faults = None, (later.fault,)
        self._until_s = time.monotonic() + later.lasts_s
        self.caught.set()

    def _is_lost(self, api: int, client: str, applies: Callable[[Fault], bool]) -> bool:
        lost = any(applies(fault) and fault.meets(api, client) for fault in self._faults)
        self.lost += lost
        return lost


async def _frame(reader: asyncio.StreamReader) -> bytes | None:
    """None where the connection ends."""
    with suppress(asyncio.IncompleteReadError, OSError):
        (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(length)
    return None


async def _pass_on(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(_LENGTH.pack(len(frame)) + frame)
    await writer.drain()
