"""tempopb.StreamingQuerier over gRPC: what Grafana asks where streaming is switched on.

Answers are exact, and Grafana keeps the first of what it is told twice. So nothing is sent that a later part would
correct: while a query runs, parts without rows say that it does; then come the rows, in as many parts as they need.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import grpc

from app.access import AUTHORIZATION, Access
from app.api import messages, metrics, search, tags
from app.api.backend import Backend
from app.api.call import Call
from app.api.errors import explain
from app.api.params import Limits
from app.api.proto import tempo_pb2 as pb
from app.api.telemetry import CLIENT_GONE, REQUEST_DURATION
from app.tenant import HEADER
from query.tag_text import INTRINSIC, parse_old_tag, parse_tag

SERVICE: Final = "tempopb.StreamingQuerier"
# A proxy takes a connection without data for dead after some time, often 10 s or more.
PROGRESS_S: Final = 1.0

# A status travels in a header, where most clients take 8 KB; a character may become 9 bytes.
_TEXT_CHARS_MAX: Final = 800

Message = Any
Parts = Callable[[], Iterator[Message]]

# HTTP status → gRPC code
CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    422: grpc.StatusCode.FAILED_PRECONDITION,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class Method:
    """request: its class. params: it as parameters of the HTTP API. ask: the question, and how its answer is made.

    progress: the part that only says that the query runs
    """

    request: Any
    params: Callable[[Any], dict[str, str]]
    ask: Callable[[Call], Awaitable[Parts]]
    progress: Message


async def _search(call: Call) -> Parts:
    result, span_sets = await search.ask_search(call)
    return lambda: messages.search_messages(result, span_sets=span_sets)


async def _range(call: Call) -> Parts:
    result = await metrics.ask_range(call)
    return lambda: messages.range_messages(result)


async def _instant(call: Call) -> Parts:
    result = await metrics.ask_instant(call)
    return lambda: messages.instant_messages(result)


async def _names(call: Call) -> Parts:
    names = await tags.ask_names(call)
    return lambda: messages.names_messages(names, intrinsic=call.params.get("scope") == INTRINSIC)


async def _names_v2(call: Call) -> Parts:
    names = await tags.ask_names(call)
    return lambda: messages.names_v2_messages(names)


async def _values(call: Call) -> Parts:
    values = await tags.ask_values(call, parse_old_tag(call.params["tag"]))
    return lambda: messages.values_messages(values)


async def _values_v2(call: Call) -> Parts:
    values = await tags.ask_values(call, (parse_tag(call.params["tag"]),))
    return lambda: messages.values_v2_messages(values)


def _texts(**fields: Any) -> dict[str, str]:
    """Fields of a message as parameters: one that is zero is not there."""
    return {name: str(value) for name, value in fields.items() if value}


def _search_params(asked: pb.SearchRequest) -> dict[str, str]:
    escaped = {key: value.replace("\\", "\\\\").replace('"', '\\"') for key, value in asked.Tags.items()}
    return _texts(
        q=asked.Query,
        tags=" ".join(f'{key}="{value}"' for key, value in escaped.items()),
        minDuration=asked.MinDurationMs and f"{asked.MinDurationMs}ms",
        maxDuration=asked.MaxDurationMs and f"{asked.MaxDurationMs}ms",
        limit=asked.Limit,
        start=asked.start,
        end=asked.end,
        spss=asked.SpansPerSpanSet,
    )


def _range_params(asked: pb.QueryRangeRequest) -> dict[str, str]:
    step = asked.step and f"{asked.step}ns"
    return _texts(q=asked.query, start=asked.start, end=asked.end, step=step, exemplars=asked.exemplars)


def _instant_params(asked: pb.QueryInstantRequest) -> dict[str, str]:
    return _texts(q=asked.query, start=asked.start, end=asked.end)


def _names_params(asked: pb.SearchTagsRequest) -> dict[str, str]:
    return _texts(scope=asked.scope, q=asked.query, start=asked.start, end=asked.end, limit=asked.maxTagsPerScope)


def _values_params(asked: pb.SearchTagValuesRequest) -> dict[str, str]:
    # The name also where it is empty: no tag is called so, and the error says it.
    found = _texts(q=asked.query, start=asked.start, end=asked.end, limit=asked.maxTagValues)
    return {"tag": asked.tagName, **found}


_NO_METRICS: Final = pb.SearchMetrics()
_NO_METADATA: Final = pb.MetadataMetrics()
METHODS: Final[Mapping[str, Method]] = {
    "Search": Method(pb.SearchRequest, _search_params, _search, pb.SearchResponse(metrics=_NO_METRICS)),
    "SearchTags": Method(pb.SearchTagsRequest, _names_params, _names, pb.SearchTagsResponse(metrics=_NO_METADATA)),
    "SearchTagsV2": Method(
        pb.SearchTagsRequest, _names_params, _names_v2, pb.SearchTagsV2Response(metrics=_NO_METADATA)
    ),
    "SearchTagValues": Method(
        pb.SearchTagValuesRequest, _values_params, _values, pb.SearchTagValuesResponse(metrics=_NO_METADATA)
    ),
    "SearchTagValuesV2": Method(
        pb.SearchTagValuesRequest, _values_params, _values_v2, pb.SearchTagValuesV2Response(metrics=_NO_METADATA)
    ),
    "MetricsQueryRange": Method(
        pb.QueryRangeRequest, _range_params, _range, pb.QueryRangeResponse(metrics=_NO_METRICS)
    ),
    "MetricsQueryInstant": Method(
        pb.QueryInstantRequest, _instant_params, _instant, pb.QueryInstantResponse(metrics=_NO_METRICS)
    ),
}


class StreamingQuerier(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types here
    """Answers METHODS; all others are UNIMPLEMENTED."""

    def __init__(self, backend: Backend, limits: Limits, access: Access) -> None:
        self._backend, self._limits, self._access = backend, limits, access
        self._handlers = {f"/{SERVICE}/{name}": self._handler(name, method) for name, method in METHODS.items()}

    def service(self, details: Any) -> Any:
        """Which handler answers a method."""
        return self._handlers.get(details.method)

    def _handler(self, name: str, method: Method) -> Any:
        async def handle(request: Any, context: Any) -> AsyncIterator[bytes]:
            start_s, status = time.perf_counter(), CLIENT_GONE
            try:
                async for part in self._answer(method, request, context):
                    yield part
                status = 200
            except _Refused as refused:
                status, text = refused.status, refused.text
                await context.abort(CODES[status], text[:_TEXT_CHARS_MAX])
            finally:
                took_s = time.perf_counter() - start_s
                REQUEST_DURATION.labels("gRPC", f"/{SERVICE}/{name}", str(status)).observe(took_s)

        return grpc.unary_stream_rpc_method_handler(handle, request_deserializer=method.request.FromString)

    async def _answer(self, method: Method, request: Any, context: Any) -> AsyncIterator[bytes]:
        """The parts. Raises: _Refused"""
        headers = dict(context.invocation_metadata() or ())
        asking: asyncio.Future[Parts] | None = None
        try:
            tenant = self._access.tenant(headers.get(AUTHORIZATION.lower()), headers.get(HEADER.lower()))
            call = Call(self._backend, self._limits, tenant, method.params(request))
            asking = asyncio.ensure_future(method.ask(call))
            while not (await asyncio.wait([asking], timeout=PROGRESS_S))[0]:
                yield method.progress.SerializeToString()
            parts = asking.result()()
            # Made off the event loop, and each only when the one before is sent.
            while (part := await asyncio.to_thread(_next, parts)) is not None:
                yield part
        except Exception as err:
            raise _Refused(*explain(err, f"gRPC {method.request.__name__}")) from err
        finally:
            if asking is not None:
                asking.cancel()


class _Refused(Exception):  # noqa: N818 (says what it is)
    """status: as over HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def _next(parts: Iterator[Message]) -> bytes | None:
    part = next(parts, None)
    return None if part is None else part.SerializeToString()


def build_streaming(backend: Backend, limits: Limits, access: Access) -> Any:
    """A grpc.aio server, not started, without a port."""
    server = grpc.aio.server(
        options=[
            # A byte of a query is a byte here; tags and the rest fit besides.
            ("grpc.max_receive_message_length", 2 * limits.max_query_bytes + (64 << 10)),
            ("grpc.max_concurrent_streams", 1000),
            # Two workers on one port would each get half of the requests, unnoticed.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((StreamingQuerier(backend, limits, access),))
    return server
