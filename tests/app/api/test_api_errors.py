"""What all endpoints share: errors, health, metrics, documentation."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.api.backend import TraceAnswer
from app.api.errors import TooManyRequests, Unavailable
from app.api.page import serve
from query.errors import TraceQLError, TraceTooLarge
from query.memory import MemoryExceeded, QueriesTooLarge, QueryTooLarge
from tests.helpers.files import ROOT
from tests.helpers.querying.api import api_over

DOCS = ROOT / "docs" / "api.md"


class WrongQueryError(TraceQLError):
    """A TraceQLError with a text of the test's own."""

    def __init__(self, text: str) -> None:
        ValueError.__init__(self, text)


@pytest.mark.parametrize(
    ("error", "status", "words", "retry_after"),
    [
        pytest.param(WrongQueryError("1:3: unknown field"), 400, "1:3: unknown field", None, id="query"),
        pytest.param(TraceTooLarge(bytes(16), 7, "50 MB", 10), 422, "50 MB", None, id="too large"),
        pytest.param(QueryTooLarge("needs 300 MB"), 422, "300 MB", None, id="one query's memory"),
        pytest.param(QueriesTooLarge("others hold 300 MB"), 429, "300 MB", "1", id="all queries' memory"),
        pytest.param(MemoryError(), 429, "no memory left", "1", id="no memory"),
        pytest.param(MemoryExceeded("no memory left"), 429, "no memory", "1", id="the system's memory"),
        pytest.param(TooManyRequests("at most 20", 0.1), 429, "at most 20", "1", id="too many"),
        pytest.param(Unavailable("Kafka is away", 4.2), 503, "Kafka is away", "5", id="away"),
        pytest.param(TimeoutError(), 504, "query.timeout_s", None, id="took too long"),
    ],
)
@pytest.mark.parametrize("path", ["/api/search?q={}", "/api/traces/1", "/api/v2/traces/1"])
def test_known_errors(ask, backend, path, error, status, words, retry_after):
    """Each known error has its status, its text as the plain body, and where it helps the time to wait."""
    backend.error = error
    answer = ask(path)
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert words in answer.text
    assert answer.headers.get("Retry-After") == retry_after


def test_unknown_error(ask, backend, caplog):
    """An error of ours is a 500 that tells nothing of it; the log has the traceback under the same reference."""
    backend.error = RuntimeError("cannot read /secret/place")
    answer = ask("/api/search?q={}")
    assert answer.status == 500
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    reference = answer.text.split()[-1]
    (record,) = [record for record in caplog.records if record.name == "app.api.errors"]
    assert reference in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is backend.error


@pytest.mark.parametrize("path", ["/nothing", "/api/nothing", "/api/search/", "/api/traces/"])
def test_unknown_path(ask, path):
    """404 in plain text that says where the endpoints are listed."""
    answer = ask(path)
    assert answer.status == 404
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert "docs/api.md" in answer.text


def test_wrong_method(ask):
    """405 names what the endpoint answers."""
    answer = ask("/api/search", method="POST")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
    assert "GET" in answer.text


def test_echo(ask):
    """Grafana's health check, without a tenant too."""
    answer = ask("/api/echo", multitenancy=True)
    assert (answer.status, answer.text) == (200, "echo\n")


def test_ready(ask, backend):
    """200 when ready; 503 with all the reasons, a line each, when not."""
    answer = ask("/ready", multitenancy=True)
    assert (answer.status, answer.text) == (200, "ready\n")
    backend.reasons = ["partition 1: 300 records behind", "partition 2: not assigned"]
    answer = ask("/ready")
    assert (answer.status, answer.text) == (
        503,
        "partition 1: 300 records behind\npartition 2: not assigned\n",
    )


def requests_counted(ask) -> dict[tuple[str, str, str], float]:
    answer = ask("/metrics", multitenancy=True)
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return {
        (sample.labels["method"], sample.labels["route"], sample.labels["status_code"]): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
        if sample.name == "stretto_request_duration_seconds_count"
    }


def test_metrics(ask):
    """Requests are counted by method, route and status, whatever the paths and methods of clients are."""
    before = requests_counted(ask)
    ask("/api/traces/abc")
    ask("/api/traces/xyz")
    ask("/never/heard/of")
    ask("/api/search", method="PROPFIND")
    after = requests_counted(ask)
    assert {labels: count - before.get(labels, 0) for labels, count in after.items()} == dict.fromkeys(before, 0) | {
        ("GET", "/api/traces/{trace_id}", "404"): 1,
        ("GET", "/api/traces/{trace_id}", "400"): 1,
        ("GET", "unknown", "404"): 1,
        ("other", "unknown", "405"): 1,
        ("GET", "/metrics", "200"): 1,
    }


def test_openmetrics(ask):
    """A scraper that asks for OpenMetrics gets it."""
    answer = ask("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_every_endpoint_is_documented(backend):
    """docs/api.md has a heading for each endpoint but the files of the web page, and none for what is not there."""
    app = api_over(backend)
    routes = {f"{route.method} {route.resource.canonical}" for route in app.router.routes() if route.method != "HEAD"}
    page = {f"GET {path.replace('{id:.+}', '{id}')}" for path in serve.OPEN}
    assert page < routes
    assert set(re.findall(r"^## `(.*?)`$", DOCS.read_text(), re.MULTILINE)) == routes - page


def test_examples_of_the_documentation(ask, backend, trace_table):
    """Each request that docs/api.md shows is answered as it says: 200."""
    backend.answer = TraceAnswer(trace_table(1), complete=True, message="")
    examples = re.findall(r"^curl .*", DOCS.read_text(), re.MULTILINE)
    assert len(examples) >= 6
    for example in examples:
        path = re.search(r"http://127\.0\.0\.1:3200([^' ]*)", example)
        if path[1].startswith(("/api/overrides", "/usage_metrics", "/-/reload")):
            continue  # are not in every process: test_own_overrides.py, test_reload_api.py, cluster/test_tenants.py
        data = re.findall(r"--data-urlencode '(\w+)=([^']*)'", example)
        headers = re.findall(r"-H '([\w-]+): ([^']*)'", example)
        post = re.search(r"-X POST .* -d '([^']*)'", example)
        sent = {"method": "POST", "data": post[1]} if post else {}
        answer = ask(path[1], params=dict(data), headers=dict(headers), profiling=True, **sent)
        assert answer.status == 200, example
