"""A Kafka by itself, as a child process: no `stretto run` beside it."""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.standalone import jars, kafka, maven
from tests.harness.cluster import BenchError

_STOP_S: Final = 10.0


@contextmanager
def kafka_alone(
    folder: Path, port: int, controller_port: int, properties: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """Started inside, stopped outside; it accepts connections some seconds later.

    folder: exists, for its data and log. properties: of server.properties, further ones or others.
    Raises: BenchError if it ends at once
    """
    pinned = jars.locked()
    files = jars.ensure(pinned, jars.cache_dir(os.environ, jars.kafka_version(pinned)), print, maven.fetch)
    broker = kafka.Broker(folder / "kafka", folder / "kafka.log", port, controller_port, tuple(files), 4, 8 << 20, 3600)
    kafka.prepare(broker)
    lines = [f"{key}={value}\n" for key, value in {**kafka.properties(broker), **(properties or {})}.items()]
    (broker.folder / "server.properties").write_text("".join(lines), encoding="ascii")
    runtime = kafka.java()
    with broker.log.open("wb") as log:
        command = kafka.format_command(broker, runtime, os.environ)
        subprocess.run(command.argv, env=dict(command.env), stdout=log, stderr=log, check=True)
        command = kafka.server_command(broker, runtime, os.environ)
        process = subprocess.Popen(command.argv, env=dict(command.env), stdout=log, stderr=log)
    try:
        time.sleep(0.1)
        if (status := process.poll()) is not None:
            raise BenchError(f"Kafka ended with status {status}: see {broker.log}")
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
