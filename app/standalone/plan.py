"""Settings and environment → what `stretto run` starts, and where it listens."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from agents.stream.kafka_client import KafkaClient
from app.api.page.page_config import DEMO_SWITCH
from app.process.kafka import kafka_client
from app.receivers.table import RECEIVERS, ReceiverRow
from app.settings import Settings
from app.settings.keys import variable
from app.settings.sections.server import Tls
from app.settings.values import split_host_port
from app.standalone.child import Command
from app.standalone.errors import StandaloneError
from app.standalone.ports import Listener, free_port

# The port of the embedded Kafka instead of 9092. KAFKA_URL means another Kafka.
KAFKA_PORT: Final = "EMBEDDED_KAFKA_PORT"
_KAFKA_PORT_DEFAULT: Final = 9092
NO_TLS: Final = Tls()


@dataclass(frozen=True, slots=True)
class RunPlan:
    data_dir: Path
    kafka: KafkaClient
    own_kafka_port: int | None  # None: the Kafka of `brokers` is somebody else's
    api: Listener
    receivers: Mapping[str, Listener]  # those that are on, by the name in `app.receivers.table`
    optional: frozenset[str]  # of them those that the process goes on without where their address is taken
    workers: tuple[Command, ...]
    ready: tuple[Listener, ...]  # where each worker says whether it is ready
    demo: Command | None  # None: there is no receiver that it could send to
    demo_at_once: bool  # the variable DEMO is set; else the demo runs when the web page asks for it

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    @property
    def demo_switch(self) -> Path:
        """The demo runs while this file is there. The worker, which serves the page, makes and removes it."""
        return switch_of(self.data_dir)

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The addresses on which the worker must listen."""
        return (self.api, *(one for name, one in self.receivers.items() if name not in self.optional))

    @property
    def needed(self) -> tuple[Listener, ...]:
        """The addresses that must be free before anything starts."""
        if self.own_kafka_port is None:
            return self.listeners
        return (*self.listeners, Listener("Kafka", "127.0.0.1", self.own_kafka_port, KAFKA_PORT))


def make(settings: Settings, environ: Mapping[str, str], count: int = 1) -> RunPlan:
    """The plan. count: of the workers. Raises: StandaloneError for an invalid port, or a demo
    that nobody receives
    """
    own_port = embedded_kafka_port(settings, environ)
    kafka = kafka_client(settings.kafka) if own_port is None else _own_kafka(settings, own_port)
    env = {
        **environ,
        "TARGET": settings.target,
        "STRETTO_DATA_DIR": str(settings.data_dir),
        DEMO_SWITCH: str(switch_of(settings.data_dir)),
    }
    if own_port is not None:
        env["KAFKA_URL"] = f"kafka://{kafka}"
    if count > 1:
        env[variable(("kafka", "partitions"))] = str(settings.kafka.partitions)
    server = settings.server
    logs = settings.data_dir / "logs"
    receivers = {row.name: _listener(row, row.section(settings)) for row in RECEIVERS if row.listens(settings)}
    at_once = environ.get("DEMO", "") not in ("", "0")
    if at_once and "otlp_grpc" not in receivers:
        raise StandaloneError("DEMO: the demo sends OTLP over gRPC, and that receiver is off: set its endpoint")
    api = Listener(
        "query API",
        server.http_listen_address,
        server.http_listen_port,
        "PORT (server.http_listen_port)",
        tls=bool(server.http_tls_config.cert_file),
        only_with_certificate=bool(server.http_tls_config.client_ca_file),
    )
    taken = {api.port, *(one.port for one in receivers.values()), *([own_port] if own_port else ())}
    own, internal = _worker_listeners(count, taken)
    envs = [env] if count == 1 else worker_environments(env, own, internal)
    return RunPlan(
        data_dir=settings.data_dir,
        kafka=kafka,
        own_kafka_port=own_port,
        api=api,
        receivers=receivers,
        optional=frozenset(row.name for row in RECEIVERS if row.optional(settings)),
        workers=tuple(
            Command(
                "worker" if count == 1 else f"worker-{number}", _faust(settings.log_level), one, logs / "worker.log"
            )
            for number, one in enumerate(envs, 1)
        ),
        ready=tuple(own) or (api,),
        demo=_demo(receivers["otlp_grpc"], env, logs) if "otlp_grpc" in receivers else None,
        demo_at_once=at_once,
    )


def _worker_listeners(count: int, taken: Collection[int]) -> tuple[Sequence[Listener], Sequence[Listener]]:
    """Of each of several workers: where it alone serves the HTTP API, and where the other workers ask it. Only this
    machine reaches them.
    """
    ports: list[int] = []
    while count > 1 and len(ports) < 2 * count:
        ports.append(free_port(avoid={*taken, *ports}))
    found = [Listener(f"worker {n // 2 + 1}", "127.0.0.1", port, "") for n, port in enumerate(ports)]
    return found[::2], found[1::2]


def worker_environments(
    env: Mapping[str, str], own: Sequence[Listener], internal: Sequence[Listener]
) -> list[dict[str, str]]:
    """Workers that share ports, data folder and settings, and have numbers. own, internal: of `_worker_listeners`"""
    addresses = ",".join(one.local for one in own)
    return [
        {
            **env,
            variable(("worker",)): str(number),
            variable(("server", "reuse_port")): "true",
            variable(("server", "own_address")): http.local,
            variable(("server", "worker_addresses")): addresses,
            variable(("server", "grpc_listen_port")): str(grpc.port),
        }
        for number, (http, grpc) in enumerate(zip(own, internal, strict=True), 1)
    ]


def _own_kafka(settings: Settings, port: int) -> KafkaClient:
    if settings.kafka.tls.enabled or settings.kafka.sasl.mechanism:
        raise StandaloneError(
            "kafka.tls and kafka.sasl are for a Kafka that runs already: set KAFKA_URL to its address, or remove them"
        )
    return KafkaClient.plain(f"127.0.0.1:{port}")


def switch_of(data_dir: Path) -> Path:
    """Where the switch of the demo is."""
    return data_dir / "demo.on"


def embedded_kafka_port(settings: Settings, environ: Mapping[str, str]) -> int | None:
    """The port of the Kafka that `stretto run` starts; None: the settings name another one. Raises: StandaloneError"""
    return None if "address" in settings.kafka.model_fields_set else _own_port(environ)


def _own_port(environ: Mapping[str, str]) -> int:
    text = environ.get(KAFKA_PORT, "") or str(_KAFKA_PORT_DEFAULT)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise StandaloneError(f"{KAFKA_PORT}: expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _listener(row: ReceiverRow, section: Any) -> Listener:
    return Listener(
        row.label,
        *split_host_port(section.endpoint),
        f"{row.setting}.endpoint",
        tls=bool(getattr(section, "tls", NO_TLS).cert_file),
    )


def _faust(level: str) -> tuple[str, ...]:
    # Faust's own web server stays off: it would take one more port, open to other machines.
    options = f"-A app -L uvloop worker -l {level} --without-web"
    return (sys.executable, "-m", "faust", *options.split())


def _demo(to: Listener, env: Mapping[str, str], logs: Path) -> Command:
    argv = (sys.executable, "-m", "app.cli.demo", "--to", f"{'https://' if to.tls else ''}{to.local}")
    return Command("demo", argv, {**env, "PYTHONUNBUFFERED": "1"}, logs / "demo.log", show="all")
