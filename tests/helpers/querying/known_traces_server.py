"""A server that takes traces by OTLP/HTTP and answers Tempo's API with the real engine; tests can make it lie."""

import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from tests.helpers.live.whole_way import Way
from tests.helpers.querying.api import api_over
from tests.helpers.querying.engine import Engine

Lie = Callable[[str, Any], Any]


class KnownTracesServer:
    """lie: path and JSON of an answer → the JSON that is sent instead, or a text that is no JSON"""

    def __init__(self, lie: Lie | None = None) -> None:
        self.requests: list[bytes] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.headers: list[dict[str, str]] = []
        self.refuses: int | None = None  # the status of the answers to writes
        self._lie, self._engine = lie, Engine([])

    @property
    def app(self) -> web.Application:
        """A new one each time: it belongs to the event loop that serves it."""
        app = api_over(self._engine)
        app.router.add_post("/v1/traces", self._take)
        app.middlewares.insert(0, self._answer)
        return app

    async def _take(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        if self.refuses is not None:
            return web.Response(status=self.refuses, text="not now")
        self.requests.append(await request.read())
        self._engine._sources = [Way(*self.requests).source]
        return web.Response(content_type="application/x-protobuf")

    @web.middleware
    async def _answer(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        answer = await handler(request)
        if request.method != "GET":
            return answer
        self.asked.append((request.path, dict(request.query)))
        assert isinstance(answer, web.Response)
        if self._lie is None or answer.status != 200 or not isinstance(answer.body, bytes):
            return answer
        packed = answer.headers.get("Content-Encoding") == "gzip"
        lied = self._lie(request.path, json.loads(gzip.decompress(answer.body) if packed else answer.body))
        return web.Response(text=lied if isinstance(lied, str) else json.dumps(lied), content_type="application/json")
