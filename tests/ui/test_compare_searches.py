"""Two searches compared by attribute: by what a person sees and does, on traces whose shares are known."""

import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from playwright.sync_api import Locator, Page, expect

from tables.units import NS_PER_MS, NS_PER_S
from tests.harness.axe import serious_findings
from tests.harness.page_server import PageServer, sources_of
from tests.helpers.live.whole_way import request, span

ROOTS = "{ nestedSetParent < 0 }"
HOUR_BEFORE = {"froma": "now-2h", "toa": "now-1h"}
MINUTE_NS = 60 * NS_PER_S


def rollout(now_ns: int) -> bytes:
    """90 minutes ago 40 requests of version 1. Half an hour ago 10 of version 1 and 30 of version 2, which are slow and
    ask again below, and of which every third fails. Half of all are in either region.
    """
    spans: list[Span] = []
    for number in range(80):
        late, place = number >= 40, number % 40
        new = late and place >= 10
        start_ns = now_ns - (30 if late else 90) * MINUTE_NS + place * NS_PER_S
        status = Status(code=Status.STATUS_CODE_ERROR) if new and place % 3 == 0 else Status()
        root = span(
            2 * number + 1,
            trace=(number + 1).to_bytes(16, "big"),
            attributes={"app.version": "2" if new else "1", "region": "eu" if place % 2 else "us"},
            name="GET /books",
            kind=Span.SPAN_KIND_SERVER,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + (200 if new else 10) * NS_PER_MS,
            status=status,
        )
        child = span(
            2 * number + 2,
            trace=root.trace_id,
            attributes={"retry": "yes"} if new else {},
            name="SELECT books",
            kind=Span.SPAN_KIND_CLIENT,
            parent_span_id=root.span_id,
            start_time_unix_nano=start_ns,
            end_time_unix_nano=start_ns + 5 * NS_PER_MS,
        )
        spans += [root, child]
    return request(spans, service_name="books")


@pytest.fixture(scope="module")
def books(chromium: str) -> Iterator[PageServer]:
    with PageServer(sources_of([rollout(time.time_ns())])) as running:
        yield running


def compare(qa: str = ROOTS, qb: str = ROOTS, **more: str) -> str:
    return "/compare?" + urlencode({"qa": qa, "qb": qb, **HOUR_BEFORE, **more})


def query(page: Page, side: str) -> str:
    return parse_qs(urlsplit(page.url).query)[f"q{side}"][0]


def side(page: Page, name: str) -> Locator:
    return page.get_by_role("region", name=f"Search {name}")


def editor(page: Page, name: str) -> Locator:
    return page.get_by_role("textbox", name=f"TraceQL query {name}")


def difference(page: Page, field: str) -> Locator:
    return page.locator(".difference", has=page.get_by_role("heading", name=field, exact=True))


def test_attributes_that_differ_come_first_with_their_shares(new_tab, books):
    page = new_tab(books.url).open(compare())
    expect(page.locator(".difference h3").first).to_have_text("span.app.version")
    values = difference(page, "span.app.version").locator(".value")
    expect(values).to_have_count(2)
    expect(values.filter(has_text="of A, 75% of B")).to_contain_text("0% of A")
    expect(values.filter(has_text="100% of A")).to_contain_text("25% of B")
    expect(difference(page, "status")).to_contain_text("0% of A, 25% of B")
    # What is the same on both sides does not stand out.
    expect(difference(page, "span.region")).to_have_count(0)
    expect(side(page, "A").locator("dl")).to_have_text(re.compile("Spans40Errors0%p50"))
    expect(side(page, "B").locator("dl")).to_have_text(re.compile(r"Spans40Errors25%p50[\d.]+ ms"))


def test_a_click_adds_the_condition_to_either_search(new_tab, books):
    page = new_tab(books.url).open(compare())
    new = difference(page, "span.app.version").get_by_role("button", name=re.compile("^2"))
    new.click()
    wanted = '{ nestedSetParent < 0 && span.app.version = "2" }'
    expect(editor(page, "B")).to_have_text(wanted)
    assert (query(page, "a"), query(page, "b")) == (ROOTS, wanted)
    expect(side(page, "B").locator("dl")).to_contain_text("Spans30")
    page.go_back()
    expect(editor(page, "B")).to_have_text(ROOTS)
    expect(side(page, "B").locator("dl")).to_contain_text("Spans40")
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="A", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Exclude status = error").click()
    expect(editor(page, "A")).to_have_text("{ nestedSetParent < 0 && status != error }")
    assert query(page, "b") == ROOTS
    page.get_by_role("button", name="Both", exact=True).click()
    difference(page, "span.app.version").get_by_role("button", name=re.compile("^1")).click()
    expect(editor(page, "B")).to_have_text('{ nestedSetParent < 0 && span.app.version = "1" }')
    assert query(page, "a") == '{ nestedSetParent < 0 && status != error && span.app.version = "1" }'
    expect(page.get_by_text("Nothing stands out")).to_be_visible()
    expect(side(page, "B").locator("dl")).to_contain_text("Spans10")


