"""Settings and environment → what `stretto run` starts, and where it listens."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.api.page.page_config import DEMO_SWITCH
from app.receivers.table import RECEIVERS, ReceiverRow
from app.settings import Settings
from app.settings.server import Tls
from app.standalone.child import Command
from app.standalone.errors import StandaloneError
from app.standalone.ports import Listener

# The port of the embedded Kafka instead of 9092. KAFKA_URL means another Kafka.
KAFKA_PORT: Final = "EMBEDDED_KAFKA_PORT"
_KAFKA_PORT_DEFAULT: Final = 9092
NO_TLS: Final = Tls()


@dataclass(frozen=True, slots=True)
class RunPlan:
    data_dir: Path
    brokers: tuple[str, ...]  # host:port
    own_kafka_port: int | None  # None: the Kafka of `brokers` is somebody else's
    api: Listener
    receivers: Mapping[str, Listener]  # those that are on, by the name in `app.receivers.table`
    optional: frozenset[str]  # of them those that the process goes on without where their address is taken
    worker: Command
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


def make(settings: Settings, environ: Mapping[str, str]) -> RunPlan:
    """The plan. Raises: StandaloneError for an invalid port"""
    own_port = None if "address" in settings.kafka.model_fields_set else _own_port(environ)
    brokers = settings.kafka.address if own_port is None else (f"127.0.0.1:{own_port}",)
    env = {
        **environ,
        "TARGET": settings.target,
        "STRETTO_DATA_DIR": str(settings.data_dir),
        DEMO_SWITCH: str(switch_of(settings.data_dir)),
    }
    if own_port is not None:
        env["KAFKA_URL"] = f"kafka://{brokers[0]}"
    server = settings.server
    logs = settings.data_dir / "logs"
    receivers = {row.name: _listener(row, row.section(settings)) for row in RECEIVERS if row.listens(settings)}
    return RunPlan(
        data_dir=settings.data_dir,
        brokers=tuple(brokers),
        own_kafka_port=own_port,
        api=Listener(
            "query API",
            server.http_listen_address,
            server.http_listen_port,
            "PORT (server.http_listen_port)",
            tls=bool(server.http_tls_config.cert_file),
            only_with_certificate=bool(server.http_tls_config.client_ca_file),
        ),
        receivers=receivers,
        optional=frozenset(row.name for row in RECEIVERS if row.optional(settings)),
        worker=Command("worker", _faust(settings.log_level), env, logs / "worker.log"),
        demo=_demo(receivers["otlp_grpc"], env, logs) if "otlp_grpc" in receivers else None,
        demo_at_once=environ.get("DEMO", "") not in ("", "0"),
    )


def switch_of(data_dir: Path) -> Path:
    """Where the switch of the demo is."""
    return data_dir / "demo.on"


def _own_port(environ: Mapping[str, str]) -> int:
    text = environ.get(KAFKA_PORT, "") or str(_KAFKA_PORT_DEFAULT)
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise StandaloneError(f"{KAFKA_PORT}: expected a port from 1 to 65535, got {text!r}")
    return int(text)


def _listener(row: ReceiverRow, section: Any) -> Listener:
    host, _, port = section.endpoint.rpartition(":")
    return Listener(
        row.label,
        host.strip("[]"),
        int(port),
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
