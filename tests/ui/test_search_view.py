"""Search: by what a person sees and does."""

import re
from urllib.parse import parse_qs, quote, urlsplit

from playwright.sync_api import Page, Route, expect


def search(query: str, **more: str) -> str:
    extra = "".join(f"&{name}={quote(value)}" for name, value in more.items())
    return f"/search?q={quote(query)}{extra}"


def query_of(page: Page) -> str:
    return parse_qs(urlsplit(page.url).query).get("q", [""])[0]


def rows(page: Page):
    return page.locator(".results tbody tr")


def editor(page: Page):
    return page.get_by_role("textbox", name="TraceQL query")


def write(page: Page, text: str) -> None:
    editor(page).click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)


def mark(page: Page, left: float = 0.0, right: float = 0.85, top: float = 0.02, bottom: float = 0.3) -> None:
    """Drags over shares of the heatmap."""
    expect(page.get_by_text(re.compile(r"^[\d,]+ spans match"))).to_be_visible()
    box = page.locator(".heatmap canvas").bounding_box()
    assert box
    width, height = box["width"] - 200, box["height"] - 30
    page.mouse.move(box["x"] + 62 + left * width, box["y"] + 6 + top * height)
    page.mouse.down()
    page.mouse.move(box["x"] + 62 + right * width, box["y"] + 6 + bottom * height, steps=4)
    page.mouse.up()


def test_the_newest_traces_are_there(tab):
    page = tab.open("/")
    expect(page).to_have_url(re.compile("/search$"))
    expect(rows(page)).to_have_count(50)
    expect(page.locator(".results").get_by_role("status")).to_contain_text("spans inspected")
    expect(page.get_by_text(re.compile(r"^[\d,]+ spans match$"))).to_be_visible()
    started = page.locator(".results tbody td:last-child").all_inner_texts()
    assert started == sorted(started, reverse=True)


def test_the_longest_and_more_of_them(tab):
    page = tab.open("/search")
    page.get_by_role("button", name="Longest").click()
    expect(page).to_have_url(re.compile("order=duration"))
    expect(rows(page)).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(rows(page)).to_have_count(100)


def test_a_row_opens_to_its_spans_and_leads_to_the_trace(tab):
    page = tab.open(search("{ status = error }"))
    row = rows(page).first
    expect(row).to_contain_text("failed")
    row.get_by_role("button").click()
    expect(page.locator(".matched tbody tr").first).to_be_visible()
    row.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"/trace/[0-9a-f]+"))
    page.go_back()
    expect(page).to_have_url(re.compile("/search"))
    expect(rows(page).first).to_be_visible()


def test_back_before_the_code_of_the_trace_is_here(tab):
    """Code that comes for a view that nobody looks at any more changes nothing."""
    page = tab.open(search("{ status = error }"))
    expect(rows(page).first).to_be_visible()
    held: list[Route] = []
    came = False
    page.route(re.compile(r"/assets/.*\.js$"), lambda route: route.continue_() if came else held.append(route))
    with page.expect_request(re.compile(r"/assets/.*\.js$")):
        rows(page).first.get_by_role("link").click()
    expect(page).to_have_url(re.compile(r"/trace/[0-9a-f]+"))
    page.go_back()
    expect(rows(page).first).to_be_visible()
    came = True
    urls = [one.request.url for one in held]
    for one in held:
        one.continue_()
    # Until this code has run, and what waits for it.
    page.evaluate("urls => Promise.all(urls.map((url) => import(url)))", urls)
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    expect(page.locator("main").get_by_text("Loading")).to_have_count(0)
    expect(rows(page).first).to_be_visible()


