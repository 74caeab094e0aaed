"""docs/openapi.yaml: it names all endpoints; and whatever it allows, and what it does not, is never a fault of ours."""

import asyncio
import threading
from collections.abc import Iterator

import pytest
import schemathesis
import yaml
from aiohttp import web
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from app.api.server import api_runner
from tables.columns.in_memory import TableSource
from tests.helpers.examples import examples
from tests.helpers.files import ROOT
from tests.helpers.querying.api import api_over
from tests.helpers.querying.engine import Engine
from tests.query.golden import load_table
from tests.query.sources import TRACES

FILE = ROOT / "docs" / "openapi.yaml"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The API in a thread of its own."""
    started, stop, found = threading.Event(), [], []

    async def serve() -> None:
        runner = api_runner(api_over(Engine([TableSource(load_table(TRACES))])))
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
    routes = api_over(Engine([])).router.routes()
    paths = yaml.safe_load(FILE.read_text())["paths"]
    written = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert written == {f"{route.method} {route.resource.canonical}" for route in routes if route.method != "HEAD"}


schema = schemathesis.openapi.from_dict(yaml.safe_load(FILE.read_text()))


@schema.parametrize()
@settings(max_examples=examples(15), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_no_fault(case, address):
    """Any parameters, well-formed or not: an answer or the caller's error, never a 500."""
    case.call_and_validate(base_url=address, checks=[not_a_server_error])
