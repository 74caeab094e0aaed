"""The pictures of docs/ui.md: `python -m tests.harness.page_pictures` makes docs/images/*.png anew, or those with
the names that follow.
"""

import shutil
import sys
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from tables.units import NS_PER_S
from tests.harness.page_server import PageServer, shop_requests, sources_of
from tests.harness.page_traces import GOOD_ID, SLOW_ID, checkout_request

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs/images"
SIZE: Final = {"width": 1240, "height": 760}
_CHECKOUT: Final = '{ nestedSetParent < 0 && name = "POST /checkout" }'
# Name, theme, path.
PICTURES: Final = (
    ("search", "light", "/search"),
    ("different", "light", f"/search?q={quote(_CHECKOUT)}&deep=1"),
    ("services", "dark", "/services?service=payments"),
    (
        "metrics",
        "light",
        f"/charts?q={quote('{ kind = server } | quantile_over_time(duration, .95) by (resource.service.name)')}",
    ),
    ("status", "dark", "/status"),
    ("start", "light", "/start?sdk=Python"),
    ("trace", "dark", "/search?order=duration"),
    ("span", "light", f"/trace/{SLOW_ID.hex()}?find=charge"),
    ("compare", "light", f"/compare?a={GOOD_ID.hex()}&b={SLOW_ID.hex()}&only=1"),
)


def _settle(page: Page) -> None:
    page.wait_for_load_state("networkidle")
    page.locator(".skeleton").first.wait_for(state="hidden")
    page.locator(".progress.on").first.wait_for(state="hidden")
    page.wait_for_timeout(600)


def _mark(page: Page) -> None:
    """The slow band of the bad quarter of an hour."""
    box: Any = page.locator(".heatmap canvas").bounding_box()
    page.mouse.move(box["x"] + 60 + 0.53 * (box["width"] - 200), box["y"] + 8)
    page.mouse.down()
    page.mouse.move(box["x"] + 60 + 0.74 * (box["width"] - 200), box["y"] + 52, steps=4)
    page.mouse.up()
    page.get_by_role("button", name="What is different?").click()


def main(names: list[str]) -> None:
    """Writes the pictures with these names; without any name all of them."""
    FOLDER.mkdir(exist_ok=True)
    now_ns = time.time_ns()
    pair = [checkout_request(now_ns - 60 * NS_PER_S, slow=slow) for slow in (False, True)]
    with PageServer(sources_of([*shop_requests(now_ns), *pair])) as server, sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for name, theme, place in PICTURES:
            if names and name not in names:
                continue
            page = browser.new_page(viewport=SIZE, color_scheme=theme)  # type: ignore[arg-type]
            page.goto(server.url + place)
            _settle(page)
            if name == "different":
                _mark(page)
                _settle(page)
            if name == "trace":
                page.locator(".trace-name").first.click()
                _settle(page)
            if name == "span":
                page.locator(".wf-row.failed").click()
                _settle(page)
            if name == "compare":
                page.get_by_role("button", name="SELECT stock").click()
                _settle(page)
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