def test_mark_the_slow_band_and_be_told_what_is_different(tab):
    """The way from "it is slow" to what makes it slow."""
    page = tab.open("/search")
    expect(rows(page)).to_have_count(50)
    mark(page)
    expect(page.locator(".badge.marked")).to_be_visible()
    expect(page).to_have_url(re.compile("mark="))
    page.get_by_role("button", name="What is different?").click()
    checkout = page.locator(".value", has_text="POST /checkout").first
    expect(checkout).to_contain_text(re.compile(r"[6789]\d(\.\d)?%"))
    checkout.get_by_role("button").first.click()
    assert query_of(page) == '{ nestedSetParent < 0 && name = "POST /checkout" }'
    expect(editor(page)).to_contain_text("POST /checkout")
    expect(page.locator(".badge.marked")).to_have_count(0)
    expect(rows(page).first).to_contain_text("POST /checkout")
    mark(page)
    page.get_by_role("button", name="What is different?").click()
    page.get_by_role("button", name="All their spans").click()
    slow = page.locator(".value", has_text="slowpay").get_by_role("button").first
    slow.click()
    expect(editor(page)).to_contain_text("slowpay")
    assert query_of(page).endswith('&& { span.payment.provider = "slowpay" }')
    expect(rows(page).first).to_contain_text("POST /checkout")
    page.go_back()
    expect(page.locator(".badge.marked")).to_be_visible()


def test_a_mark_becomes_part_of_the_query(tab):
    page = tab.open("/search")
    expect(page.locator(".heatmap")).to_be_visible()
    mark(page)
    page.get_by_role("button", name="Narrow to it").click()
    expect(editor(page)).to_contain_text("duration >= ")
    assert re.search(r"nestedSetParent < 0 && duration >= [\d.]+m?s", query_of(page))
    assert "from=" in page.url
    expect(page.locator(".badge.marked")).to_have_count(0)


def test_the_heatmap_is_marked_with_keys(tab):
    page = tab.open("/search")
    heatmap = page.get_by_role("group", name=re.compile("spans by duration"))
    heatmap.focus()
    for key in ("ArrowUp", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowUp", "Enter"):
        page.keyboard.press(key)
    expect(page.locator(".badge.marked")).to_be_visible()
    heatmap.focus()
    page.keyboard.press("Escape")
    expect(page.locator(".badge.marked")).to_have_count(0)


def test_errors_and_slow_ones_without_a_mark(tab):
    page = tab.open(search("{ }"))
    page.get_by_role("button", name="errors", exact=True).click()
    expect(page.locator(".difference").first).to_contain_text(re.compile("status|payment|exception|error"))
    page.get_by_role("button", name="the slowest 5%").click()
    expect(page.get_by_role("region", name="What is different")).to_contain_text("and more")
    page.get_by_role("region", name="What is different").get_by_role("button", name="Close").click()
    expect(page.locator(".difference")).to_have_count(0)


WRITES_AT_ONCE = """
new MutationObserver((_changes, observer) => {
  const field = document.querySelector("form.where input");
  if (!field) return;
  observer.disconnect();
  field.value = "kind = client";
  field.dispatchEvent(new Event("input", { bubbles: true }));
}).observe(document, { childList: true, subtree: true });
"""


def test_what_is_written_first_stays(tab):
    """Before the page has been painted, and so before its effects have run."""
    tab.page.add_init_script(WRITES_AT_ONCE)
    page = tab.open(search("{ }", diff="where"))
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page).to_have_url(re.compile("where=kind"))
    expect(page.get_by_label("Compare those where")).to_have_value("kind = client")


def test_a_condition_of_ones_own_against_the_rest(tab):
    page = tab.open(search("{ kind = server }"))
    page.get_by_role("button", name="spans that …").click()
    page.get_by_label("Compare those where").fill('{ resource.service.name = "payments" }')
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.locator(".difference", has_text="resource.service.name").first).to_contain_text("payments")
    assert parse_qs(urlsplit(page.url).query)["where"] == ['resource.service.name = "payments"']
    page.get_by_label("Compare those where").fill("nmae = 1")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("region", name="What is different").get_by_role("alert")).to_contain_text(
        "unknown field nmae"
    )


def test_tags_and_values_are_completed(tab):
    page = tab.open("/search")
    write(page, "{ ")
    page.keyboard.type("resource.service.n")
    option = page.locator(".cm-tooltip-autocomplete li", has_text="resource.service.name").first
    expect(option).to_be_visible()
    option.click()
    page.keyboard.type(' = "pay')
    value = page.locator(".cm-tooltip-autocomplete li", has_text='"payments"').first
    expect(value).to_be_visible()
    value.click()
    expect(editor(page)).to_have_text('{ resource.service.name = "payments"')
    page.keyboard.type(" }")
    page.keyboard.press("ControlOrMeta+Enter")
    expect(page).to_have_url(re.compile("payments"))
    expect(rows(page).first).to_be_visible()


