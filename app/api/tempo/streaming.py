"""tempopb.StreamingQuerier over gRPC: what Grafana asks where streaming is switched on.

While a query runs, messages say how far it is, with those rows of the answer that are final; then comes the whole
answer, in as many messages as it needs. Nothing is sent that a later message corrects: Grafana keeps what it was told
first of a trace, and never drops one. Of an instant metrics query it keeps the last message only, which is therefore
the whole answer; where that is more than clients take, the stream ends with an error that says so.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from typing import Any, Final

import grpc

from agents import tracing
from app.api.backend import Backend
from app.api.call import PARTIAL_HEADER, Call, limits_of
from app.api.errors import MessageTooLarge, explain
from app.api.limits import ApiLimits, LimitsOf
from app.api.making import Making
from app.api.partial import header_text, observer_of
from app.api.telemetry import observe_call
from app.api.tempo import metrics, search, tags
from app.api.tempo.latest_value import LatestValue
from app.api.tempo.method import Message, Method
from app.net.access import Access, Identity
from app.net.request_metrics import CLIENT_GONE
from query import memory
from query.scan.progress import Progress

SERVICE: Final = "tempopb.StreamingQuerier"
# A proxy takes a connection without data for dead after some time, often 10 s or more.
PROGRESS_S: Final = 1.0
# Rows that are known before the end are sent not more often than that.
PARTIAL_S: Final = 0.2

# A status travels in a header, where most clients take 8 KB; a character may become 9 bytes.
_TEXT_CHARS_MAX: Final = 800

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


METHODS: Final[Mapping[str, Method[Any, Any]]] = {
    "Search": search.SEARCH,
    "SearchTags": tags.NAMES,
    "SearchTagsV2": tags.NAMES_V2,
    "SearchTagValues": tags.VALUES,
    "SearchTagValuesV2": tags.VALUES_V2,
    "MetricsQueryRange": metrics.RANGE,
    "MetricsQueryInstant": metrics.INSTANT,
}


class StreamingQuerier(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpc has no types here
    """Answers METHODS; all others are UNIMPLEMENTED."""

    def __init__(self, backend: Backend, limits: LimitsOf, access: Access) -> None:
        self._backend, self._limits, self._access = backend, limits, access
        self._handlers = {f"/{SERVICE}/{name}": self._handler(name, method) for name, method in METHODS.items()}

    def service(self, details: Any) -> Any:
        """The handler of a method; None: there is no such method."""
        return self._handlers.get(details.method)

    def _handler(self, name: str, method: Method[Any, Any]) -> Any:
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
                observe_call(f"/{SERVICE}/{name}", status, time.perf_counter() - start_s)

        return grpc.unary_stream_rpc_method_handler(handle, request_deserializer=method.message.FromString)

    async def _answer(self, method: Method[Any, Any], message: Any, context: Any) -> AsyncIterator[bytes]:
        """The messages of the answer, serialized. Raises: _Refused, whatever went wrong"""
        asking: asyncio.Future[Any] | None = None
        problem: tuple[int, str] | None = None
        try:
            metadata = context.invocation_metadata() or ()
            tracing.take_incoming(next((str(value) for name, value in metadata if name == tracing.TRACEPARENT), None))
            tenant = self._access.tenants(*Identity.of(metadata))
            limits = limits_of(tenant, self._limits)
            call = Call(self._backend, limits, tenant, method.params(message), _partial_header(context))
            request, latest = method.request(call.params, call.limits), LatestValue[Any]()
            observer, making = observer_of(call, Progress(latest.put, PARTIAL_S)), Making(call.limits.timeout_s)
            asking = asyncio.ensure_future(method.ask(call.backend)(call.tenant, request, observer))
            asking.add_done_callback(lambda _: latest.wake())
            async for part in _early(method, call, asking, latest):
                yield part
            async for part in _serialized(call, method.messages(call.params, asking.result()), making):
                yield part
            if observer.missing_data:
                context.set_trailing_metadata(((PARTIAL_HEADER.lower(), header_text(observer.missing_data)),))
        except Exception as err:  # noqa: BLE001 (as over HTTP)
            problem = explain(err, f"gRPC {method.message.__name__}")
        finally:
            if asking is not None:
                asking.cancel()
            # The task knows its error, whose traceback knows this function: a cycle that would keep what the query had.
            asking = None
        if problem is not None:
            raise _Refused(*problem)


def _partial_header(context: Any) -> str | None:
    """The value of X-Stretto-Partial in the metadata of a call; None: not sent."""
    found = [value for name, value in context.invocation_metadata() or () if name == PARTIAL_HEADER.lower()]
    return str(found[0]) if found else None


async def _early(
    method: Method[Any, Any], call: Call, asking: asyncio.Future[Any], latest: LatestValue[Any]
) -> AsyncIterator[bytes]:
    """Until the answer is there: the rows that are known, and from time to time that the query runs."""
    idle, known, making = method.progress, None, Making(call.limits.timeout_s)
    while True:
        result = await latest.take(PROGRESS_S)
        if result is not None:
            fresh = result if known is None else method.since(result, known)
            known = result
            async for message in _serialized(call, method.messages(call.params, fresh), making):
                idle = method.progress.FromString(message)
                yield message
            idle = type(idle)(metrics=idle.metrics)
        elif not asking.done():
            yield idle.SerializeToString()
        if asking.done():
            return


async def _serialized(call: Call, parts: Iterator[Message], making: Making) -> AsyncIterator[bytes]:
    """Made off the event loop, and each only when the one before is sent. Raises: MessageTooLarge; as `Making.go_on`"""
    while (part := await call.backend.run_in_thread(partial(_next, parts, making))) is not None:
        if len(part) > call.limits.max_send_msg_size_bytes:
            raise MessageTooLarge(len(part), call.limits.max_send_msg_size_bytes)
        yield part


class _Refused(Exception):  # noqa: N818 (says what it is)
    """A call that ends with an error. status: what HTTP would answer"""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status, self.text = status, text


def _next(parts: Iterator[Message], making: Making) -> bytes | None:
    with making:
        making.go_on()
        part = next(parts, None)
        return None if part is None else part.SerializeToString()


def build_streaming(backend: Backend, limits: ApiLimits, access: Access, own_limits: LimitsOf | None = None) -> Any:
    """A grpc.aio server, not started, without a port. own_limits: of each tenant; None: all have the same"""
    server = grpc.aio.server(
        options=[
            # A byte of a query is a byte here; tags and the rest fit besides.
            ("grpc.max_receive_message_length", 2 * limits.max_query_expression_size_bytes + (64 << 10)),
            ("grpc.max_concurrent_streams", 1000),
            # Two workers on one port would each get half of the requests, unnoticed.
            ("grpc.so_reuseport", 0),
        ]
    )
    server.add_generic_rpc_handlers((StreamingQuerier(backend, own_limits or (lambda _: limits), access),))
    return server
