"""docs/openapi.yaml: it names all endpoints; and whatever it allows, and what it does not, is never a fault of ours."""

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from aiohttp import web
from hypothesis import HealthCheck, settings

from app.api.backend import TraceAnswer
from app.api.server import api_runner, build_api
from query.engine.memory import TableSource
from query.metrics import metrics_instant, metrics_range
from query.search import search
from query.tags import tag_names, tag_values
from query.trace import find_trace
from tests.app.api.conftest import SETTINGS
from tests.query.golden import load_table
from tests.query.test_search import TRACES

NS = 10**9
FILE = Path(__file__).parents[3] / "docs" / "openapi.yaml"


class Engine:
    """The real query engine over a few spans, without threads and limits."""

    def __init__(self) -> None:
        self._sources = [TableSource(load_table(TRACES))]

    async def search(self, _tenant, query, *, start_s, end_s, limit, spans_per_span_set):
        times = {"start_ns": start_s and start_s * NS, "end_ns": end_s and end_s * NS}
        return search(self._sources, query, limit=limit, spans_per_span_set=spans_per_span_set, **times)

    async def metrics_range(self, _tenant, query, **asked):
        return metrics_range(self._sources, query, **asked)

    async def metrics_instant(self, _tenant, query, **asked):
        return metrics_instant(self._sources, query, **asked)

    async def tag_names(self, _tenant, *, start_s, end_s, **asked):
        return tag_names(self._sources, start_ns=start_s and start_s * NS, end_ns=end_s and end_s * NS, **asked)

    async def tag_values(self, _tenant, fields, *, start_s, end_s, **asked):
        times = {"start_ns": start_s and start_s * NS, "end_ns": end_s and end_s * NS}
        return tag_values(self._sources, fields, **times, **asked)

    async def trace(self, _tenant, trace_id, **_):
        return TraceAnswer(find_trace(self._sources, trace_id), complete=True, message="")

    def not_ready(self):
        return []


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The API in a thread of its own."""
    started, stop, found = threading.Event(), [], []

    async def serve() -> None:
        runner = api_runner(build_api(Engine(), **SETTINGS))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        found.append(f"http://{host}:{port}")
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        started.set()
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    started.wait(10)
    yield found[0]
    stop[0]()
    thread.join()


def test_all_endpoints():
    """Neither more nor less than there are."""
    routes = build_api(Engine(), **SETTINGS).router.routes()
    paths = yaml.safe_load(FILE.read_text())["paths"]
    written = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert written == {f"{route.method} {route.resource.canonical}" for route in routes if route.method != "HEAD"}


try:
    import schemathesis
    from schemathesis.checks import not_a_server_error
except ImportError:  # not one of the locked dependencies yet
    schemathesis = None

if schemathesis is not None:
    schema = schemathesis.openapi.from_dict(yaml.safe_load(FILE.read_text()))

    @schema.parametrize()
    @settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def test_no_fault(case, address):
        """Any parameters, well-formed or not: an answer or the caller's error, never a 500."""
        case.call_and_validate(base_url=address, checks=[not_a_server_error])