def test_completions_come_from_a_server_that_was_busy(tab):
    """Nobody has to type another letter for them."""
    asked = []

    def values(route):
        asked.append(route.request.url)
        if len(asked) <= 2:
            route.fulfill(status=(429, 503)[len(asked) - 1], body="too many queries at once; ask again later")
        else:
            route.continue_()

    tab.page.route("**/api/v2/search/tag/*/values*", values)
    page = tab.open("/search")
    write(page, '{ resource.service.name = "')
    page.keyboard.type("pay")
    expect(page.locator(".cm-tooltip-autocomplete li", has_text='"payments"')).to_be_visible()
    assert len(asked) == 3


def test_a_wrong_query_is_marked_at_its_place(tab):
    page = tab.open("/search")
    write(page, '{ nmae = "x" }')
    page.keyboard.press("ControlOrMeta+Enter")
    expect(page.locator(".cm-lintRange-error")).to_have_text("nmae")
    expect(page.get_by_role("alert").first).to_contain_text("Did you mean name?")
    write(page, "{ status = error }")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows(page).first).to_be_visible()
    expect(page.locator(".cm-lintRange-error")).to_have_count(0)


def test_the_form_writes_traceql_and_reads_it(tab):
    page = tab.open("/search")
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("Which spans")).to_have_value("roots")
    page.get_by_label("Service").fill("gateway")
    page.get_by_label("At least").fill("50 ms")
    page.get_by_label("Status").select_option("unset")
    page.get_by_label("New tag").fill("span.http.response.status_code")
    page.get_by_label("New tag").press("Enter")
    page.get_by_label("Value of span.http.response.status_code").fill("200")
    written = (
        '{ nestedSetParent < 0 && resource.service.name = "gateway" && duration >= 50ms && status = unset '
        "&& span.http.response.status_code = 200 }"
    )
    expect(page.locator(".written")).to_have_text(written)
    page.get_by_role("button", name="Search", exact=True).click()
    expect(rows(page).first).to_be_visible()
    assert query_of(page) == written
    page.get_by_role("button", name="TraceQL", exact=True).click()
    write(page, '{ name = "GET /" && kind = server }')
    page.get_by_role("button", name="Form").click()
    expect(page.get_by_label("Operation")).to_have_value("GET /")
    expect(page.get_by_label("Which spans")).to_have_value("server")


def test_what_the_form_cannot_say_stays_as_it_is(tab):
    page = tab.open(search("{ status = error } >> { kind = client }", view="form"))
    expect(page.get_by_text("more than the form can show")).to_be_visible()
    page.get_by_role("button", name="Edit it as TraceQL").click()
    expect(editor(page)).to_have_text("{ status = error } >> { kind = client }")


def test_time_range_relative_and_absolute(tab):
    page = tab.open("/search")
    page.get_by_role("button", name="Time range").click()
    page.get_by_role("button", name="Last 15 minutes").click()
    expect(page).to_have_url(re.compile("from=now-15m"))
    page.get_by_role("button", name="Time range").click()
    page.get_by_label("From (Europe/Berlin)").fill("2026-01-01T10:00:00")
    page.get_by_label("To (Europe/Berlin)").fill("2026-01-01T11:00:00")
    page.get_by_role("button", name="Apply").click()
    expect(page).to_have_url(re.compile("from=1767258000000&to=1767261600000"))
    expect(page.get_by_text("No traces match")).to_be_visible()
    expect(page.get_by_text("No spans match in this time")).to_be_visible()
    page.go_back()
    expect(page.get_by_role("button", name="Time range")).to_contain_text("Last 15 minutes")


def test_what_was_looked_at_is_found_again(tab):
    page = tab.open(search("{ kind = consumer }"))
    expect(rows(page).first).to_be_visible()
    page.goto(tab.base + search("{ kind = producer }"))
    page.get_by_role("button", name="What you looked at before").click()
    page.get_by_role("link", name=re.compile("kind = consumer")).click()
    assert query_of(page) == "{ kind = consumer }"


def test_a_metrics_query_goes_to_metrics(tab):
    page = tab.open("/search")
    write(page, "{ } | rate() by (resource.service.name)")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page).to_have_url(re.compile("/charts"))
    expect(page.get_by_role("region", name="Series")).to_contain_text("gateway")
