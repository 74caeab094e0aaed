"""What all views share: deep links and back, theme, times, keys, who asks, the server away."""

import re
from pathlib import Path

from playwright.sync_api import expect

from tests.harness.page_server import PageServer
from tests.helpers.querying.api import CREDENTIALS


def test_views_are_reached_by_links_and_keys_and_back_works(tab):
    page = tab.open("/search")
    page.get_by_role("link", name="Services").click()
    expect(page).to_have_title("Services · Stretto")
    expect(page.get_by_role("link", name="Services")).to_have_attribute("aria-current", "page")
    page.keyboard.press("g")
    page.keyboard.press("u")
    expect(page).to_have_url(re.compile("/status$"))
    page.go_back()
    page.go_back()
    expect(page).to_have_url(re.compile("/search$"))
    page.go_forward()
    expect(page.get_by_role("heading", name="Services")).to_be_visible()


def test_keys_are_explained(tab):
    page = tab.open("/search")
    expect(page.locator(".results tbody tr").first).to_be_visible()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog", name="Keys")
    expect(dialog).to_contain_text("What is different about what is marked")
    page.keyboard.press("Escape")
    expect(dialog).not_to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("?")
    expect(dialog).not_to_be_visible()
    expect(page.get_by_role("textbox", name="TraceQL query")).to_contain_text("?")


def test_theme_and_zone_are_kept(tab):
    page = tab.open("/search")
    shown = page.locator(".results tbody td:last-child").first
    expect(shown).to_be_visible()
    local = shown.inner_text()[6:8]
    page.get_by_role("button", name="Theme: auto").click()
    page.get_by_role("button", name="Theme: light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Local", exact=True).click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    utc = page.locator(".results tbody td:last-child").first
    expect(utc).to_be_visible()
    assert (int(local) - int(utc.inner_text()[6:8])) % 24 in {1, 2}


def test_no_such_view(tab):
    """Only the paths of views are the page's: for others the server says that there is nothing."""
    answer = tab.page.goto(f"{tab.base}/nothing")
    assert answer
    assert answer.status == 404


def test_first_visit_without_data(new_tab, tmp_path: Path):
    switch = tmp_path / "demo"
    with PageServer([], demo_switch=switch) as server:
        page = new_tab(server.url).open("/")
        expect(page).to_have_url(re.compile("/start$"))
        expect(page.get_by_text("Waiting for the first span")).to_be_visible()
        for language in ("Python", "Node.js", "Java", "Go", ".NET", "Ruby", "PHP", "Rust", "Collector", "curl"):
            page.get_by_role("button", name=language, exact=True).click()
            expect(page.locator("pre.code")).to_contain_text(re.compile(r"127\.0\.0\.1:431[78]"))
        page.get_by_role("button", name="Start the demo").click()
        expect(page.get_by_role("button", name="Stop the demo")).to_be_visible()
        assert switch.exists()
        page.get_by_role("button", name="Stop the demo").click()
        expect(page.get_by_role("button", name="Start the demo")).to_be_visible()
        assert not switch.exists()


def test_no_demo_where_it_is_not_allowed(new_tab, server):
    page = new_tab(server.url).open("/start")
    expect(page.get_by_text("Spans are here.")).to_be_visible()
    expect(page.get_by_role("button", name="Start the demo")).to_have_count(0)
    page.get_by_role("link", name="Look at them").click()
    expect(page).to_have_url(re.compile("/search"))


def test_tenant_missing(new_tab, shop):
    with PageServer(shop, multitenancy=True) as server:
        page = new_tab(server.url).open("/search")
        dialog = page.get_by_role("dialog", name="Tenant and token")
        expect(dialog).to_contain_text("X-Scope-OrgID")
        dialog.get_by_label("Tenant").fill("acme")
        dialog.get_by_role("button", name="Use these").click()
        expect(page.locator(".results tbody tr").first).to_be_visible()
        expect(page.get_by_role("button", name="Tenant and token")).to_contain_text("acme")


def test_token_wrong_expired_and_forgotten(new_tab, shop):
    """The token stays in this tab: not in its URL, and not in another one."""
    with PageServer(shop, multitenancy=True, credentials=dict(CREDENTIALS)) as server:
        tab = new_tab(server.url)
        page = tab.open("/search")
        dialog = page.get_by_role("dialog", name="Tenant and token")
        expect(dialog).to_contain_text("no valid token")
        dialog.get_by_label("Token").fill("wrong")
        dialog.get_by_role("button", name="Use these").click()
        expect(dialog).to_contain_text("no valid token")
        dialog.get_by_label("Token").fill("a1")
        dialog.get_by_role("button", name="Use these").click()
        expect(page.locator(".results tbody tr").first).to_be_visible()
        assert "a1" not in page.url
        assert "a1" not in page.evaluate("JSON.stringify(localStorage)")
        server.replace_credentials({"acme": CREDENTIALS["beta"]})
        page.get_by_role("button", name="Search again").click()
        expect(dialog).to_contain_text("no valid token")
        page.keyboard.press("Escape")
        expect(page.get_by_role("alert").first).to_contain_text("The server wants to know who asks")
        other = page.context.new_page()
        other.goto(f"{server.url}/search")
        expect(other.get_by_role("dialog", name="Tenant and token")).to_be_visible()


def test_the_server_goes_and_comes_back(new_tab, shop):
    server = PageServer(shop)
    with server:
        page = new_tab(server.url).open("/search")
        expect(page.locator(".results tbody tr").first).to_be_visible()
        server.stop()
        page.get_by_role("button", name="Search again").click()
        expect(page.get_by_role("alert").first).to_contain_text("The server does not answer")
        server.start()
        page.get_by_role("button", name="Try again").first.click()
        expect(page.locator(".results tbody tr").first).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_live_shows_new_traces(new_tab, shop):
    with PageServer([]) as server:
        page = new_tab(server.url).open("/search?live=1")
        expect(page.get_by_text("No traces match")).to_be_visible()
        server.send_now()
        expect(page.locator("tr.fresh").first).to_be_visible()
        expect(page.locator(".results tbody tr").first).to_contain_text("ago")
