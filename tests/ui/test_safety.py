"""What a span says is never HTML or script; the page is usable with a keyboard and a reader; and it is small."""

import re
import time
from urllib.parse import quote

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from playwright.sync_api import expect

from app.api.page.files import FOLDER
from app.api.page.serve import POLICY
from tests.harness.axe import serious_findings, settle
from tests.harness.page_server import PageServer, sources_of
from tests.helpers.querying.api import hashed

SCRIPT = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>{{constructor}}javascript:alert(1)\''
HOSTILE_ID = bytes(range(16, 32))
FIRST_LOAD_BYTES_MAX = 400_000
FIRST_PAINT_MS_MAX = 1000
VIEWS = (
    "/search",
    "/search?diff=slow&deep=1",
    f"/search?view=form&q={quote('{ span.a = 1 }')}",
    f"/search?q={quote('{ nmae = 1 }')}",
    "/services?service=payments",
    "/services?tab=dependencies",
    "/charts",
    f"/charts?q={quote('{ } | rate() by (resource.service.name)')}",
    "/status",
    "/start",
)


def hostile_request() -> bytes:
    """Two spans whose every text is a script."""
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(schema_url=SCRIPT)
    group.resource.attributes.add(key="service.name").value.string_value = SCRIPT
    group.resource.attributes.add(key=SCRIPT).value.string_value = SCRIPT
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = SCRIPT, SCRIPT
    now_ns = time.time_ns() - 60_000_000_000
    pair = KeyValue(key=SCRIPT, value=AnyValue(string_value=SCRIPT))
    for number in (1, 2):
        scoped.spans.append(
            Span(
                trace_id=HOSTILE_ID,
                span_id=number.to_bytes(8, "big"),
                parent_span_id=(number - 1).to_bytes(8, "big") if number > 1 else b"",
                name=SCRIPT,
                kind=Span.SPAN_KIND_SERVER,
                trace_state=f"a={SCRIPT}",
                start_time_unix_nano=now_ns,
                end_time_unix_nano=now_ns + 5_000_000,
                attributes=[pair, KeyValue(key="db.system.name", value=AnyValue(string_value=SCRIPT))],
                events=[Span.Event(name=SCRIPT, time_unix_nano=now_ns, attributes=[pair])],
                links=[Span.Link(trace_id=HOSTILE_ID, span_id=bytes(8), trace_state=SCRIPT, attributes=[pair])],
                status=Status(code=Status.STATUS_CODE_ERROR, message=SCRIPT),
            )
        )
    return request.SerializeToString()


def test_scripts_in_every_field_are_text(new_tab, chromium):
    with PageServer(sources_of([hostile_request()])) as server:
        tab = new_tab(server.url)
        page = tab.open(f"/search?q={quote('{ }')}&diff=errors")
        expect(page.locator(".trace-name")).to_contain_text(SCRIPT)
        page.locator(".results tbody tr").get_by_role("button").click()
        expect(page.locator(".matched tbody tr").first).to_contain_text(SCRIPT)
        expect(page.locator(".diff")).to_contain_text("2 spans")
        page.keyboard.press("/")
        page.keyboard.press("ControlOrMeta+a")
        page.keyboard.type("{ span.")
        expect(page.locator(".cm-tooltip-autocomplete li").first).to_be_visible()
        page.keyboard.press("Escape")
        paths = [
            f"/search?view=form&q={quote('{ status = error }')}",
            f"/services?service={quote(SCRIPT)}",
            f"/services?service={quote(SCRIPT)}&tab=table",
            f"/charts?q={quote('{ } | rate() by (resource.service.name, name)')}",
            f"/trace/{HOSTILE_ID.hex()}",
            f"/search?q={quote(SCRIPT)}",
            f"/compare?a={quote(SCRIPT)}&b={HOSTILE_ID.hex()}",
            "/status",
        ]
        for path in paths:
            page.goto(server.url + path)
            settle(page)
            assert page.evaluate("window.hacked") is None, path
            assert page.locator("main img, main script").count() == 0, path
            over = page.locator(".u-over").first
            if over.count():
                over.hover()
                expect(page.locator(".chart-tip").first).to_be_visible()
                assert page.evaluate("window.hacked") is None, path


def test_a_hostile_token_and_tenant_are_text(new_tab, shop):
    with PageServer(shop, multitenancy=True, credentials={"acme": [hashed("a")]}) as server:
        page = new_tab(server.url).open("/search")
        dialog = page.get_by_role("dialog", name="Tenant and token")
        dialog.get_by_label("Tenant").fill("<img src=x onerror=window.hacked=1>")
        dialog.get_by_label("Token").fill("a")
        dialog.get_by_role("button", name="Use these").click()
        expect(page.get_by_role("alert").first).to_be_visible()
        assert page.evaluate("window.hacked") is None


def test_the_policy_forbids_inline_and_eval(server, new_tab):
    answer = new_tab(server.url).page.goto(f"{server.url}/search")
    assert answer
    policy = answer.headers["content-security-policy"]
    assert policy == POLICY
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_has_no_serious_findings(new_tab, server, theme):
    page = new_tab(server.url, theme).page
    found = {}
    for path in VIEWS:
        page.goto(server.url + path)
        settle(page)
        found[path] = serious_findings(page, theme)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    found["keys"] = serious_findings(page, theme)
    assert {path: what for path, what in found.items() if what} == {}


def test_first_load_is_small_and_paints_soon(new_tab, server):
    tab = new_tab(server.url)
    sizes: list[int] = []
    page = tab.page
    page.on("response", lambda answer: sizes.append(int(answer.headers.get("content-length") or 0)))
    page.goto(f"{server.url}/search")
    expect(page.locator(".results tbody tr").first).to_be_visible()
    scripts = [url for url in tab.requests if re.search(r"\.(js|css)$", url)]
    assert scripts
    assert sum(sizes) < FIRST_LOAD_BYTES_MAX
    paint_ms = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert paint_ms < FIRST_PAINT_MS_MAX


def test_everything_together_is_small():
    packed = sum(path.stat().st_size for path in FOLDER.rglob("*.gz"))
    assert packed < FIRST_LOAD_BYTES_MAX


def test_results_begin_soon_after_the_apis(new_tab, server):
    """The first row is there within 200 ms of the first line of the answer: the best of a few, for a busy machine."""
    page = new_tab(server.url).page
    page.add_init_script(
        """
        const real = window.fetch;
        window.fetch = async (...what) => {
          const answer = await real(...what);
          if (String(what[0]).startsWith("/api/search/stream")) window.answeredMs ??= performance.now();
          return answer;
        };
        new MutationObserver(() => {
          if (document.querySelector(".results tbody tr")) window.shownMs ??= performance.now();
        }).observe(document, {childList: true, subtree: true});
        """
    )
    took_ms = []
    while len(took_ms) < 5 and min(took_ms, default=200) >= 200:
        page.goto(f"{server.url}/search")
        expect(page.locator(".results tbody tr").first).to_be_visible()
        took_ms.append(page.evaluate("window.shownMs - window.answeredMs"))
    assert min(took_ms) < 200
