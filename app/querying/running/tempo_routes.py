"""Calls between processes as Tempo's metric of requests names them."""

from contextlib import AbstractContextManager
from typing import Final

from app.net.request_metrics import GRPC, observe_request
from app.querying.running.timed import timed
from query.request_json import Request
from query.requests import InstantRequest, RangeRequest, SearchRequest, TagNamesRequest, TagValuesRequest, TraceRequest

# By the kind of a request: what a live store is asked, and what a querier.
_ROUTES: Final[dict[type, tuple[str, str]]] = {
    SearchRequest: ("/tempopb.Querier/SearchRecent", "querier_api_search"),
    TraceRequest: ("/tempopb.Querier/FindTraceByID", "querier_api_traces_traceid"),
    RangeRequest: ("/tempopb.Metrics/QueryRange", "querier_api_metrics_query_range"),
    InstantRequest: ("/tempopb.Metrics/QueryRange", "querier_api_metrics_query"),
    TagNamesRequest: ("/tempopb.Querier/SearchTagsV2", "querier_api_v2_search_tags"),
    TagValuesRequest: ("/tempopb.Querier/SearchTagValuesV2", "querier_api_v2_search_tag_tagname_values"),
}


def live_store_route(request: Request) -> str:
    """What Tempo calls a question to a live store."""
    return _ROUTES[type(request)][0]


def querier_route(request: Request) -> str:
    """What Tempo calls a job of a querier."""
    return _ROUTES[type(request)][1]


def observed_call(route: str, method: str = GRPC) -> AbstractContextManager[None]:
    """Counts what is done inside of the `with` as a request."""
    return timed(lambda status, took_s: observe_request(method, route, status, took_s))
