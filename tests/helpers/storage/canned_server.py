"""An HTTP server with fixed answers, which remembers what it was asked: a token service, a bucket."""

import http.server
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self


class Asked(NamedTuple):
    """headers: names in lower case"""

    method: str
    path: str
    headers: Mapping[str, str]
    body: str


class CannedServer:
    """answers: by the beginning of the path; the longest that fits counts. Use it in a `with`.

    certificate, key: of a server that speaks TLS
    """

    def __init__(self, answers: Mapping[str, str], certificate: Path | None = None, key: Path | None = None) -> None:
        self.answers = dict(answers)
        self._certificate, self._key = certificate, key
        self.asked: list[Asked] = []
        self._server: Any = None

    @property
    def url(self) -> str:
        return f"{'https' if self._certificate else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def of(self, path: str) -> list[Asked]:
        """What was asked below a path."""
        return [one for one in self.asked if one.path.startswith(path)]

    def __enter__(self) -> Self:
        handler = type("_BoundHandler", (_Handler,), {"canned": self})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate, self._key)
            # Each connection shakes hands on its own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    canned: ClassVar[CannedServer]

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # as the class above names it
        """Says nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except (ssl.SSLError, ConnectionError):
            return  # a client that does not trust the certificate

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.canned.asked.append(Asked(self.command, self.path, headers, body))
        fitting = [path for path in self.canned.answers if self.path.startswith(path)]
        answer = self.canned.answers[max(fitting, key=len)].encode() if fitting else b"there is no such thing"
        self.send_response(200 if fitting else 404)
        self.send_header("ETag", '"1"')
        self.send_header("Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815  # as http.server wants them
