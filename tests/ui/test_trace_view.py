"""The trace view: by what a person sees and does."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from app.api.page.page_config import LinkTemplate
from app.api.trace_view.packed import MEDIA_TYPE
from tests.harness.large_trace import LARGE_ID, large_requests
from tests.harness.page_server import PageServer
from tests.harness.page_traces import (
    GOOD_ID,
    HOSTILE_ID,
    ODD_ID,
    SLOW_ID,
    checkout_request,
    hostile_request,
    odd_request,
)
from tests.helpers.whole_way import Way
from tests.ui.conftest import AXE

SLOW, ODD, HOSTILE, LARGE = (f"/trace/{one.hex()}" for one in (SLOW_ID, ODD_ID, HOSTILE_ID, LARGE_ID))
COMPARE = f"/compare?a={GOOD_ID.hex()}&b={SLOW_ID.hex()}"
SPANS = 200_000
LINKS = (
    LinkTemplate("Logs", "logs", "https://logs.example/?q=${traceId}&from=${startMs}"),
    LinkTemplate("Book", "other", "https://books.example/${tags.book.count}"),
)


@pytest.fixture(scope="module")
def traces(chromium: str) -> Iterator[PageServer]:
    """A server with the traces of page_traces and one of 200,000 spans."""
    now_ns = time.time_ns()
    small = Way(
        odd_request(now_ns),
        hostile_request(now_ns),
        checkout_request(now_ns, slow=False),
        checkout_request(now_ns, slow=True),
    )
    large = Way(*large_requests(SPANS, now_ns))
    with PageServer([small.source, large.source], links=LINKS) as running:
        yield running


@pytest.fixture
def see(new_tab, traces: PageServer):
    """see(path, theme="light") → the page, with the first row drawn."""

    def see(path: str, theme: str = "light", **options) -> Page:
        page = new_tab(traces.url, theme, **options).open(path)
        if path.startswith("/trace/") and "tab=" not in path:
            expect(rows(page).first).to_be_visible()
        return page

    return see


def rows(page: Page):
    return page.locator(".wf-row:visible")


def names(page: Page) -> list[str]:
    return [" ".join(text.split()) for text in rows(page).locator(".wf-op").all_inner_texts()]


def row(page: Page, name: str, nth: int = 0):
    return rows(page).filter(has=page.locator(".wf-op", has_text=re.compile(f"^{re.escape(name)}$"))).nth(nth)


def details(page: Page):
    return page.get_by_role("complementary", name="Details of the span")


def test_repeated_siblings_are_one_line(see):
    """The first look says why: 42 times a query."""
    page = see(SLOW)
    group = row(page, "SELECT stock")
    expect(group.locator(".wf-count")).to_have_text("42 \N{MULTIPLICATION SIGN}")
    expect(group).to_have_attribute("aria-expanded", "false")
    assert names(page).count("SELECT stock") == 1
    group.click()
    expect(group).to_have_attribute("aria-expanded", "true")
    assert names(page).count("SELECT stock") > 10
    page.get_by_role("button", name="Fold repeats").click()
    expect(page.locator(".wf-count:not(:empty)")).to_have_count(0)


def test_details_of_a_span(see):
    """A click opens them, the address says it, back closes them."""
    page = see(SLOW)
    failed = row(page, "charge card")
    failed.click()
    panel = details(page)
    expect(panel.get_by_role("heading", name="charge card")).to_be_visible()
    expect(panel.get_by_role("alert")).to_contain_text("the provider did not answer in time")
    expect(panel.locator(".sd-event")).to_contain_text("exception.type")
    expect(panel).to_contain_text("210 ms")
    expect(page).to_have_url(re.compile(r"span=510e[0-9a-f]{12}"))
    expect(failed).to_have_attribute("aria-selected", "true")
    # Search for it, exclude it, find it here.
    retry = panel.locator(".sd-attribute", has_text="retry")
    expect(retry.get_by_role("link", name="Search for this")).to_have_attribute(
        "href", re.compile(r"q=%7B\+span\.retry\+%3D\+0")
    )
    expect(retry.get_by_role("link", name="Exclude this")).to_have_attribute("href", re.compile("%21%3D"))
    retry.hover()
    retry.get_by_role("button", name="Find this").click()
    expect(page.get_by_label("Find in the trace")).to_have_value("{ span.retry = 0 }")
    expect(page.locator(".tr-found")).to_have_text("1 of 1")
    panel.locator("dd", has_text="POST /pay").get_by_role("button").click()
    expect(panel.get_by_role("heading", name="POST /pay")).to_be_visible()
    page.go_back()
    expect(panel.get_by_role("heading", name="charge card")).to_be_visible()
    page.go_back()
    expect(panel).to_have_count(0)


def test_links_elsewhere(see):
    """From templates: escaped, and only where the span has what they need."""
    page = see(SLOW)
    row(page, "authenticate").click()
    link = details(page).get_by_role("link", name="Logs", exact=True)
    expect(link).to_have_attribute("href", re.compile(rf"^https://logs\.example/\?q={SLOW_ID.hex()}&from=\d{{13}}$"))
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(details(page).get_by_role("link", name="Book")).to_have_count(0)
    odd = see(ODD)
    row(odd, "price books").click()
    expect(details(odd).get_by_role("link", name="Book", exact=True)).to_have_attribute(
        "href", "https://books.example/3"
    )


def test_keys(see):
    """Everything without a mouse."""
    page = see(SLOW)
    page.keyboard.press("j")
    expect(page.locator(".wf-row.cursor .wf-op")).to_have_text("POST /checkout")
    for _ in range(2):
        page.keyboard.press("ArrowDown")
    expect(page.locator(".wf-row.cursor .wf-op")).to_have_text("GET /basket")
    grid = page.get_by_role("treegrid", name="Spans of the trace")
    cursor = page.locator(".wf-row.cursor")
    assert grid.get_attribute("aria-activedescendant") == cursor.get_attribute("id")
    page.keyboard.press("ArrowLeft")
    expect(cursor).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(cursor).to_have_attribute("aria-level", "3")
    page.keyboard.press("Enter")
    expect(details(page)).to_be_visible()
    page.keyboard.press("k")  # open details go along
    expect(details(page)).to_contain_text("storefront")
    page.keyboard.press("Escape")
    expect(details(page)).to_have_count(0)
    page.keyboard.press("c")
    expect(rows(page)).to_have_count(1)
    page.keyboard.press("e")
    page.keyboard.press("End")
    expect(page.locator(".wf-row.cursor .wf-op")).to_have_text("publish order")
    # A group's line is a place of its own: one passes it up and down.
    page.keyboard.press("Home")
    for _ in range(7):
        page.keyboard.press("ArrowDown")
    expect(cursor).to_have_attribute("data-line", "7")
    expect(cursor).to_have_class(re.compile("group"))
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(cursor).to_have_attribute("data-line", "8")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(cursor).to_have_attribute("data-line", "6")
    page.keyboard.press("/")
    page.keyboard.type("charge")
    expect(page.locator(".tr-found")).to_have_text("1 of 2")
    page.keyboard.press("Enter")
    expect(page.locator(".tr-found")).to_have_text("2 of 2")
    page.keyboard.press("?")
    expect(page.get_by_label("Find in the trace")).to_have_value(re.compile("charge"))  # it is text there


def test_find(see):
    """Text anywhere in a span, TraceQL, what does not match hidden; the address has it."""
    page = see(f"{SLOW}?find=timeouterror&only=1")  # of an event
    expect(page.locator(".tr-found")).to_have_text(re.compile("of 1$"))
    assert names(page) == ["POST /checkout", "POST /pay", "POST /pay", "charge card"]
    find = page.get_by_label("Find in the trace")
    find.fill('{ resource.service.name = "basket" }')
    find.press("Enter")
    expect(page.locator(".tr-found")).to_have_text(re.compile("of 2$"))
    page.reload()
    expect(page.locator(".tr-found")).to_have_text(re.compile("of 2$"))
    find.fill("{ nonsense }")
    find.press("Enter")
    expect(page.locator(".tr-find-error")).to_contain_text("nonsense")
    find.fill("")
    page.get_by_label("Hide spans that are shorter").select_option("25")
    expect(page).to_have_url(re.compile("min=25"))
    expect(rows(page).first).to_be_visible()
    assert "authenticate" not in names(page)


def test_brush_zooms(see):
    """The strip at the top, the bars, the keys; back goes back."""
    page = see(SLOW)
    box = page.locator(".mm").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 20, steps=4)
    page.mouse.up()
    expect(page).to_have_url(re.compile(r"zoom=2\d\d\.?\d*%7E4\d\d"))
    expect(page.locator(".wf-axis")).not_to_contain_text("0 ms 100 ms")
    page.reload()
    expect(page.get_by_role("button", name="Whole trace")).to_be_visible()
    page.keyboard.press("0")
    expect(page.get_by_role("button", name="Whole trace")).to_have_count(0)
    page.go_back()
    expect(page.get_by_role("button", name="Whole trace")).to_be_visible()
    page.locator(".mm").dblclick(position={"x": 10, "y": 10})
    expect(page).not_to_have_url(re.compile("zoom="))
    canvas = page.locator(".wf-sticky canvas").bounding_box()
    assert canvas
    page.mouse.move(canvas["x"] + 100, canvas["y"] + 300)
    page.mouse.down()
    page.mouse.move(canvas["x"] + 300, canvas["y"] + 300, steps=3)
    page.mouse.up()
    expect(page).to_have_url(re.compile("zoom="))
    handle = page.get_by_role("slider", name="Start of what is shown")
    before = page.url
    handle.press("ArrowRight")
    expect(page).not_to_have_url(before)


def test_odd_traces_say_so(see):
    """Missing parents, circles, clocks, several roots; links both ways."""
    page = see(ODD)
    notes = page.get_by_role("list", name="What is odd about this trace")
    for text in ("parents that are not here", "2 roots", "its own ancestor", "clocks of two machines"):
        expect(notes).to_contain_text(text)
    missing = row(page, "missing span")
    expect(missing).to_have_class(re.compile("missing"))
    missing.click()
    expect(details(page)).to_contain_text("dead00000000beef")
    expect(details(page)).to_contain_text("2 spans name this one")
    row(page, "reserved process").click()
    panel = details(page)
    expect(panel.get_by_role("link", name=re.compile("600d"))).to_have_attribute(
        "href", re.compile(r"/trace/600d.*span=600d")
    )
    panel.get_by_role("button", name="stock · publish reserved").click()
    expect(panel.get_by_role("heading", name="publish reserved")).to_be_visible()
    panel.get_by_role("button", name="mailer · reserved process").click()
    expect(panel.get_by_role("heading", name="reserved process")).to_be_visible()


def test_partial_is_said(see, traces: PageServer, new_tab):
    """Part of a trace is shown as a part, with the reason."""
    page = new_tab(traces.url).page

    def answer(route) -> None:
        found = route.fetch()
        body = found.body()
        size = int.from_bytes(body[4:8], "little")
        header = json.loads(body[8 : 8 + size]) | {"status": "PARTIAL", "message": "partition 3 is not here"}
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        route.fulfill(
            body=body[:4] + len(text).to_bytes(4, "little") + text + body[8 + size :], content_type=MEDIA_TYPE
        )

    page.route("**/outline", answer)
    page.goto(traces.url + SLOW)
    expect(page.get_by_role("list", name="What is odd about this trace")).to_contain_text("partition 3 is not here")
    expect(rows(page).first).to_be_visible()


def test_no_such_trace(new_tab, traces: PageServer):
    """Unknown, and no id at all."""
    tab = new_tab(traces.url)
    page = tab.open("/trace/1234")
    expect(page.get_by_role("heading", name="This trace is not here")).to_be_visible()
    page = tab.open("/trace/xyz")
    expect(page.get_by_role("alert")).to_contain_text("must be 1 to 32 hex digits")


def test_other_tabs(see):
    """Flame graph, statistics, spans and JSON: each by its address, with what it is for."""
    page = see(f"{SLOW}?tab=statistics")
    first = page.locator(".st-table tbody tr").first
    expect(first).to_contain_text("SELECT stock")
    expect(first).to_contain_text("42")
    page.get_by_role("button", name="By service").click()
    expect(page.locator(".st-table tbody tr")).to_have_count(4)
    expect(page.locator(".st-gaps")).to_contain_text("between charge card and charge card")
    page.get_by_role("tab", name="Flame graph").click()
    box = page.get_by_role("button", name=re.compile("SELECT stock 395 ms"))
    expect(box).to_contain_text("42 \N{MULTIPLICATION SIGN}")
    box.click()
    expect(page.get_by_role("button", name="Show all")).to_be_visible()
    page.get_by_role("tab", name="Spans").click()
    page.get_by_role("button", name="Self time").click()
    expect(page.locator(".virtual-rows .sp-row").first).to_contain_text("charge card")
    page.locator(".virtual-rows .sp-row").first.get_by_role("button").click()
    expect(details(page)).to_contain_text("the provider did not answer")
    page.get_by_role("tab", name="JSON").click()
    expect(page.get_by_role("button", name="This span")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".js")).to_contain_text('"resourceSpans"')
    page.go_back()
    expect(page.locator(".sp-row.selected")).to_be_visible()


def test_download_is_otlp(see, tmp_path: Path):
    """The file has every span, ids in hex, enums as numbers."""
    page = see(SLOW)
    with page.expect_download() as caught:
        page.get_by_role("button", name=re.compile("Download as OTLP JSON")).click()
    path = tmp_path / "trace.json"
    caught.value.save_as(path)
    assert caught.value.suggested_filename == f"trace-{SLOW_ID.hex()}.json"
    spans = [
        span
        for group in json.loads(path.read_text())["resourceSpans"]
        for scoped in group["scopeSpans"]
        for span in scoped["spans"]
    ]
    assert len(spans) == 54
    assert {span["traceId"] for span in spans} == {SLOW_ID.hex()}
    assert {span["kind"] for span in spans} == {1, 2, 3, 4}


def test_nothing_of_a_span_is_html(see):
    """Scripts in every field are shown as text, in every tab, in the details and in a comparison."""
    page = see(HOSTILE)
    pages = [page, *(see(f"{HOSTILE}?tab={tab}") for tab in ("flame", "statistics", "spans", "json"))]
    row(page, "</script><img src=x onerror=\"window.hacked='name'\"><b>name</b>").click()
    panel = details(page)
    for what in (
        "status",
        "event",
        "event key",
        "event value",
        "resource key",
        "resource value",
        "scope",
        "link state",
    ):
        if what == "scope":
            panel.locator("summary", has_text="Scope and ids").click()
        expect(panel).to_contain_text(f"<b>{what}</b>")
    rows(page).locator(".wf-count:not(:empty)").first.click()
    rows(page).nth(2).click()
    expect(panel).to_contain_text("<b>value</b>")
    assert panel.locator("a[href^='javascript']").count() == 0
    page.mouse.move(900, 420)
    pages.append(see(f"/compare?a={HOSTILE_ID.hex()}&b={GOOD_ID.hex()}"))
    expect(pages[-1].locator(".cmp-list li").first).to_be_visible()
    pages.append(see(f"{HOSTILE}?find=%3Cimg%20src%3Dx%20onerror%3D1%3E"))
    for one in pages:
        one.wait_for_load_state("networkidle")
        assert one.evaluate("window.hacked") is None
        assert one.locator("main img, main script, main b").count() == 0


def test_compare(see):
    """What is slower, new and missing; a place in it has an address."""
    page = see(COMPARE)
    found = page.get_by_role("region", name="What differs")
    expect(found.locator("li").first).to_contain_text("charge card")  # it fails, and did not before
    expect(found.locator("li").first).to_contain_text("0 → 1 errors")
    select = found.get_by_role("button", name=re.compile("SELECT stock"))
    expect(select).to_contain_text("1 → 42 spans")
    expect(found.get_by_role("button", name=re.compile("GET basket:cache"))).to_contain_text("only in A")
    expect(page.locator(".cmp-versus")).to_contain_text("+640 ms")
    select.click()
    expect(page.locator(".cmp-line.selected")).to_contain_text("1 → 42 \N{MULTIPLICATION SIGN}")
    expect(page).to_have_url(re.compile(r"node=\d+"))
    page.reload()
    expect(page.locator(".cmp-line.selected")).to_contain_text("SELECT stock")
    pair = page.get_by_role("complementary", name="The operation in both traces")
    expect(pair.get_by_role("link", name="Open in B")).to_have_attribute("href", re.compile(f"/trace/{SLOW_ID.hex()}"))
    page.get_by_role("button", name="Only differences").click()
    expect(page.locator(".cmp-name", has_text="authenticate")).to_have_count(0)
    page.get_by_role("treegrid").press("ArrowUp")
    expect(page.locator(".cmp-line.selected")).to_contain_text("POST /reserve")
    page.get_by_role("button", name="Swap").click()
    expect(page.locator(".cmp-versus")).to_contain_text("\N{MINUS SIGN}640 ms")
    page.get_by_role("button", name="Others").click()
    expect(page.get_by_role("heading", name="Compare two traces")).to_be_visible()
    page.get_by_label(re.compile("^A")).fill(GOOD_ID.hex())
    page.get_by_label(re.compile("^B")).fill(f"http://127.0.0.1{SLOW}?span=1")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".cmp-line").first).to_be_visible()


def test_others_to_compare_with_are_offered(see):
    """Those with the same root."""
    page = see(SLOW)
    page.get_by_role("button", name="Compare with another trace").click()
    offered = page.locator(".cw li button")
    expect(offered).to_have_count(1)
    offered.click()
    expect(page).to_have_url(re.compile(f"/compare.*a={GOOD_ID.hex().lstrip('0')}.*b={SLOW_ID.hex()}"))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(
    "path",
    [SLOW, f"{SLOW}?tab=statistics", f"{SLOW}?tab=flame", f"{SLOW}?tab=spans", f"{SLOW}?tab=json", COMPARE],
    ids=["waterfall", "statistics", "flame", "spans", "json", "compare"],
)
def test_axe_finds_nothing_serious(see, path: str, theme: str):
    page = see(path, theme)
    if path == SLOW:
        row(page, "charge card").click()
        expect(details(page).get_by_role("alert")).to_be_visible()
    page.wait_for_load_state("networkidle")
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    serious = [
        (one["id"], [node["html"][:150] for node in one["nodes"]][:3])
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    ]
    assert serious == []


def test_200k_spans(see):
    """It is drawn, it scrolls to its end, finds and folds; only rows in view exist, and the tab stays small.

    How long it takes is measured by benchmarks/trace_page.py.
    """
    page = see(LARGE)
    expect(page.locator(".tr-facts")).to_contain_text("199,985")
    page.get_by_role("button", name="Fold repeats").click()
    grid = page.get_by_role("treegrid", name="Spans of the trace")
    expect(grid).to_have_attribute("aria-rowcount", "199985")
    grid.press("End")
    expect(page.locator(".wf-row.cursor .wf-op")).to_have_text("publish order")
    assert page.locator(".wf-row").count() < 60
    find = page.get_by_label("Find in the trace")
    find.fill("{ status = error }")
    find.press("Enter")
    expect(page.locator(".tr-found")).to_have_text(re.compile("of 47$"))
    page.get_by_role("button", name="Only these").click()
    expect(grid).to_have_attribute("aria-rowcount", re.compile(r"^\d{2,3}$"))
    page.get_by_role("button", name="Next match").click()
    grid.press("Enter")
    expect(details(page).get_by_role("alert")).to_contain_text("did not answer")
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")
    assert used["usedSize"] + used.get("backingStorageSize", 0) < 200 << 20
