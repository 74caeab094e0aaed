"""One request of aiohttp to an ASGI application whose answers are not streams."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from aiohttp import web

Message = MutableMapping[str, Any]
AsgiApp = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]

# Where the application finds the request in its scope.
REQUEST: Final = "stretto.request"
# aiohttp makes these itself.
_OWN_HEADERS: Final = frozenset({"content-length", "transfer-encoding", "connection", "date", "server"})


async def ask_asgi(app: AsgiApp, request: web.Request, body: bytes) -> web.Response:
    """The application's answer, whole."""
    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.rel_url.raw_path.encode("ascii"),
        "query_string": request.query_string.encode("utf-8"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": None,
        "server": None,
        REQUEST: request,
    }
    sent: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    status, headers, parts = 500, [], []

    async def receive() -> Message:
        return sent.pop() if sent else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message.get("headers", []))
        elif message["type"] == "http.response.body":
            parts.append(message.get("body", b""))

    await app(scope, receive, send)
    kept = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
    kept = [(name, value) for name, value in kept if name.lower() not in _OWN_HEADERS]
    return web.Response(status=status, body=b"".join(parts), headers=dict(kept))
