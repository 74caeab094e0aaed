"""The other tabs of the trace view, the comparison of two traces, and what holds for all of them."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.harness.axe import serious_findings, settle
from tests.harness.page_traces import GOOD_ID, HOSTILE_ID, SLOW_ID
from tests.harness.trace_page import COMPARE, HOSTILE, LARGE, SLOW, details, row, rows


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
        settle(one)
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
    settle(page)
    assert serious_findings(page, theme) == []


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
