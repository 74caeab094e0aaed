"""GET /api/metrics/query_range and /api/metrics/query: TraceQL metrics."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeVar

import orjson
from aiohttp import web

from app.api import params
from app.api.call import Call, call_of
from app.api.debug import debug_headers
from app.api.errors import ParameterError
from app.api.partial import reply_whole_or_partial, watch_of
from app.api.proto.tempo_pb2 import QueryInstantResponse, QueryRangeResponse
from app.api.tempo import messages
from app.api.tempo.jsonpb import Json, attributes_json, double, search_metrics
from app.api.times import step_ns, time_range
from query.results import Exemplar, MetricsResult, Series
from query.scan.progress import Watch

T = TypeVar("T")
routes = web.RouteTableDef()

EXEMPLARS_MAX: Final = 100
_NS_PER_MS: Final = 1_000_000


@routes.get("/api/metrics/query_range")
async def query_range(request: web.Request) -> web.Response:
    """Samples over time: ?q= &start= &end= &since= &step= &exemplars=."""
    call = call_of(request)
    watch = watch_of(call)
    result = await ask_range(call, watch)
    return await reply_whole_or_partial(
        request,
        watch,
        lambda: last_use(range_json(result), result),
        lambda: last_use(messages.range_messages(result), result),
        await debug_headers(request, _query(call), watch.profile),
        QueryRangeResponse,
    )


@routes.get("/api/metrics/query")
async def query_instant(request: web.Request) -> web.Response:
    """One sample over the whole range: ?q= &start= &end= &since=."""
    call = call_of(request)
    watch = watch_of(call)
    result = await ask_instant(call, watch)
    return await reply_whole_or_partial(
        request,
        watch,
        lambda: last_use(instant_json(result), result),
        lambda: last_use(messages.instant_messages(result), result),
        await debug_headers(request, _query(call), watch.profile),
        QueryInstantResponse,
    )


async def ask_range(call: Call, watch: Watch) -> MetricsResult:
    """Raises: as Backend, ParameterError."""
    query, times = _query(call), time_range(call.params, call.limits.max_metrics_range_s)
    return await call.backend.metrics_range(
        call.tenant,
        query,
        start_ns=times.start_ns,
        end_ns=times.end_ns,
        step_ns=step_ns(call.params, times),
        exemplars=_exemplars(call.params),
        watch=watch,
    )


async def ask_instant(call: Call, watch: Watch) -> MetricsResult:
    """Raises: as Backend, ParameterError."""
    query, times = _query(call), time_range(call.params, call.limits.max_metrics_range_s)
    return await call.backend.metrics_instant(
        call.tenant, query, start_ns=times.start_ns, end_ns=times.end_ns, watch=watch
    )


def _query(call: Call) -> str:
    """`q`, or `query` as Prometheus calls it."""
    query = params.query_text(call.params, call.limits) or params.query_text(call.params, call.limits, "query")
    if not query:
        raise ParameterError("q is missing: write a TraceQL metrics query, as { } | rate()")
    return query


def _exemplars(asked: Mapping[str, str]) -> int:
    number = params.whole_number(asked, "exemplars")
    return EXEMPLARS_MAX if number is None else min(number, EXEMPLARS_MAX)


def last_use(parts: Iterator[T], result: MetricsResult) -> Iterator[T]:
    """The same parts of an answer. After them the result is empty: else the event loop, which knows it to the end,
    would free its series, 100 ms for a hundred thousand. So it is after an error, and when nobody wants the rest.
    """
    try:
        yield from parts
    finally:
        result.drop()


def range_json(result: MetricsResult) -> Iterator[bytes]:
    """Tempo's QueryRangeResponse, in parts."""
    return _parts(map(_series, result.series), result)


def instant_json(result: MetricsResult) -> Iterator[bytes]:
    """Tempo's QueryInstantResponse, in parts."""
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
    if time_ns // _NS_PER_MS:
        out["timestampMs"] = str(time_ns // _NS_PER_MS)
    if value:
        out["value"] = double(value)
    return out


def _exemplar(exemplar: Exemplar) -> Json:
    trace_id = exemplar.trace_id.hex().lstrip("0") or "0"
    return {"labels": attributes_json([("trace:id", trace_id)]), **_sample(exemplar.timestamp_ns, exemplar.value)}
