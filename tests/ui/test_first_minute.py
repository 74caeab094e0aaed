"""From an empty server to the span that makes a request slow: how many clicks a newcomer needs."""

import re
import time

from playwright.sync_api import expect

from tests.harness.page_server import PageServer, sources_of
from tests.harness.page_traces import SLOW_ID, checkout_request
from tests.harness.trace_page import details, row

SECONDS_MAX = 60


class Counted:
    """A page whose clicks are counted."""

    def __init__(self) -> None:
        self.clicks = 0

    def click(self, what) -> None:
        what.click()
        self.clicks += 1


def test_from_nothing_to_the_slow_span_in_four_clicks(new_tab, tmp_path):
    """Start the demo; the longest; the trace; most of it. Where the demo runs already it is one less."""
    counted, switch = Counted(), tmp_path / "demo"
    with PageServer([], demo_switch=switch) as server:
        page = new_tab(server.url).open("/")
        started_s = time.monotonic()
        counted.click(page.get_by_role("button", name="Start the demo"))
        expect(page.get_by_role("button", name="Stop the demo")).to_be_visible()
        assert switch.exists()
        now_ns = time.time_ns() - 2_000_000_000
        server.send(sources_of([checkout_request(now_ns, slow=True)]))
        server.send_now(60)
        expect(page).to_have_url(re.compile("/search.*from=now-5m"))
        expect(page.locator(".results tbody tr").nth(10)).to_be_visible()
        counted.click(page.get_by_role("button", name="Longest"))
        expect(page).to_have_url(re.compile("order=duration"))
        slow = page.locator(f".trace-name[href*='{SLOW_ID.hex()}']")
        expect(slow).to_be_visible()
        counted.click(slow)
        # 42 queries, 9.4 ms each, of 850 ms.
        most = page.get_by_role("button", name=re.compile("SELECT stock.*46"))
        expect(most).to_contain_text("42 \N{MULTIPLICATION SIGN} SELECT stock")
        counted.click(most)
        expect(details(page).get_by_role("heading", name="SELECT stock")).to_be_visible()
        expect(row(page, "SELECT stock")).to_be_visible()
        assert counted.clicks == 4
        assert time.monotonic() - started_s < SECONDS_MAX
        page.keyboard.press("Escape")
        page.keyboard.press("m")
        expect(details(page).get_by_role("heading", name="SELECT stock")).to_be_visible()


def test_whoever_has_spans_stays_where_the_demo_is_started(new_tab, shop, tmp_path):
    with PageServer(shop, demo_switch=tmp_path / "demo") as server:
        page = new_tab(server.url).open("/start")
        expect(page.get_by_text("Spans are here.")).to_be_visible()
        page.get_by_role("button", name="Start the demo").click()
        expect(page.get_by_role("button", name="Stop the demo")).to_be_visible()
        expect(page).to_have_url(re.compile("/start$"))
