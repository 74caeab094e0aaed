"""GET /api/search/stream: a search whose answer comes in lines of JSON, the first as soon as traces are known.

Each line is an answer as of /api/search: traces that no line before has, and how far the search is. As over gRPC,
nothing is sent that a later line corrects. The last line has `"done": true`, and the cursor of the next page.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import orjson
from aiohttp import web

from app.api import params
from app.api.call import Call, call_of
from app.api.errors import explain
from app.api.partial import observer_of
from app.api.replies import made_on_thread
from app.api.tempo.latest_value import LatestValue
from app.api.tempo.search import search_json
from query.results import SearchResult
from query.scan.progress import Progress

routes = web.RouteTableDef()

PARTIAL_S: Final = 0.15
# A line without traces says that the search runs: proxies take a silent connection for dead.
PROGRESS_S: Final = 1.0
_TYPE: Final = "application/x-ndjson"
_STILL: Final = b'{"traces":[]}'


@routes.get("/api/search/stream")
async def search_stream(request: web.Request) -> web.StreamResponse:
    """The parameters of /api/search. An error before the first line has its HTTP status; later it is the last line."""
    call = call_of(request)
    asked, latest = params.search_request(call.params, call.limits), LatestValue[SearchResult]()
    observer = observer_of(call, Progress(latest.put, PARTIAL_S))
    asking = asyncio.ensure_future(call.backend.search(call.tenant, asked, observer))
    asking.add_done_callback(lambda _: latest.wake())
    try:
        return await _Lines(request, call, observer.missing_data).send(asking, latest)
    finally:
        asking.cancel()


class _Lines:
    """The answer to one request."""

    def __init__(self, request: web.Request, call: Call, missing: list[str] | None) -> None:
        self._request, self._call, self._missing = request, call, missing
        self._shows = params.shows_span_sets(call.params)
        self._sent = 0  # traces
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Content-Type-Options": "nosniff"}
        self._response = web.StreamResponse(headers={**headers, "Content-Type": _TYPE})

    async def send(
        self, asking: "asyncio.Future[SearchResult]", latest: LatestValue[SearchResult]
    ) -> web.StreamResponse:
        """Lines until the search has ended. Raises: what it raises, as long as there was no line"""
        try:
            while True:
                early = await latest.take(PROGRESS_S)
                if asking.done():
                    break
                await (self._write([_STILL]) if early is None else self._line(early, {}))
            await self._line(asking.result(), {"done": True, **self._partial()})
        except Exception as err:
            if not self._response.prepared or isinstance(err, ConnectionError):
                raise
            status, text = explain(err, "GET /api/search/stream")
            await self._write([orjson.dumps({"error": {"status": status, "message": text}})])
        await self._response.write_eof()
        return self._response

    async def _line(self, result: SearchResult, more: dict[str, Any]) -> None:
        """Writes what of a result is new: made on a thread, whole, in pieces that are counted until they are sent.

        Raises: MemoryExceeded; as `Making.go_on`
        """
        fresh = replace(result, traces=result.traces[self._sent :])
        self._sent = len(result.traces)

        def make() -> Iterator[bytes]:
            return _with(search_json(fresh, span_sets=self._shows), more)

        call = self._call
        pieces, _, holder = await made_on_thread(call.backend, make, call.limits.timeout_s, packs=False)
        try:
            await self._write(pieces)
        finally:
            if holder is not None:
                holder.close()

    def _partial(self) -> dict[str, str]:
        return {"status": "PARTIAL", "message": "; ".join(self._missing)} if self._missing else {}

    async def _write(self, pieces: Sequence[bytes]) -> None:
        if not self._response.prepared:
            await self._response.prepare(self._request)
        for piece in pieces[:-1]:
            await self._response.write(piece)
        await self._response.write(pieces[-1] + b"\n")


def _with(parts: Iterator[bytes], more: dict[str, Any]) -> Iterator[bytes]:
    """The parts of a JSON object, with more in it."""
    last = next(parts)
    for part in parts:
        yield last
        last = part
    yield last[:-1] + b"," + orjson.dumps(more)[1:] if more else last
