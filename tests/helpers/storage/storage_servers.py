"""Object storages on loopback: S3 (moto), GCS (moto behind a translation), Azure (Azurite), and a folder."""

import base64
import hashlib
import hmac
import http.client
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from app.process.storage import anonymous_key
from tables.storage.config import Backend, StorageConfig
from tests.harness.ports import own_port
from tests.helpers.files import ROOT
from tests.helpers.missing import skip_or_fail

BUCKET = "traces"
AZURE_ACCOUNT = "devstoreaccount1"
# Azurite's well-known key.
AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
_READY_S = 60.0
_AZURITE = ROOT / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"


@dataclass(frozen=True, slots=True)
class StorageServer:
    """A running storage. address: host:port; "" for a folder"""

    backend: Backend
    address: str
    place: str = BUCKET

    def config(self, prefix: str, address: str | None = None, **changes: Any) -> StorageConfig:
        """How to open it. address: of a proxy in front of it"""
        config = StorageConfig(self.backend, self.place, prefix, self._options(address or self.address))
        return replace(
            config, **{"read_timeout_s": 60.0, **changes}
        )  # a test must not fail because the machine is busy

    def _options(self, address: str) -> dict[str, Any]:
        client = {"client_options": {"allow_http": True}}
        match self.backend:
            case "local":
                return {}
            case "s3":
                keys = {"access_key_id": "id", "secret_access_key": "secret", "region": "us-east-1"}
                return {"endpoint": f"http://{address}", "virtual_hosted_style_request": False, **keys, **client}
            case "gcs":
                return {"service_account_key": anonymous_key(f"http://{address}"), **client}
            case "azure":
                account = {"account_name": AZURE_ACCOUNT, "account_key": AZURE_KEY}
                return {"endpoint": f"http://{address}/{AZURE_ACCOUNT}", **account, **client}


@contextmanager
def s3_server() -> Iterator[StorageServer]:
    """moto's S3, with a bucket."""
    with _wsgi(DomainDispatcherApplication(create_backend_app)) as address:
        _send(address, "PUT", f"/{BUCKET}")
        yield StorageServer("s3", address)


@contextmanager
def gcs_server() -> Iterator[StorageServer]:
    """GCS' XML interface over moto's S3: the same but for the generations of objects, on which conditions depend."""
    with _wsgi(GcsOverS3(DomainDispatcherApplication(create_backend_app))) as address:
        _send(address, "PUT", f"/{BUCKET}")
        yield StorageServer("gcs", address)


class GcsOverS3:
    """A WSGI application."""

    def __init__(self, s3: Callable[..., Any]) -> None:
        self._s3 = s3
        self._generations: dict[str, int] = {}
        self._last = 1000
        self._lock = threading.RLock()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        # Without it moto takes a request for one of another service.
        credential = "Credential=a/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x"
        environ["HTTP_AUTHORIZATION"] = f"AWS4-HMAC-SHA256 {credential}"
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]
        if method not in ("PUT", "DELETE", "HEAD") or environ.get("QUERY_STRING", "").startswith("uploadId"):
            return self._answer(environ, start_response)
        with self._lock:  # a condition and its write are one; tag and generation are of the same object
            wanted = environ.get("HTTP_X_GOOG_IF_GENERATION_MATCH")
            if method == "PUT" and wanted is not None and int(wanted) != self._generations.get(path, 0):
                start_response("412 Precondition Failed", [("Content-Type", "application/xml")])
                return [b"<Error><Code>PreconditionFailed</Code></Error>"]
            if method == "DELETE" and path not in self._generations:
                start_response("404 Not Found", [("Content-Type", "application/xml")])
                return [b"<Error><Code>NoSuchKey</Code></Error>"]
            return self._answer(environ, start_response)

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        path, method = environ["PATH_INFO"], environ["REQUEST_METHOD"]

        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            with self._lock:
                if status.startswith("2") and method == "DELETE":
                    self._generations.pop(path, None)
                elif status.startswith("2") and method in ("PUT", "POST"):  # POST: the end of an upload in parts
                    self._last += 1
                    self._generations[path] = self._last
            known = [("x-goog-generation", str(self._generations[path]))] if path in self._generations else []
            return start_response(status, [*headers, *known], *more)

        return self._s3(environ, start)


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """Says nothing: pytest shows what matters."""


@contextmanager
def _wsgi(application: Any) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def azure_server(folder: Path) -> Iterator[StorageServer]:
    """Azurite, with a container. Without it the test is skipped; in CI (variable CI is set) it fails."""
    node = shutil.which("node", path=f"{ROOT / 'build' / 'node' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if node is None or not _AZURITE.exists():
        skip_or_fail("Azurite is not there: `make test` installs it with npm (Debian, Ubuntu: apt-get install npm)")
    port = own_port()
    # It knows no version of the interface that is newer than itself.
    options = ["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--location", str(folder)]
    process = subprocess.Popen(
        [node, str(_AZURITE), "--blobHost", "127.0.0.1", "--blobPort", str(port), *options],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port, process)
        address = f"127.0.0.1:{port}"
        _make_container(address)
        yield StorageServer("azure", address)
    finally:
        process.kill()
        process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end_s = time.monotonic() + _READY_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > end_s:
                pytest.fail("Azurite does not start")
            time.sleep(0.05)
        else:
            return


def _make_container(address: str) -> None:
    path = f"/{AZURE_ACCOUNT}/{BUCKET}"
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:2021-12-02\n"
    # The account stands twice, because it is in the path, too.
    signed = f"PUT\n\n\n\n\n\n\n\n\n\n\n\n{headers}/{AZURE_ACCOUNT}{path}\nrestype:container"
    digest = hmac.new(base64.b64decode(AZURE_KEY), signed.encode(), hashlib.sha256).digest()
    authorization = f"SharedKey {AZURE_ACCOUNT}:{base64.b64encode(digest).decode()}"
    sent = {"x-ms-date": date, "x-ms-version": "2021-12-02", "Authorization": authorization, "Content-Length": "0"}
    _send(address, "PUT", f"{path}?restype=container", sent)


def azure_sas(permissions: str) -> str:
    """A shared access signature for the container, as a portal makes it."""
    begin, end, version = "2020-01-01T00:00:00Z", "2099-01-01T00:00:00Z", "2021-12-02"
    resource = f"/blob/{AZURE_ACCOUNT}/{BUCKET}"
    parts = [permissions, begin, end, resource, "", "", "https,http", version, "c", *[""] * 7]
    digest = hmac.new(base64.b64decode(AZURE_KEY), "\n".join(parts).encode(), hashlib.sha256).digest()
    signature = base64.b64encode(digest).decode().replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    times = f"st={begin}&se={end}".replace(":", "%3A")
    return f"sv={version}&{times}&sr=c&sp={permissions}&spr=https%2Chttp&sig={signature}"


def _send(address: str, method: str, path: str, headers: dict[str, str] | None = None) -> None:
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status < 300, body
    finally:
        connection.close()
