"""HTTP receivers of other protocols than OTLP: body in, translated to an OTLP request, then OTLP's way.

Clients get 202 once Kafka has acknowledged the spans, and a text that says what is wrong otherwise. Spans that are
rejected one by one, for lack of a valid id or because of a limit, are counted and named in a header, since these
protocols have no partial success.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

from aiohttp import web

from agents.distributor.span_writer import Outcome
from app.net.http_errors import errors_as_responses
from app.net.request_metrics import observed, tempo_route
from app.receivers.http_body import BodyLimits
from app.receivers.http_export import INVALID_ARGUMENT, REFUSED, HttpExport, Refusal, SizeLimit, UnknownContentType
from app.receivers.input_budget import InputBytes
from app.receivers.receiver import ReceiverContext
from app.receivers.translation import Translation
from app.settings.sections.receivers import HttpReceiver

REJECTED_HEADER: Final = "X-Stretto-Rejected-Spans"


class SpanPath(NamedTuple):
    """A path. types: what translates a body, by its Content-Type; the first also takes bodies without one"""

    path: str
    types: Mapping[str, Translation]


def http_export(section: HttpReceiver, setting: str, shared: ReceiverContext) -> HttpExport:
    """As a section of the settings says."""
    size = section.max_request_body_size
    limits = BodyLimits(size, size, section.read_timeout_s, shared.costs, shared.body_threads)
    return HttpExport(shared.batcher, shared.access, shared.budget, limits, setting)


class _Threads:
    """Threads of one receiver: some decompress, one translates, since that holds the GIL anyway."""

    def __init__(self, count: int) -> None:
        self.bodies, self.translation = ThreadPoolExecutor(count, "body"), ThreadPoolExecutor(1, "translate")

    async def close(self, _: web.Application) -> None:
        for threads in (self.bodies, self.translation):
            threads.shutdown(wait=False, cancel_futures=True)


def build_translating_http(endpoints: Sequence[SpanPath], taking: HttpExport) -> web.Application:
    """An aiohttp application that takes POST requests at the endpoints, not started."""
    app, threads = web.Application(middlewares=[errors_as_responses]), _Threads(taking.limits.threads)
    app.on_cleanup.append(threads.close)
    for endpoint in endpoints:
        handler = _Handler(endpoint, taking, threads)
        app.router.add_post(endpoint.path, observed(handler.export, tempo_route(endpoint.path)))
    return app


class _Handler:
    """Takes the requests of one endpoint."""

    def __init__(self, endpoint: SpanPath, taking: HttpExport, threads: _Threads) -> None:
        self._endpoint, self._taking, self._threads = endpoint, taking, threads
        self._most = SizeLimit(taking.limits.bytes_max, "max_request_body_size")

    async def export(self, request: web.Request) -> web.Response:
        """Handles one request with spans."""
        try:
            tenant = self._taking.tenant(request)
            translation = self._translation_of(request)

            async def to_otlp(body: bytes, held: InputBytes) -> bytes:
                return await translation.run(body, held, self._threads.translation)

            outcome = await self._taking.write(request, tenant, self._most, to_otlp, self._threads.bodies)
        except REFUSED as err:
            return _fault(self._taking.refusal(err, self._most))
        return _reply(outcome)

    def _translation_of(self, request: web.Request) -> Translation:
        types = self._endpoint.types
        if "Content-Type" not in request.headers:
            return next(iter(types.values()))
        found = types.get(request.content_type)
        if found is None:
            known = ", ".join(types)
            raise UnknownContentType(f"Content-Type {request.content_type[:80]!r} is not known; send one of {known}")
        return found


def _reply(outcome: Outcome) -> web.Response:
    if outcome.malformed is not None:
        return _fault(Refusal(400, INVALID_ARGUMENT, outcome.malformed))
    headers = {REJECTED_HEADER: str(outcome.left_out)} if outcome.left_out else {}
    return web.Response(status=202, headers=headers)


def _fault(refusal: Refusal) -> web.Response:
    return refusal.response(refusal.text + "\n")
