"""tempopb.StreamingQuerier over gRPC: what Grafana asks where streaming is switched on.

While a query runs, messages say how far it is, with those rows of the answer that are final; then comes the whole
answer, in as many messages as it needs. Nothing is sent that a later message corrects: Grafana keeps what it was told
first of a trace, and never drops one. Of an instant metrics query it keeps the last message only, which is therefore
the whole answer; where that is more than clients take, the stream ends with an error that says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import grpc

from app.api import params
from app.api.backend import Backend
from app.api.call import Call
from app.api.errors import MessageTooLarge, explain
from app.api.params import Limits
from app.api.proto import tempo_pb2 as pb
from app.api.telemetry import CLIENT_GONE, REQUEST_DURATION
from app.api.tempo import messages, metrics, search, tags
from app.net.access import Access, Identity
from query import memory
from query.results import MetricsResult, SearchResult
from query.scan.progress import Progress, Watch
from query.tags.tag_text import INTRINSIC, parse_old_tag, parse_tag

SERVICE: Final = "tempopb.StreamingQuerier"
# A proxy takes a connection without data for dead after some time, often 10 s or more.
PROGRESS_S: Final = 1.0
# Rows that are known before the end are sent not more often than that.
PARTIAL_S: Final = 0.2

# A status travels in a header, where most clients take 8 KB; a character may become 9 bytes.
_TEXT_CHARS_MAX: Final = 800

Message = Any
Result = Any

# HTTP status → gRPC code
CODES: Final[Mapping[int, grpc.StatusCode]] = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.RESOURCE_EXHAUSTED,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    500: grpc.StatusCode.INTERNAL,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True, slots=True)
class Method:
    """request: its class. params: it as parameters of the HTTP API. ask: the question; messages: its answer's

    progress: the message that only says that the query runs, where nothing more is known
    since: what of a result is new to one who knows an earlier one
    """

    request: Any
    params: Callable[[Any], dict[str, str]]
    ask: Callable[[Call, Watch], Awaitable[Result]]
    messages: Callable[[Call, Result], Iterator[Message]]
    progress: Message
    since: Callable[[Result, Result], Result] = lambda result, _: result


async def _search(call: Call, watch: Watch) -> SearchResult:
    return await search.ask_search(call, params.search_request(call.params, call.limits), watch)


def _search_messages(call: Call, result: SearchResult) -> Iterator[Message]:
    span_sets = params.search_request(call.params, call.limits).span_sets
    return messages.search_messages(result, span_sets=span_sets)


def _new_traces(result: SearchResult, known: SearchResult) -> SearchResult:
    return replace(result, traces=result.traces[len(known.traces) :])


def _range_messages(_: Call, result: MetricsResult) -> Iterator[Message]:
    return metrics.last_use(messages.range_messages(result), result)


def _instant_messages(_: Call, result: MetricsResult) -> Iterator[Message]:
    parts = metrics.last_use(messages.instant_messages(result), result)
    return iter([messages.Whole(part.SerializeToString() for part in parts)])


async def _names(call: Call, _: Watch) -> Result:
    return await tags.ask_names(call)


def _names_messages(call: Call, names: Result) -> Iterator[Message]:
    return messages.names_messages(names, intrinsic=call.params.get("scope") == INTRINSIC)


def _names_v2_messages(_: Call, names: Result) -> Iterator[Message]:
    return messages.names_v2_messages(names)


async def _values(call: Call, _: Watch) -> Result:
    return await tags.ask_values(call, parse_old_tag(call.params["tag"]))


def _values_messages(_: Call, values: Result) -> Iterator[Message]:
    return messages.values_messages(values)


async def _values_v2(call: Call, _: Watch) -> Result:
    return await tags.ask_values(call, (parse_tag(call.params["tag"]),))


def _values_v2_messages(_: Call, values: Result) -> Iterator[Message]:
    return messages.values_v2_messages(values)


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
    "Search": Method(
        pb.SearchRequest,
        _search_params,
        _search,
        _search_messages,
        pb.SearchResponse(metrics=_NO_METRICS),
        _new_traces,
    ),
    "SearchTags": Method(
        pb.SearchTagsRequest, _names_params, _names, _names_messages, pb.SearchTagsResponse(metrics=_NO_METADATA)
    ),
    "SearchTagsV2": Method(
        pb.SearchTagsRequest, _names_params, _names, _names_v2_messages, pb.SearchTagsV2Response(metrics=_NO_METADATA)
    ),
    "SearchTagValues": Method(
        pb.SearchTagValuesRequest,
        _values_params,
        _values,
        _values_messages,
        pb.SearchTagValuesResponse(metrics=_NO_METADATA),
    ),
    "SearchTagValuesV2": Method(
        pb.SearchTagValuesRequest,
        _values_params,
        _values_v2,
        _values_v2_messages,
        pb.SearchTagValuesV2Response(metrics=_NO_METADATA),
    ),
    "MetricsQueryRange": Method(
        pb.QueryRangeRequest,
        _range_params,
        metrics.ask_range,
        _range_messages,
        pb.QueryRangeResponse(metrics=_NO_METRICS),
    ),
    "MetricsQueryInstant": Method(
        pb.QueryInstantRequest,
        _instant_params,
        metrics.ask_instant,
        _instant_messages,
        pb.QueryInstantResponse(metrics=_NO_METRICS),
    ),
}


class News:
    """The latest that a query told, from its thread, until somebody takes it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._there = asyncio.Event()
        self._latest: Result | None = None

    def tell(self, result: Result) -> None:
        """On any thread."""
        self._latest = result
        self.wake()

    def wake(self) -> None:
        """On any thread: ends a `wait`."""
        with suppress(RuntimeError):  # the server has stopped
            self._loop.call_soon_threadsafe(self._there.set)

    async def wait(self, timeout_s: float) -> Result | None:
        """What was told since the last time; None: nothing."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._there.wait()
        self._there.clear()
        latest, self._latest = self._latest, None
        return latest


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
            start_s, status, text = time.perf_counter(), CLIENT_GONE, ""
            try:
                try:
                    with memory.request():
                        async for part in self._answer(method, request, context):
                            yield part
                    status = 200
                except _Refused as refused:
                    status, text = refused.status, refused.text
                if status != 200:
                    # Not in the handler of the other one, or grpc, which keeps this error, would keep that, too.
                    await context.abort(CODES[status], text[:_TEXT_CHARS_MAX])
            finally:
                took_s = time.perf_counter() - start_s
                REQUEST_DURATION.labels("gRPC", f"/{SERVICE}/{name}", str(status)).observe(took_s)

        return grpc.unary_stream_rpc_method_handler(handle, request_deserializer=method.request.FromString)

    async def _answer(self, method: Method, request: Any, context: Any) -> AsyncIterator[bytes]:
        """The messages. Raises: _Refused"""
        asking: asyncio.Future[Result] | None = None
        problem: tuple[int, str] | None = None
        try:
            tenant = self._access.tenant(*Identity.of(context.invocation_metadata() or ()))
            call = Call(self._backend, self._limits, tenant, method.params(request))
            news = News()
            asking = asyncio.ensure_future(method.ask(call, Watch(progress=Progress(news.tell, PARTIAL_S))))
            asking.add_done_callback(lambda _: news.wake())
            async for message in _early(method, call, asking, news):
                yield message
            async for message in _serialized(call, method.messages(call, asking.result())):
                yield message
        except Exception as err:  # noqa: BLE001 (as over HTTP)
            problem = explain(err, f"gRPC {method.request.__name__}")
        finally:
            if asking is not None:
                asking.cancel()
            # The task knows its error, whose traceback knows this function: a cycle that would keep what the query had.
            asking = None
        if problem is not None:
            raise _Refused(*problem)


async def _early(method: Method, call: Call, asking: asyncio.Future[Result], news: News) -> AsyncIterator[bytes]:
    """Until the answer is there: the rows that are known, and from time to time that the query runs."""
    idle, known = method.progress, None
    while True:
        result = await news.wait(PROGRESS_S)
        if result is not None:
            fresh = result if known is None else method.since(result, known)
            known = result
            async for message in _serialized(call, method.messages(call, fresh)):
                idle = method.progress.FromString(message)
                yield message
            idle = type(idle)(metrics=idle.metrics)
        elif not asking.done():
            yield idle.SerializeToString()
        if asking.done():
            return


async def _serialized(call: Call, parts: Iterator[Message]) -> AsyncIterator[bytes]:
    """Made off the event loop, and each only when the one before is sent. Raises: MessageTooLarge"""
    while (part := await call.backend.beside(partial(_next, parts))) is not None:
        if len(part) > call.limits.max_message_bytes:
            raise MessageTooLarge(len(part), call.limits.max_message_bytes)
        yield part


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
