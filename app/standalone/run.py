"""`stretto run`: starts everything on this machine until it is ready, and stops it within 5 s.

Order: ports and data folder free → jars → Kafka → topics → worker → ready. It stops in reverse order, the worker first.
"""

import asyncio
import contextlib
import os
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from app.errors import StrettoError
from app.process import topics
from app.settings import Settings, load
from app.standalone import jars, kafka, maven, plan
from app.standalone.child import Child, Command
from app.standalone.demo_switch import DemoSwitch
from app.standalone.errors import StandaloneError
from app.standalone.hang_up import HangUp
from app.standalone.output import LogFile
from app.standalone.plan import RunPlan
from app.standalone.ports import Listener, data_lock, free_port, wait_free
from app.standalone.supervisor import OF_ONE, OF_SEVERAL, Patience, keep_alive, never, nothing, stop_in_order
from app.standalone.welcome import welcome
from app.standalone.worker_count import with_partitions, worker_count

_PORTS_FREE_S: Final = 2.0  # children of a run that was killed are gone by then
_KAFKA_S: Final = 60.0  # after kill -9 it checks its logs first
_POLL_S: Final = 0.1
_PATIENCE_S: Final = 15.0  # then a line says what is waited for
_INTERRUPTED: Final = 128 + signal.SIGINT


def say(text: str) -> None:
    """Prints a line for the operator. Thread-safe."""
    # A terminal that is gone must not stop what copies the children's output: they would block.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def main(settings: Settings) -> int:
    """Runs until a signal. The exit code: 0 after SIGTERM, 130 after Ctrl-C.

    Raises: StrettoError if it cannot start, or if a child dies again and again
    """
    started = time.monotonic()
    hang_up = HangUp(settings, partial(load, os.environ, Path.cwd()), say)
    workers = worker_count(settings)
    settings = with_partitions(settings, workers)
    chosen = plan.make(settings, os.environ, workers)
    try:
        with data_lock(chosen.data_dir, chosen.api.port):
            wait_free(chosen.needed, _PORTS_FREE_S)
            broker = _own_broker(chosen, settings)
            wanted = topics.specs(settings)
            if broker:  # one node: it has no place for copies
                wanted = [replace(topic, replication_factor=1) for topic in wanted]
            run = _Run(chosen, wanted, broker, started, hang_up)
            return asyncio.run(run.until_signal())
    except KeyboardInterrupt:  # before anything was started
        say("Stopped.")
        return _INTERRUPTED


def _own_broker(chosen: RunPlan, settings: Settings) -> kafka.Broker | None:
    if chosen.own_kafka_port is None:
        return None
    pinned = jars.locked()
    files = jars.ensure(pinned, jars.cache_dir(os.environ, jars.kafka_version(pinned)), say, maven.fetch)
    broker = kafka.Broker(
        folder=chosen.data_dir / "kafka",
        log=chosen.logs / "kafka.log",
        port=chosen.own_kafka_port,
        # Only this one process uses it: nobody needs to know it.
        controller_port=free_port(avoid={listener.port for listener in chosen.needed}),
        jars=tuple(files),
        partitions=settings.kafka.partitions,
        max_message_bytes=settings.kafka.max_message_bytes,
        retention_s=settings.kafka.retention_s,
    )
    kafka.prepare(broker)
    return broker


