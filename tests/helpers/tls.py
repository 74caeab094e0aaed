"""Certificates, and receivers that use them."""

import asyncio
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from agents.distributor.span_writer import Outcome, Request
from app.settings import Settings
from app.targets.receiver_servers import ReceiverServers
from tests.harness.ports import own_ports
from tests.helpers.receiving.limits import tenancy_without_limits

POLL_S = 0.05


class Pair(NamedTuple):
    cert: Path
    key: Path


class Authority:
    """Makes certificates for 127.0.0.1."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir()
        self._folder = folder
        self.pair = Pair(folder / "ca.pem", folder / "ca.key")
        _openssl("req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", *_out(self.pair))

    @property
    def cert(self) -> Path:
        return self.pair.cert

    def issue(self, name: str) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        _openssl("req", "-new", *_KEY, "-subj", f"/CN={name}", "-keyout", str(pair.key), "-out", str(request))
        extensions = self._folder / "extensions"
        extensions.write_text("subjectAltName=IP:127.0.0.1\n")
        by = ("-CA", str(self.pair.cert), "-CAkey", str(self.pair.key), "-CAcreateserial", "-days", "2")
        _openssl("x509", "-req", "-in", str(request), *by, "-extfile", str(extensions), "-out", str(pair.cert))
        return pair


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _out(pair: Pair) -> tuple[str, ...]:
    return "-keyout", str(pair.key), "-out", str(pair.cert)


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Writer:
    """In place of Kafka."""

    def __init__(self) -> None:
        self.got: list[Request] = []

    async def start(self) -> None:
        pass

    async def stop(self, within_s: float) -> None:
        pass

    async def write(self, requests: list[Request]) -> list[Outcome]:
        self.got += requests
        return [Outcome(1)] * len(requests)


def receiving(use: Callable[[str, str], Awaitable[None]], tls: dict[str, str], **server: object) -> Writer:
    """Runs `use(address of gRPC, of HTTP)` while the receivers run."""
    writer = Writer()

    async def main() -> None:
        grpc_at, http_at = (f"127.0.0.1:{port}" for port in own_ports(2))
        protocols = {"grpc": {"endpoint": grpc_at, "tls": tls}, "http": {"endpoint": http_at, "tls": tls}}
        settings = Settings.model_validate(
            {
                "server": {"file_poll_s": POLL_S, **server},
                "distributor": {"receivers": {"otlp": {"protocols": protocols}}},
            }
        )
        servers = ReceiverServers(settings, writer, tenancy_without_limits())  # type: ignore[arg-type]
        await servers.on_start()
        try:
            async with asyncio.timeout(60):
                await use(grpc_at, http_at)
        finally:
            await servers.on_stop()

    asyncio.run(main())
    return writer


def in_settings(pair: Pair, ca: Path | None = None) -> dict[str, str]:
    return {"cert_file": str(pair.cert), "key_file": str(pair.key), "client_ca_file": str(ca or "")}
