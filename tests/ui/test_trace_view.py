"""The trace view: by what a person sees and does in the waterfall."""

import json
import re

from playwright.sync_api import expect

from app.api.trace_view.packed import MEDIA_TYPE
from tests.harness.page_server import PageServer
from tests.harness.page_traces import SLOW_ID
from tests.harness.trace_page import ODD, SLOW, details, names, row, rows


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


def test_find_while_writing(see):
    """The space before the next word stays; Escape takes back what was written last, too."""
    page = see(SLOW)
    find = page.get_by_label("Find in the trace")
    find.press_sequentially("charge ")
    expect(page).to_have_url(re.compile("find=charge(&|$)"))
    expect(find).to_have_value("charge ")
    find.press_sequentially("card")
    expect(page).to_have_url(re.compile("find=charge(%20|\\+)card"))
    expect(find).to_have_value("charge card")
    find.press_sequentially("s")
    find.press("Escape")
    expect(page).not_to_have_url(re.compile("find="))
    expect(find).to_have_value("")


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
