"""GET /api/metrics/query_range and /api/metrics/query: TraceQL metrics."""

from collections.abc import Iterable, Iterator
from typing import Final, TypeVar

import orjson
from aiohttp import web

from app.api import params
from app.api.call import call_of
from app.api.debug import debug_headers
from app.api.partial import observer_of, reply_whole_or_partial
from app.api.proto import tempo_pb2 as pb
from app.api.tempo import messages
from app.api.tempo.jsonpb import Json, attributes_json, double, search_metrics
from app.api.tempo.method import Message, Method, Params, texts
from query.results import Exemplar, MetricsResult, Series
from tables.units import NS_PER_MS

T = TypeVar("T")
routes = web.RouteTableDef()


@routes.get("/api/metrics/query_range")
async def query_range(request: web.Request) -> web.Response:
    """Samples over time: ?q= &start= &end= &since= &step= &exemplars=."""
    call = call_of(request)
    observer, asked = observer_of(call), params.range_request(call.params, call.limits)
    result = await call.backend.metrics_range(call.tenant, asked, observer)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: last_use(range_json(result), result),
        lambda: last_use(messages.range_messages(result), result),
        await debug_headers(request, asked.query, observer.profile),
        pb.QueryRangeResponse,
    )


@routes.get("/api/metrics/query")
async def query_instant(request: web.Request) -> web.Response:
    """One sample over the whole range: ?q= &start= &end= &since=."""
    call = call_of(request)
    observer, asked = observer_of(call), params.instant_request(call.params, call.limits)
    result = await call.backend.metrics_instant(call.tenant, asked, observer)
    return await reply_whole_or_partial(
        request,
        observer,
        lambda: last_use(instant_json(result), result),
        lambda: last_use(messages.instant_messages(result), result),
        await debug_headers(request, asked.query, observer.profile),
        pb.QueryInstantResponse,
    )


def last_use(parts: Iterator[T], result: MetricsResult) -> Iterator[T]:
    """The same parts of an answer. After them the result is empty: else the event loop, which knows it to the end,
    would free its series, 100 ms for a hundred thousand. So it is after an error, and when nobody wants the rest.
    """
    try:
        yield from parts
    finally:
        result.drop()


def range_json(result: MetricsResult) -> Iterator[bytes]:
    """Tempo's QueryRangeResponse as JSON, in parts of one series each."""
    return _parts(map(_series, result.series), result)


def instant_json(result: MetricsResult) -> Iterator[bytes]:
    """Tempo's QueryInstantResponse as JSON, in parts of one series each."""
    return _parts(map(_instant, result.series), result)


def _parts(series: Iterable[Json], result: MetricsResult) -> Iterator[bytes]:
    """Each series' objects are gone once it is text."""
    yield b'{"series":['
    between = b""
    for one in series:
        yield between + orjson.dumps(one)
        between = b","
    yield b"]," + orjson.dumps({"metrics": search_metrics(result.inspected)})[1:]


def _instant(series: Series) -> Json:
    out: Json = {"labels": attributes_json(series.labels)}
    if series.samples and (value := series.samples[-1][1]):
        out["value"] = double(value)
    return out


def _series(series: Series) -> Json:
    out: Json = {
        "labels": attributes_json(series.labels),
        "samples": [_sample(time_ns, value) for time_ns, value in series.samples],
    }
    if series.exemplars:
        out["exemplars"] = [_exemplar(exemplar) for exemplar in series.exemplars]
    return out


def _sample(time_ns: int, value: float) -> Json:
    out: Json = {}
    if time_ns // NS_PER_MS:
        out["timestampMs"] = str(time_ns // NS_PER_MS)
    if value:
        out["value"] = double(value)
    return out


def _exemplar(exemplar: Exemplar) -> Json:
    trace_id = exemplar.trace_id.hex().lstrip("0") or "0"
    return {"labels": attributes_json([("trace:id", trace_id)]), **_sample(exemplar.timestamp_ns, exemplar.value)}


# ---- gRPC


def _range_params(asked: pb.QueryRangeRequest) -> dict[str, str]:
    step = asked.step and f"{asked.step}ns"
    return texts(q=asked.query, start=asked.start, end=asked.end, step=step, exemplars=asked.exemplars)


def _instant_params(asked: pb.QueryInstantRequest) -> dict[str, str]:
    return texts(q=asked.query, start=asked.start, end=asked.end)


def _range_messages(_: Params, result: MetricsResult) -> Iterator[Message]:
    return last_use(messages.range_messages(result), result)


def _instant_message(_: Params, result: MetricsResult) -> Iterator[Message]:
    parts = last_use(messages.instant_messages(result), result)
    return iter([messages.Whole(part.SerializeToString() for part in parts)])


RANGE: Final = Method(
    message=pb.QueryRangeRequest,
    params=_range_params,
    request=params.range_request,
    ask=lambda backend: backend.metrics_range,
    messages=_range_messages,
    progress=pb.QueryRangeResponse(metrics=pb.SearchMetrics()),
)
INSTANT: Final = Method(
    message=pb.QueryInstantRequest,
    params=_instant_params,
    request=params.instant_request,
    ask=lambda backend: backend.metrics_instant,
    messages=_instant_message,
    progress=pb.QueryInstantResponse(metrics=pb.SearchMetrics()),
)
