"""A real Kafka of one or several brokers by itself: child processes on loopback, with small heaps."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from app.standalone import jars, kafka, maven
from app.standalone.child import Command
from tests.harness.cluster import BenchError
from tests.harness.ending import end_all
from tests.harness.ports import own_ports

_HEAP: Final = "-Xmx192m"
_MESSAGE_BYTES: Final = 8 << 20
_COPIES_MAX: Final = 3
_STOP_S: Final = 15.0
_TOPICS_OF_KAFKA: Final = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")


class Brokers:
    """As a context manager: started inside, stopped outside. What is written to several brokers is on most of them
    before Kafka acknowledges it, so that one of three may be lost.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 1,
        settings: Mapping[str, str] | None = None,
        advertised_port: int | None = None,
    ) -> None:
        """folder: exists; data and logs go there. settings: further ones of Kafka. advertised_port: of a proxy, where a
        single broker tells its clients to come to
        """
        ports = own_ports(2 * count)
        pinned = jars.locked()
        files = jars.ensure(pinned, jars.cache_dir(os.environ, jars.kafka_version(pinned)), print, maven.fetch)
        self._nodes = [
            kafka.Broker(
                folder / f"kafka-{number}",
                folder / f"kafka-{number}.log",
                port,
                controller_port,
                tuple(files),
                partitions=4,
                max_message_bytes=_MESSAGE_BYTES,
                retention_s=3600,
            )
            for number, (port, controller_port) in enumerate(zip(ports[:count], ports[count:], strict=True), 1)
        ]
        self._settings = dict(settings or {})
        if advertised_port is not None:
            self._settings["advertised.listeners"] = f"PLAINTEXT://{kafka.HOST}:{advertised_port}"
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[str]:
        return [one.address for one in self._nodes]

    @property
    def url(self) -> str:
        """For KAFKA_URL."""
        return f"kafka://{','.join(self.addresses)}"

    @property
    def ports(self) -> list[int]:
        return [one.port for one in self._nodes]

    def process(self, number: int = 1) -> "subprocess.Popen[bytes]":
        """number: of a broker, from 1"""
        return self._processes[number]

    def pid(self, number: int = 1) -> int:
        """number: of a broker, from 1"""
        return self._processes[number].pid

    def __enter__(self) -> Self:
        try:
            formatted = ""
            for number, node in enumerate(self._nodes, 1):
                kafka.prepare(node, self._properties(number, node))
                command = kafka.format_command(node, kafka.java(), os.environ)
                # All have the cluster id of the first.
                formatted = formatted or next(word for word in command.argv if word.startswith("--cluster-id="))
                argv = [formatted if word.startswith("--cluster-id=") else word for word in command.argv]
                with node.log.open("ab") as log:
                    subprocess.run(argv, env=dict(command.env), stdout=log, stderr=log, check=True)
            for number in range(1, len(self._nodes) + 1):
                self.start(number)
            time.sleep(0.1)
            for number, process in self._processes.items():
                if (status := process.poll()) is not None:
                    raise BenchError(f"Kafka ended with status {status}: see {self._nodes[number - 1].log}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        end_all(self._processes.values(), _STOP_S)

    def start(self, number: int) -> None:
        """Also again, after it was killed."""
        node = self._nodes[number - 1]
        command: Command = kafka.server_command(node, kafka.java(), os.environ)
        argv = [_HEAP if word.startswith("-Xmx") else word for word in command.argv]
        with node.log.open("ab") as log:
            self._processes[number] = subprocess.Popen(argv, env=dict(command.env), stdout=log, stderr=log)

    def kill(self, number: int) -> None:
        """kill -9. Returns when it has ended."""
        os.kill(self.pid(number), signal.SIGKILL)
        self._processes[number].wait()

    def _properties(self, number: int, node: kafka.Broker) -> dict[str, str]:
        found = kafka.properties(node)
        count = len(self._nodes)
        if count > 1:
            copies = min(count, _COPIES_MAX)
            voters = (f"{n}@{kafka.HOST}:{one.controller_port}" for n, one in enumerate(self._nodes, 1))
            found |= {
                "node.id": str(number),
                "controller.quorum.voters": ",".join(voters),
                "min.insync.replicas": str(copies // 2 + 1),
                # One that gets no processor for a moment is not lost.
                "broker.session.timeout.ms": "6000",
                **{f"{topic}.replication.factor": str(copies) for topic in _TOPICS_OF_KAFKA},
                "transaction.state.log.min.isr": str(copies // 2 + 1),
                "share.coordinator.state.topic.min.isr": str(copies // 2 + 1),
            }
        return found | self._settings
