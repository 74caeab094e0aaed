"""What is counted and logged of each query."""

import asyncio
import logging

import pytest
from prometheus_client import REGISTRY

from app.api.errors import TooManyRequests, Unavailable
from app.querying.running.observed_queries import ObservedQueries, QueryLogConfig
from app.querying.running.query_metrics import QueryMetrics
from app.settings.sections.query_frontend import QueryFrontend
from query.errors import TraceQLError
from query.requests import SearchRequest, TagNamesRequest, TraceRequest
from query.results import Inspected, SearchResult
from query.scan.progress import QueryObserver
from tests.helpers.querying.api import FakeBackend

QUERY = '{ resource.service.name = "a b" }'
REQUEST = SearchRequest(query=QUERY, start_ns=0, end_ns=60 * 10**9)


def observed(backend=None, slow_s=0.0, all_queries=True, chars=1000, settings=None, tenants_max=10):
    metrics = QueryMetrics(settings or QueryFrontend(), tenants_max)
    return ObservedQueries(backend or FakeBackend(), metrics, QueryLogConfig(slow_s, all_queries, chars))


def counts(name, tenant, op):
    found = {
        result: REGISTRY.get_sample_value(name, {"tenant": tenant, "op": op, "result": result})
        for result in ("completed", "canceled")
    }
    return tuple(found[result] or 0 for result in ("completed", "canceled"))


def ask(queries, tenant, request=REQUEST):
    return asyncio.run(queries.search(tenant, request, QueryObserver()))


@pytest.mark.parametrize(
    ("error", "status", "within"),
    [
        pytest.param(None, 200, 1, id="answered"),
        pytest.param(TraceQLError("no", QUERY, 0, 1), 400, 1, id="refused query"),
        pytest.param(TooManyRequests("later"), 429, 1, id="too many"),
        pytest.param(Unavailable("away"), 503, 0, id="unavailable"),
        pytest.param(TimeoutError(), 504, 0, id="timeout"),
        pytest.param(RuntimeError("fault"), 500, 0, id="fault"),
    ],
)
def test_status(caplog, error, status, within):
    tenant = f"status-{status}"
    caplog.set_level(logging.INFO, "stretto.queries")
    queries = observed(FakeBackend(error=error, result=SearchResult([], Inspected(spans=7, bytes=900))))
    if error is None:
        ask(queries, tenant)
    else:
        with pytest.raises(type(error)):
            ask(queries, tenant)
    assert counts("tempo_query_frontend_queries_total", tenant, "search") == (1, 0)
    assert counts("tempo_query_frontend_queries_within_slo_total", tenant, "search") == (within, 0)
    (record,) = caplog.records
    assert record.fields["status"] == status
    assert f"tenant={tenant} op=search status={status} duration_s=" in record.getMessage()
    if error is None:
        assert "inspected_bytes=900 inspected_spans=7 range_s=60 " in record.getMessage()
        labels = {"tenant": tenant, "op": "search"}
        assert REGISTRY.get_sample_value("tempo_query_frontend_bytes_inspected_total", labels) == 900
    assert 'query="{ resource.service.name = \\"a b\\" }"' in record.getMessage()


def test_a_client_that_goes_away():
    async def run():
        backend = FakeBackend(wait=asyncio.Event())
        task = asyncio.ensure_future(observed(backend).search("gone", REQUEST, QueryObserver()))
        while not backend.asked:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert counts("tempo_query_frontend_queries_total", "gone", "search") == (0, 1)


@pytest.mark.parametrize(
    ("slow_s", "all_queries", "level"),
    [
        (1e-9, False, logging.WARNING),
        (1e-9, True, logging.WARNING),
        (100, True, logging.INFO),
        (100, False, None),
        (0, False, None),
    ],
)
def test_slow_queries(caplog, slow_s, all_queries, level):
    caplog.set_level(logging.DEBUG, "stretto.queries")
    ask(observed(slow_s=slow_s, all_queries=all_queries), "slow")
    assert [record.levelno for record in caplog.records] == ([] if level is None else [level])


@pytest.mark.parametrize(("chars", "shown"), [(5, "{ res…"), (0, None), (10_000, QUERY)])
def test_text_of_queries(caplog, chars, shown):
    caplog.set_level(logging.INFO, "stretto.queries")
    ask(observed(chars=chars), "text")
    assert caplog.records[0].fields.get("query") == shown


def test_a_slow_answer_is_not_within_the_objective():
    settings = QueryFrontend.model_validate({"search": {"duration_slo": "1ns"}})
    ask(observed(settings=settings), "slo")
    assert counts("tempo_query_frontend_queries_total", "slo", "search") == (1, 0)
    assert counts("tempo_query_frontend_queries_within_slo_total", "slo", "search") == (0, 0)


def test_other_kinds_and_bounded_tenants():
    queries = observed(tenants_max=1)

    async def run():
        for tenant in ("kinds", "other-1", "other-2", "kinds|other-1"):
            await queries.trace(tenant, TraceRequest(trace_id=bytes(16)))
            await queries.tag_names(tenant, TagNamesRequest(), QueryObserver())

    before = counts("tempo_query_frontend_queries_total", "__other__", "traces")[0]
    asyncio.run(run())
    for op in ("traces", "metadata"):
        assert counts("tempo_query_frontend_queries_total", "kinds", op) == (1, 0)
        assert counts("tempo_query_frontend_queries_total", "other-1", op) == (0, 0)
    assert counts("tempo_query_frontend_queries_total", "__other__", "traces")[0] == before + 3