@dataclass(slots=True)
class _Run:
    plan: RunPlan
    topics: list[topics.TopicSpec]
    broker: kafka.Broker | None
    started: float  # time.monotonic()
    hang_up: HangUp
    children: list[Child] = field(default_factory=list)  # in the order of their start
    serving: bool = False  # since all workers were ready once

    async def until_signal(self) -> int:
        signals: asyncio.Queue[int] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, signals.put_nowait, number)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up, signals)
        work, first = asyncio.create_task(self._work()), asyncio.create_task(signals.get())
        try:
            await asyncio.wait((work, first), return_when=asyncio.FIRST_COMPLETED)
            if first.done():
                say("Stopping.")
                return _INTERRUPTED if first.result() == signal.SIGINT else 0
            await work  # ends only with an error
            raise AssertionError("unreachable")
        finally:
            first.cancel()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            await self._stop(signals)

    def _hung_up(self, signals: asyncio.Queue[int]) -> None:
        if self.hang_up.is_end():
            signals.put_nowait(signal.SIGHUP)
            return
        names = {command.name for command in self.plan.workers}
        self.hang_up.reload([child for child in self.children if child.command.name in names])

    async def _stop(self, signals: asyncio.Queue[int]) -> None:
        """Stops all children in order; a second signal kills the remaining ones."""
        own_kafka = [child for child in self.children if child.command.log == self.plan.logs / "kafka.log"]
        others = [child for child in self.children if child not in own_kafka]
        stopping = asyncio.create_task(stop_in_order([others, own_kafka]))
        again = asyncio.create_task(signals.get())
        await asyncio.wait((stopping, again), return_when=asyncio.FIRST_COMPLETED)
        if again.done():
            for child in self.children:
                child.kill()
        again.cancel()
        await stopping

    async def _work(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                await self._start(group)
        except* StrettoError as several:
            raise _first(several) from None

    async def _start(self, group: asyncio.TaskGroup) -> None:
        def start(command: Command, needs: Callable[[], Awaitable[object]] = nothing) -> None:
            self._add(group, Child(command, say), needs)

        if self.broker:
            runtime = kafka.java()
            if not self.broker.formatted:
                await self._format(kafka.format_command(self.broker, runtime, os.environ))
            start(kafka.server_command(self.broker, runtime, os.environ))
        made = await self._kafka_up()
        self._tell(f"Kafka is up; topics made: {', '.join(made) or 'none, they exist'}")
        chosen = self.plan
        self._start_workers(group)
        for listener in chosen.ready:
            await wait_ready(listener, say)
        self.serving = True
        self._tell("The worker is ready" if len(chosen.workers) == 1 else f"{len(chosen.workers)} workers are ready")
        say(welcome(chosen.api, chosen.receivers, chosen.kafka.brokers, chosen.logs))
        if chosen.demo:
            switch = DemoSwitch(chosen.demo_switch, chosen.demo, self.children, say)
            switch.reset(on=chosen.demo_at_once)
            group.create_task(switch.follow())

    def _start_workers(self, group: asyncio.TaskGroup) -> None:
        """One alone is given up when it dies again and again; of several that have served none is."""
        workers = self.plan.workers
        if len(workers) == 1:
            self._add(group, Child(workers[0], say), self._kafka_up)
            return
        log = LogFile(workers[0].log)
        for command in workers:
            self._add(group, Child(command, say, log), self._kafka_up, OF_SEVERAL, lambda: self.serving)

    def _add(
        self,
        group: asyncio.TaskGroup,
        child: Child,
        needs: Callable[[], Awaitable[object]],
        patience: Patience = OF_ONE,
        established: Callable[[], bool] = never,
    ) -> None:
        self.children.append(child)
        child.start()
        group.create_task(keep_alive(child, say, needs, patience, established))

    async def _kafka_up(self) -> list[str]:
        made = await topics.ensure_topics(self.plan.kafka, self.topics, _KAFKA_S)
        if self.broker:
            await topics.wait_for_groups(self.plan.kafka, _KAFKA_S)
        return made

    async def _format(self, command: Command) -> None:
        child = Child(command, say)
        self.children.append(child)
        child.start()
        if code := await child.wait():
            raise StandaloneError(f"Kafka cannot format its folder (exit code {code}); see {command.log}")
        self.children.remove(child)

    def _tell(self, text: str) -> None:
        say(f"{text} ({time.monotonic() - self.started:.1f} s)")


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


async def wait_ready(api: Listener, tell: Callable[[str], None]) -> None:
    """Returns once GET /ready answers 200. It waits without limit: the caller watches the worker meanwhile."""
    next_word = time.monotonic() + _PATIENCE_S
    while True:
        answer = await _get_ready(api)
        if answer.startswith("200"):
            return
        if time.monotonic() >= next_word:
            tell(f"Waiting for the worker; /ready says: {answer}")
            next_word += _PATIENCE_S
        await asyncio.sleep(_POLL_S)


def _own_certificate() -> ssl.SSLContext:
    """Accepts any certificate: it is for the server's external name, and /ready returns nothing secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _get_ready(api: Listener) -> str:
    """Status and body of GET /ready, or the error. A minimal HTTP client for one request."""
    try:
        async with asyncio.timeout(2):
            tls = _own_certificate() if api.tls else None
            reader, writer = await asyncio.open_connection(api.local_host, api.port, ssl=tls)
            try:
                writer.write(f"GET /ready HTTP/1.1\r\nHost: {api.local}\r\nConnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read(64 * 1024)).decode("utf-8", "replace").partition("\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError) as err:
        return str(err) or type(err).__name__
    if not head and api.only_with_certificate:
        return "200"  # it is there, and hangs up on us: more cannot be known without a certificate
    status = head.partition("\r\n")[0].partition(" ")[2]
    return f"{status} {body}".strip()