def test_all_spans_of_the_traces(new_tab, books):
    """An attribute that only spans below the roots have is found, and chosen by those below."""
    page = new_tab(books.url).open(compare())
    expect(page.locator(".difference").first).to_be_visible()
    expect(difference(page, "span.retry")).to_have_count(0)
    page.get_by_role("button", name="All their spans").click()
    expect(page).to_have_url(re.compile("deep=1"))
    # 30 of 80 spans.
    retry = difference(page, "span.retry").locator(".value", has_text="yes")
    expect(retry).to_contain_text("0% of A, 37.5% of B")
    retry.get_by_role("button").first.click()
    expect(editor(page, "B")).to_have_text(f'{ROOTS} && {{ span.retry = "yes" }}')
    assert query(page, "a") == ROOTS


def test_queries_are_written_and_ranges_chosen_with_keys(new_tab, books):
    page = new_tab(books.url).open(compare())
    expect(page.locator(".difference").first).to_be_visible()
    page.keyboard.press("2")
    expect(editor(page, "B")).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text("{ status = error }")
    page.keyboard.press("ControlOrMeta+Enter")
    expect(side(page, "B").locator("dl")).to_contain_text("Spans10Errors100%")
    assert query(page, "b") == "{ status = error }"
    page.keyboard.press("Escape")
    page.locator("h1").evaluate("() => document.activeElement.blur()")
    page.keyboard.press("x")
    expect(editor(page, "A")).to_have_text("{ status = error }")
    expect(page).to_have_url(re.compile("fromb=now-2h"))
    side(page, "B").get_by_role("button", name="Time range of B").click()
    page.get_by_role("button", name="Last 3 hours").click()
    expect(page).to_have_url(re.compile("fromb=now-3h"))
    expect(side(page, "B").locator("dl")).to_contain_text("Spans80")
    page.get_by_role("link", name="Open B in the search").click()
    expect(page).to_have_url(re.compile(r"/search\?.*from=now-3h"))
    expect(page.locator(".results tbody tr")).to_have_count(50)


def test_a_search_that_finds_nothing_or_is_wrong(new_tab, books):
    page = new_tab(books.url).open(compare(qb='{ span.region = "mars" }'))
    expect(page.get_by_role("heading", name="B finds no span")).to_be_visible()
    expect(side(page, "B").locator("dl")).to_contain_text("Spans0")
    page.goto(books.url + compare(qa="{ nmae = 1 }", qb="{ } // all | of them"))
    expect(side(page, "A").get_by_role("alert")).to_contain_text("unknown field nmae")
    expect(side(page, "A").locator(".cm-lintRange-error")).to_have_text("nmae")
    expect(side(page, "B").get_by_role("alert")).to_have_count(0)
    # A comment at its end hides nothing of what is asked.
    expect(side(page, "B").locator("dl")).to_contain_text("Spans80")
    expect(page.get_by_role("region", name="What differs")).to_have_count(0)


def test_what_cannot_be_read_is_said_and_that_nobody_answers(new_tab, books):
    with PageServer(books.sources, missing=["2 of 3 blocks cannot be read"]) as server:
        page = new_tab(server.url).open(compare())
        for name in ("A", "B"):
            expect(side(page, name)).to_contain_text("Not everything could be read: 2 of 3 blocks cannot be read")
        page.goto(f"{server.url}/search?diff=errors&q={quote('{ }')}")
        expect(page.get_by_role("region", name="What is different")).to_contain_text("2 of 3 blocks cannot be read")
        page.go_back()
        expect(page.locator(".difference").first).to_be_visible()
        server.stop()
        page.get_by_role("button", name="Compare", exact=True).click()
        expect(side(page, "B").get_by_role("alert")).to_contain_text("The server does not answer")
        server.start()
        for name in ("A", "B"):
            side(page, name).get_by_role("button", name="Try again").click()
        expect(page.locator(".difference").first).to_be_visible()


def test_from_the_search_and_from_the_compare_page(new_tab, books):
    page = new_tab(books.url).open("/search")
    expect(page.locator(".results tbody tr")).to_have_count(40)
    page.get_by_role("button", name="Compare with").click()
    page.get_by_role("link", name="The time before").click()
    expect(page).to_have_url(re.compile(r"/compare\?.*froma=now-2h&toa=now-1h"))
    expect(page.locator(".difference h3").first).to_have_text("span.app.version")
    page.go_back()
    expect(page.locator(".results tbody tr")).to_have_count(40)
    page.keyboard.press("c")
    expect(page).to_have_url(re.compile(r"/compare\?.*froma=now-2h&toa=now-1h"))
    page.goto(f"{books.url}/search?mark=,,0.1,&q={quote('{ kind = server }')}")
    page.get_by_role("button", name="Compare with").click()
    page.get_by_role("link", name="All that match").click()
    expect(editor(page, "B")).to_have_text("{ kind = server && duration >= 100ms }")
    expect(side(page, "A").locator("dl")).to_contain_text("Spans40")
    expect(side(page, "B").locator("dl")).to_contain_text("Spans30")
    page.get_by_role("button", name="Traces", exact=True).click()
    page.get_by_role("link", name="compare two searches").click()
    expect(page.locator(".difference h3").first).to_have_text("span.app.version")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(new_tab, books, theme):
    page = new_tab(books.url, theme).open(compare(qb=f"{ROOTS} | count() > 1"))
    expect(page.locator(".difference").first).to_be_visible()
    expect(side(page, "B")).to_contain_text("before the first |")
    assert serious_findings(page, theme) == []
